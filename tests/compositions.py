"""What every way of composing services answers, wherever the services run: the one table for `tests/services/composition.py`."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from PIL import Image

__all__ = ["CASES", "PROBLEMS", "STREAMS", "Case", "Problem", "cases"]


def _value(response: Any) -> Any:
    return response.text if response.headers["content-type"].startswith("text/") else response.json()


@dataclass(frozen=True, slots=True)
class Case:
    """One request and its answer.

    Attributes:
        sent: how: `json`, `files`, `headers`, `content`, as httpx names them.
        expected: what `read` must give of the response.
    """

    id: str
    api: str
    sent: dict[str, Any]
    expected: Any
    read: Callable[[Any], Any] = _value

    def check(self, http: Any) -> None:
        """Sends it, by a client of httpx's interface."""
        response = http.post(f"/{self.api}", **self.sent)
        assert response.status_code == 200, response.text
        assert self.read(response) == self.expected
        assert "x-noted" not in response.headers


@dataclass(frozen=True, slots=True)
class Problem:
    """One request and the error that answers it.

    Attributes:
        detail: that the sentence has in it.
        more: other keys of the problem.
    """

    id: str
    api: str
    json: dict[str, Any]
    status: int
    detail: str
    more: dict[str, Any] = field(default_factory=dict)

    def check(self, http: Any) -> None:
        """Sends it, by a client of httpx's interface."""
        response = http.post(f"/{self.api}", json=self.json)
        problem = response.json()
        assert response.status_code == self.status, problem
        assert self.detail in problem["detail"]
        assert "secret" not in response.text
        assert problem | self.more == problem


def cases(table: list[Any]) -> pytest.MarkDecorator:
    """A table as the cases of a test."""
    return pytest.mark.parametrize("case", [pytest.param(case, id=case.id) for case in table])


def _json(id: str, api: str, expected: Any, /, **arguments: Any) -> Case:
    return Case(id, api, {"json": arguments}, expected)


def _array(dtype: str, shape: list[int], values: Any, *, named: str | None = None, **more: Any) -> Case:
    got = [named or dtype, shape[::-1] if more else shape, values, True]
    return _json(
        f"array-{dtype}-{shape}{'-transposed' if more else ''}", "array", got, dtype=dtype, shape=shape, **more
    )


def _png(*colours: tuple[int, int, int]) -> bytes:
    image = Image.frombytes("RGB", (len(colours), 1), b"".join(map(bytes, colours)))
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()


def _pixels(response: Any) -> Any:
    image = Image.open(io.BytesIO(response.content))
    return [response.headers["content-type"], image.format, image.convert("RGB").tobytes()]


def _file(response: Any) -> Any:
    return [response.headers["content-type"].partition(";")[0], response.content]


RED, BLUE = (255, 0, 0), (0, 0, 255)
_TWO_ROWS: Final = [[0, 1, 2], [3, 4, 5]]
_DTYPES: Final = [
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float16",
    "float32",
    "float64",
]
_ROWS: Final = [[float(number)] for number in range(20)]
CASES: Final = [
    _json("sequence", "sequence", 22, x=1),
    _json("parallel, a diamond", "parallel", [11, 2, 21], x=1),
    _json("inference graph", "inference_graph", [{"made": 11, "score": 22.0}, {"made": 2, "score": 4.0}], x=1),
    _json("three below the root", "deep", 21, x=1),
    _json("a batchable leaf", "score", [[2.0, 4.0], [6.0, 8.0]], rows=[[1, 2], [3, 4]]),
    _json("more rows than a batch takes", "score", [[2 * row[0]] for row in _ROWS], rows=_ROWS),
    _json("text", "plain", ["str", "hä\n\u0000☃"], api="text", value="hä\n\u0000☃"),
    _json("empty text", "plain", ["str", ""], api="text", value=""),
    _json("integer", "plain", ["int", -(2**62)], api="integer", value=-(2**62)),
    _json("number", "plain", ["float", 0.1], api="number", value=0.1),
    _json("a number without a fraction", "plain", ["float", 3.0], api="number", value=3),
    _json("boolean", "plain", ["bool", True], api="flag", value=True),
    _json(
        "anything", "plain", ["dict", {"a": [1, None, {"b": "c"}]}], api="anything", value={"a": [1, None, {"b": "c"}]}
    ),
    Case(
        "bytes", "content", {"files": {"value": ("x", b"\x00\xff\n")}}, b"\x00\xff\n", lambda response: response.content
    ),
    *(_array(dtype, [2, 3], _TWO_ROWS) for dtype in _DTYPES),
    _array("bool", [2, 3], [[False, True, True], [True, True, True]]),
    _array("<U3", [2, 3], [["0", "1", "2"], ["3", "4", "5"]], named="str32"),
    _array("float32", [], 0.0),
    _array("int32", [4], [0, 1, 2, 3]),
    _array("int32", [0, 3], []),
    _array("int64", [2, 1, 2], [[[0, 1]], [[2, 3]]]),
    _array("float64", [2, 3], [[0, 3], [1, 4], [2, 5]], transposed=True),
    _json("an array of a declared dtype and shape", "pairs", ["float32", [1, 2], [[1.0, 2.0]], True], value=[[1, 2]]),
    _json("40 MB", "large", [40e6, 10e6], rows=5000),
    _json("what a leaf does to its array is not its caller's", "own_copy", [4.0, 1.0, 1.0, 1.0, 1.0]),
    _json("pydantic models, and dates", "point", ["Point", ["here", "there 2024"], 2], x=3),
    _json("None on both sides", "optional", [7, None, 3, None, None, None]),
    Case(
        "image",
        "image",
        {"files": {"value": ("two.png", _png(RED, BLUE), "image/png")}},
        ["image/png", "PNG", bytes(BLUE + RED)],
        _pixels,
    ),
    Case("file", "file", {"files": {"value": ("a.csv", b"a,b\n1,2\n")}}, ["text/csv", b"a,b\n1,2\n"], _file),
    Case("an empty file", "file", {"files": {"value": ("a.txt", b"")}}, ["text/plain", b""], _file),
    Case(
        "several files",
        "files",
        {"files": [("value", ("a.txt", b"first")), ("value", ("b.txt", b"second"))]},
        ["second", "first"],
    ),
    _json("table", "frame", [{"a": 1, "b": 2.5, "c": "x", "total": 3.5}], value=[{"a": 1, "b": 2.5, "c": "x"}]),
    _json(
        "defaults, spread and positional arguments, and what is not declared",
        "arguments",
        [[1, 2, "c", 4], [1, 3, "c", 0], [5, 2, "x", 4], [1, [], {}], [1, [2, 3], {"four": "4"}], "ä"],
    ),
    Case(
        "context",
        "note",
        {"headers": {"X-Request-ID": "the-root-s"}},
        [{"text": text, "id": "the-root-s", "method": "POST"} for text in ("-", "two")],
    ),
    _json(
        "streams, chunk by chunk",
        "collected",
        [
            [0, 1, 2, 3],
            ["a", "b", "c"],
            [["int16", [number, 2], [[number] * 2] * number] for number in range(3)],
            "e",
        ],
        to=4,
    ),
    _json("an empty stream", "broken", ["in the middle"], after=0),
    _json("an error in mid-stream", "broken", [0, 1, 2, "in the middle"], after=3),
    _json("an error of the user's own", "caught", "Teapot short and stout", how="teapot"),
    _json("one that wants more than a message", "caught", "Kettle 418 red, 2 l", how="kettle"),
    _json("BentoML's", "caught", "NotFound 404 no such thing", how="not found"),
    _json(
        "BentoML's, whose message stays in the log",
        "caught",
        "InternalServerError Faulty.fail failed with InternalServerError; the server's log explains it under the "
        "request's id",
        how="internal",
    ),
    _json(
        "any other exception",
        "caught",
        "ServiceFault Faulty.fail failed with ValueError; the server's log explains it under the request's id",
        how="value",
    ),
    _json(
        "a wrong result",
        "caught",
        "OutputMismatch Faulty.fail returned what its annotation does not allow: Input should be a valid integer, "
        "unable to parse string as an integer",
        how="result",
    ),
    _json("a refusal", "caught", "InvalidInput how: not so", how="input"),
]
_AT: Final = "Input should be a valid integer, unable to parse string as an integer"
PROBLEMS: Final = [
    Problem("teapot", "fail", {"how": "teapot"}, 418, "short and stout", {"name": "Teapot"}),
    Problem("kettle", "fail", {"how": "kettle"}, 418, "red, 2 l", {"name": "Kettle"}),
    Problem("not found", "fail", {"how": "not found"}, 404, "no such thing", {"name": "NotFound"}),
    Problem(
        "internal", "fail", {"how": "internal"}, 500, "failed with InternalServerError", {"name": "InternalServerError"}
    ),
    Problem(
        "exception", "fail", {"how": "value"}, 500, "Faulty.fail failed with ValueError; the server's log explains"
    ),
    Problem("result", "fail", {"how": "result"}, 500, "Faulty.fail returned what its annotation does not allow"),
    Problem("refusal", "fail", {"how": "input"}, 400, "how: not so"),
    Problem("type", "wrong", {"how": "type"}, 400, f"Kinds.integer: value: {_AT}"),
    Problem("nested", "wrong", {"how": "nested"}, 400, f"Kinds.points: value.1.x: {_AT}"),
    Problem("missing", "wrong", {"how": "missing"}, 400, "Kinds.defaults.a: Field required"),
    Problem("twice", "wrong", {"how": "twice"}, 400, "Kinds.defaults.a: was given twice, by its place and by its name"),
    Problem("too many", "wrong", {"how": "too many"}, 400, "Kinds.integer: takes 1 arguments, not 2"),
    Problem("bound", "wrong", {"how": "bound"}, 400, "Kinds.defaults: d: Input should be greater than or equal to 0"),
    Problem("no rows", "wrong", {"how": "rows"}, 400, "rows: a batch needs at least one row"),
    Problem("no such API", "wrong", {"how": "api"}, 500, "wrong failed with AttributeError"),
    Problem("the root's own argument", "sequence", {"x": "one"}, 400, "x: ", {"status": 400}),
]
STREAMS: Final = [
    Case("a stream passed on", "stream", {"json": {"to": 3}}, "<0><1><2>", lambda response: response.text),
    Case("no chunk at all", "stream", {"json": {"to": 0}}, "", lambda response: response.text),
    Case("a sync stream", "stream_of_letters", {"json": {"text": "abc"}}, "ABC", lambda response: response.text),
    Case(
        "events",
        "stream",
        {"json": {"to": 2}, "headers": {"Accept": "text/event-stream"}},
        "data: <0>\n\ndata: <1>\n\n",
        lambda response: response.text,
    ),
    Case("many chunks", "stream", {"json": {"to": 500}}, 500, lambda response: response.text.count("<")),
]
