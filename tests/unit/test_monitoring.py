"""What monitors write."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import orchestrator
from orchestrator import monitoring
from orchestrator.settings import Settings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("ORCHESTRATOR_MONITORING", str(tmp_path / "seen"))
    caches = (monitoring._folder, monitoring._describe, monitoring._refused)
    for cached in caches:
        cached.cache_clear()
    yield tmp_path / "seen"
    for cached in caches:
        cached.cache_clear()


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "iris" / "data.jsonl").read_text().splitlines()]


def test_a_block_is_a_line(folder: Path) -> None:
    for width in (np.float32(3.5), 2):
        with orchestrator.monitor("iris") as mon:
            mon.log(width, name="width", role="feature", data_type="numerical")
            mon.log(np.arange(2), name="parts", role="feature", data_type="numerical_sequence")
            mon.log("setosa", name="kind", role="prediction", data_type="categorical")
    first, second = lines(folder)
    assert (first["width"], first["parts"], first["kind"], second["width"]) == (3.5, [0, 1], "setosa", 2)
    assert set(first) == {"timestamp", "service", "worker", "width", "parts", "kind"}
    assert json.loads((folder / "iris" / "schema.json").read_text())["columns"] == [
        {"name": "width", "role": "feature", "type": "numerical"},
        {"name": "parts", "role": "feature", "type": "numerical_sequence"},
        {"name": "kind", "role": "prediction", "type": "categorical"},
    ]
    assert sorted(path.name for path in (folder / "iris").iterdir()) == ["data.jsonl", "schema.json"]


def test_a_batch_is_a_line_each(folder: Path) -> None:
    with orchestrator.monitor("iris") as mon:
        mon.log_batch(np.array([1.5, 2.5]), name="width", role="feature", data_type="numerical")
        mon.log_batch(["a", "b"], name="kind", role="prediction", data_type="categorical")
        with pytest.raises(ValueError, match="'x' has 1 values where 'width' has 2"):
            mon.log(1, name="x", role="target", data_type="numerical")
    assert [(line["width"], line["kind"]) for line in lines(folder)] == [(1.5, "a"), (2.5, "b")]


def test_a_block_that_fails_is_not_written(folder: Path) -> None:
    with pytest.raises(ZeroDivisionError), orchestrator.monitor("iris") as mon:
        mon.log(1 / 0, name="width", role="feature", data_type="numerical")
    assert not folder.exists()


def test_many_at_once_are_whole_lines(folder: Path) -> None:
    def write(number: int) -> None:
        with orchestrator.monitor("iris") as mon:
            mon.log("x" * 3000, name="text", role="feature", data_type="categorical")
            mon.log(number, name="number", role="target", data_type="numerical")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(100)))
    assert sorted(str(line["number"]) for line in lines(folder)) == sorted(map(str, range(100)))


@pytest.mark.parametrize(
    ("name", "role", "data_type", "message"),
    [
        ("a", "label", "numerical", "role='label': takes feature, prediction, target"),
        ("a", "feature", "text", "data_type='text': takes numerical"),
        ("b", "feature", "numerical", "'b' is taken"),
        ("timestamp", "feature", "numerical", "'timestamp' is taken"),
    ],
)
def test_a_wrong_word_is_told(name: str, role: str, data_type: str, message: str) -> None:
    mon = monitoring.Monitor()
    mon.log(1, name="b", role="feature", data_type="numerical")
    with pytest.raises(ValueError, match=message):
        mon.log(1, name=name, role=role, data_type=data_type)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden"])
def test_a_name_is_a_folders(name: str) -> None:
    with pytest.raises(ValueError, match="cannot be a name"), orchestrator.monitor(name):
        pass


def test_a_disk_that_refuses_fails_no_call(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.parent.joinpath("seen").write_text("a file")
    with caplog.at_level(logging.WARNING, "orchestrator.monitoring"):
        for _ in range(2):
            with orchestrator.monitor("iris") as mon:
                mon.log(1, name="a", role="feature", data_type="numerical")
    assert caplog.text.count("cannot write") == 1


def test_the_environment_says_where() -> None:
    assert Settings.load({"ORCHESTRATOR_HOME": "/data"}).monitoring == Path("/data/monitoring")
    assert Settings.load({"ORCHESTRATOR_MONITORING": "/seen"}).monitoring == Path("/seen")
    assert Settings.load({}).home == Path.home() / ".orchestrator"
