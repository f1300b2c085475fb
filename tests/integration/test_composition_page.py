"""What docs/composition.md shows runs as it stands there."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from orchestrator.sdk import load_service
from orchestrator.testing import local_client

PAGE = (Path(__file__).parents[2] / "docs" / "composition.md").read_text()
MODULES = dict(re.findall(r"^```python\n# (\w+)\.py\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
Served = Callable[[str], TestClient]


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A client of a service of the page."""
    monkeypatch.setattr(sys, "path", sys.path.copy())
    with ExitStack() as stack:

        def client(target: str) -> TestClient:
            module = target.partition(":")[0]
            (tmp_path / f"{module}.py").write_text(MODULES[module])
            return stack.enter_context(local_client(load_service(target, tmp_path).cls))

        yield client
    for name in MODULES:
        sys.modules.pop(name, None)


def test_every_block_is_tried() -> None:
    assert set(MODULES) == {"reading", "telling", "ordering", "far"}
    assert PAGE.count("```python") == len(MODULES)


def test_a_graph(served: Served) -> None:
    assert served("reading:Reader").post("/read", json={"text": "one three"}).json() == [6.0, 10.0]


def test_a_stream(served: Served) -> None:
    assert served("telling:Loud").post("/words", json={"text": "one two"}).text == "ONE TWO "


def test_errors(served: Served) -> None:
    client = served("ordering:Shop")
    assert client.post("/order", json={"item": "tea"}).text == "1 tea"
    assert client.post("/order", json={"item": "milk"}).text == "sorry: no milk left"
    refused = client.post("/insist", json={"item": "milk"})
    assert (refused.status_code, refused.json()["name"]) == (409, "OutOfStock")


def test_one_that_is_away(served: Served) -> None:
    answer = served("far:Far").post("/check", json={"text": "helo"})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
