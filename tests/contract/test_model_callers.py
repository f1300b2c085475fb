"""A service calls its models: the same answers and the same errors whatever runs them."""

import asyncio
import inspect
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from orchestrator.errors import OrchestratorError
from orchestrator.sdk import load_service
from orchestrator.server.problems import problem_of
from orchestrator.testing import local_client
from tests.composed import place_composed
from tests.e2e.serving import Serving

Answer = tuple[int, Any]
Call = Callable[[str, dict[str, Any]], Answer]

PLACES = ["Composed", "ComposedAsync", "ComposedBls", "ComposedThreads"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = sys.path.copy()
    sys.modules.pop("composed", None)
    yield place_composed(tmp_path_factory.mktemp("composed"))
    sys.path[:] = path
    sys.modules.pop("composed", None)


def answer_of(response: Any) -> Answer:
    body = response.json()
    return response.status_code, body if response.status_code == 200 else body["detail"]


def unbound(name: str, folder: Path) -> Call:
    """An instance as any other object: nobody serves it."""
    instance = load_service(f"composed:{name}", folder).cls()

    def call(api: str, arguments: dict[str, Any]) -> Answer:
        try:
            result = getattr(instance, api)(**arguments)
            return 200, asyncio.run(result) if inspect.iscoroutine(result) else result
        except OrchestratorError as error:
            reply = problem_of(error, "id")
            return reply.status, json.loads(reply.body)["detail"]

    return call


@pytest.fixture(
    scope="module",
    params=[
        *(pytest.param(("unbound", name), id=f"unbound-{name}") for name in PLACES[:2]),
        *(pytest.param(("local", name), id=f"local-{name}") for name in PLACES),
        *(pytest.param(("served", name), id=f"served-{name}", marks=pytest.mark.e2e) for name in PLACES),
    ],
)
def call(request: pytest.FixtureRequest, folder: Path) -> Iterator[Call]:
    how, name = request.param
    if how == "unbound":
        yield unbound(name, folder)
    elif how == "local":
        with local_client(load_service(f"composed:{name}", folder).cls) as client:
            yield lambda api, arguments: answer_of(client.post(f"/{api}", json=arguments))
    else:
        with Serving(f"composed:{name}", working_dir=folder) as server, httpx2.Client(timeout=60) as http:
            yield lambda api, arguments: answer_of(http.post(f"{server.url}/{api}", json=arguments))


def model(name: str, inputs: dict[str, Any], **more: Any) -> tuple[str, dict[str, Any]]:
    return "call", {"model": name, "inputs": inputs, **more}


def array(dtype: str, shape: list[int], values: list[Any]) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "values": values}


ROWS = [[0, 1, 2, 3], [1, 0, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1], [2, 0, 0, 0]]
LINEAR = [42, 48, 54, 0, 1, 2, 9, 10, 11, 18, 22, 26, 0, 2, 4]
TWO = {"a": [[1, 2]], "b": [[3, 5]]}
GOOD = [
    pytest.param(*model("linear", {"x": ROWS[:1]}), array("float32", [1, 3], [42, 48, 54]), id="one row"),
    pytest.param(*model("linear", {"x": ROWS}), array("float32", [5, 3], LINEAR), id="more rows than a batch takes"),
    pytest.param(*model("linear", {"x": ROWS}, dtype="f8"), array("float32", [5, 3], LINEAR), id="float64"),
    pytest.param(*model("linear", {"x": ROWS}, dtype="list"), array("float32", [5, 3], LINEAR), id="a list of ints"),
    pytest.param(*model("linear", {"x": []}, dtype="list"), array("float32", [0, 3], []), id="no rows"),
    pytest.param(
        *model("both", TWO),
        {"total": array("float32", [1, 2], [4, 7]), "difference": array("float32", [1, 2], [-2, -3])},
        id="two outputs",
    ),
    pytest.param(*model("both", TWO, outputs=["difference"]), array("float32", [1, 2], [-2, -3]), id="one of two"),
    pytest.param(
        *model("words", {"s": [["käse"], [""]]}, dtype="list"), array("object", [2, 1], ["käse", ""]), id="text"
    ),
    pytest.param(*model("lookup", {"i": [2, 0]}, dtype="i32"), array("float32", [2, 2], [4, 5, 0, 1]), id="a column"),
    pytest.param(*model("number", {"values": [1.5, 2, 3]}, dtype="f8"), array("float64", [], [6.5]), id="a number"),
    pytest.param(
        "chain",
        {"x": ROWS[:1]},
        {"total": array("float32", [1, 2], [90, 102]), "difference": array("float32", [1, 2], [-6, -6])},
        id="one after the other",
    ),
]


@pytest.mark.parametrize(("api", "arguments", "expected"), GOOD)
def test_the_same_answer_everywhere(call: Call, api: str, arguments: dict[str, Any], expected: Any) -> None:
    assert call(api, arguments) == (200, expected)


BAD = [
    pytest.param(*model("linear", {"x": [[1, 2]]}), 400, "linear.x: wanted FP32[-1, 4], got shape [1, 2]", id="shape"),
    pytest.param(
        *model("linear", {"x": ROWS[0]}),
        400,
        "linear.x: wanted FP32[-1, 4], got shape [4]; for one row, put a batch axis of 1 in front",
        id="no batch axis",
    ),
    pytest.param(
        *model("linear", {"x": ROWS}, dtype="i64"),
        400,
        "linear.x: wanted FP32[-1, 4]: got int64, and values could change; say .astype('float32') where that is meant",
        id="dtype",
    ),
    pytest.param(
        *model("lookup", {"i": [0.5]}, dtype="list"),
        400,
        "lookup.i: wanted INT32[-1]: got float64, and values could change",
        id="a list of fractions",
    ),
    pytest.param(
        *model("words", {"s": [[1]]}, dtype="list"),
        400,
        "words.s: wanted BYTES[-1, 1]: text is str or bytes, not int",
        id="no text",
    ),
    pytest.param(*model("both", {"a": [[1, 2]]}), 400, "both.b: is missing: wanted FP32[-1, 2]", id="missing"),
    pytest.param(
        *model("both", {"a": [[1, 2]], "b": [[1, 2], [3, 4]]}), 400, "both.b: has 2 rows where 'a' has 1", id="rows"
    ),
    pytest.param(*model("both", {**TWO, "c": [[1]]}), 400, "both.c: there is no such input: it has a, b", id="unknown"),
    pytest.param(
        *model("both", TWO, outputs=["product"]), 400, "both: has no output 'product': it has total, difference", id="output"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("api", "arguments", "status", "detail"), BAD)
def test_the_same_refusal_everywhere(call: Call, api: str, arguments: dict[str, Any], status: int, detail: str) -> None:
    got, text = call(api, arguments)
    service, _, rest = text.partition(".")
    assert (got, rest) == (status, detail)
    assert service in PLACES


def test_a_model_that_fails_is_named_with_the_reason_everywhere(call: Call) -> None:
    status, text = call(*model("lookup", {"i": [0, 7]}, dtype="i32"))
    assert status == 500
    assert ".lookup' failed: " in text
    assert "idx=7 must be within" in text
    assert call(*model("lookup", {"i": [1]}, dtype="i32"))[0] == 200
