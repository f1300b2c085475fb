"""A model's folder: versions come whole or not at all, whatever moment a process dies at."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.compiler.config import parse_config
from orchestrator.deployment.configs import as_json, for_version, version_of
from orchestrator.deployment.folder import ModelFolder
from orchestrator.deployment.history import History, Served
from orchestrator.errors import DeploymentError

CONFIG = 'name: "m" backend: "python" max_batch_size: 8 input { name: "x" data_type: TYPE_INT32 dims: [1] }\n'
FILES = 20


def write_version(number: int) -> Callable[[Path], None]:
    def write(place: Path) -> None:
        for index in range(FILES):
            (place / f"{index}.bin").write_bytes(bytes([number % 256]) * 5000)

    return write


@pytest.fixture
def folder(tmp_path: Path) -> ModelFolder:
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "config.pbtxt").write_text(CONFIG)
    return ModelFolder(tmp_path, "m")


def test_a_config_names_its_version_and_nothing_else_changes() -> None:
    pinned = for_version(CONFIG, 7)
    assert version_of(CONFIG) is None
    assert version_of(pinned) == 7
    assert version_of(for_version(pinned, 8)) == 8
    config = parse_config(pinned)
    config.ClearField("version_policy")
    assert config == parse_config(CONFIG)
    assert '"versions": [' in as_json(pinned)


def test_without_a_policy_the_newest_serves_until_it_is_pinned(folder: ModelFolder) -> None:
    folder.version(10).mkdir()
    assert folder.versions == [1, 10]
    assert folder.serving == 10
    folder.pin()
    folder.version(11).mkdir()
    assert folder.serving == 10


def test_a_version_that_cannot_be_written_leaves_nothing(folder: ModelFolder) -> None:
    def write(place: Path) -> None:
        (place / "half").write_text("")
        raise OSError(28, "No space left on device", str(place / "more"))

    with pytest.raises(DeploymentError, match="No space left on device"):
        folder.stage(2, write)
    assert folder.versions == [1]
    assert sorted(os.listdir(folder.place.parent)) == ["m"]


def test_a_version_that_is_there_gives_way(folder: ModelFolder) -> None:
    (folder.version(1) / "old").write_text("")
    folder.stage(1, lambda place: (place / "new").write_text(""))
    assert os.listdir(folder.version(1)) == ["new"]
    assert sorted(os.listdir(folder.place.parent)) == ["m"]


def test_only_what_is_kept_stays(folder: ModelFolder) -> None:
    for number in (2, 3, 4):
        folder.version(number).mkdir()
    assert folder.prune(frozenset({1, 3})) == [2, 4]
    assert folder.versions == [1, 3]


def test_the_config_is_right_where_the_history_is_not(folder: ModelFolder) -> None:
    folder.stage(2, lambda _: None)
    one, two = (
        Served(version=number, what=f"m:{number}", config=for_version(CONFIG, number), since=datetime.now(UTC))
        for number in (1, 2)
    )
    folder.keep_history(History().deployed(one).deployed(two))
    folder.serve(one.config)
    assert [each.version for each in folder.history(one).served] == [1]
    (folder.place / "history.json").write_text("{")
    assert [each.version for each in folder.history(two).served] == [2]
    assert folder.history(two).highest == 2


LOOP = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from orchestrator.deployment.configs import for_version
from orchestrator.deployment.folder import ModelFolder
from orchestrator.deployment.history import Served
from tests.unit.test_model_folder import write_version
folder = ModelFolder(Path(sys.argv[1]), "m")
folder.sweep()
print("begun", flush=True)
while True:
    config = folder.config
    history = folder.history(Served(version=folder.serving, what="m", config=config, since=datetime.now(UTC)))
    number = history.highest + 1
    fresh = Served(version=number, what="m", config=for_version(config, number), since=datetime.now(UTC))
    history = history.deployed(fresh)
    folder.stage(number, write_version(number))
    folder.keep_history(history)
    folder.serve(fresh.config)
    folder.prune(history.kept)
"""


def test_a_process_that_is_killed_at_any_moment_leaves_a_folder_to_start_from(folder: ModelFolder) -> None:
    write_version(1)(folder.version(1))
    folder.pin()
    served = set()
    moments = random.Random(4)
    for _ in range(12):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(LOOP), str(folder.place.parent)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert process.stdout
        assert process.stdout.readline() == b"begun\n"
        time.sleep(moments.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        serving = version_of(folder.config)
        assert serving is not None
        served.add(serving)
        for number in folder.versions:  # not only the one that serves: a rollback leads to the others
            files = sorted(folder.version(number).iterdir())
            assert len(files) == FILES
            assert {file.read_bytes() for file in files} == {bytes([number % 256]) * 5000}
        assert serving in folder.versions
    assert len(served) > 5, "the process must have been killed at different moments of its work"
    folder.sweep()
    assert os.listdir(folder.place.parent) == ["m"]
