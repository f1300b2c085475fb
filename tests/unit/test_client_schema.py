"""`/schema.json` as BentoML's clients read it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, Field

import orchestrator
from orchestrator.sdk import read_service
from orchestrator.server.client_schema import client_schema
from orchestrator.validators import ContentType, DataframeSchema, DType, Shape


class Leaf(BaseModel):
    size: int


class Tree(BaseModel):
    leaf: Leaf
    children: "list[Tree]" = []


def schema_of(argument: Any = int, result: Any = None, *, root: bool = False) -> dict[str, Any]:
    """The route of a service with one API."""

    def whole(self: Any, value: Any, /) -> Any:
        return value

    def field(self: Any, value: Any) -> Any:
        return value

    method = whole if root else field
    method.__annotations__ = {"value": argument, "return": result}
    cls = orchestrator.service(type("Plain", (), {"method": orchestrator.api(method), "__module__": __name__}))
    (route,) = client_schema(read_service(cls, "m:Plain").spec)["routes"]
    assert isinstance(route, dict)
    return route


def in_and_out(annotation: Any) -> tuple[Any, Any]:
    route = schema_of(annotation, annotation)
    return route["input"]["properties"]["value"], route["output"]


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (int, {"type": "integer"}),
        (str, {"type": "string"}),
        (bytes, {"type": "string", "format": "binary"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (np.ndarray, {"type": "tensor", "format": "numpy-array"}),
        (NDArray[np.float32], {"type": "tensor", "format": "numpy-array", "dtype": "float32"}),
        (
            Annotated[np.ndarray, DType("bool"), Shape((-1, 3))],
            {"type": "tensor", "format": "numpy-array", "dtype": "bool_", "shape": [-1, 3]},
        ),
        (Annotated[np.ndarray, DType("str")], {"type": "tensor", "format": "numpy-array", "dtype": "str_"}),
        (pd.DataFrame, {"type": "dataframe", "orient": "records"}),
        (
            Annotated[pd.DataFrame, DataframeSchema(orient="columns", columns=("a",))],
            {"type": "dataframe", "orient": "columns", "columns": ["a"]},
        ),
        (Image.Image, {"type": "file", "format": "image", "pil": True}),
        (Path, {"type": "file", "format": "binary"}),
        (Annotated[Path, ContentType("audio/mp3")], {"type": "file", "format": "audio", "content_type": "audio/mp3"}),
        (list[Path], {"type": "array", "items": {"type": "file", "format": "binary"}}),
        (Image.Image | None, {"type": "file", "format": "image", "pil": True}),
        (
            Leaf,
            {
                "type": "object",
                "title": "Leaf",
                "properties": {"size": {"type": "integer", "title": "Size"}},
                "required": ["size"],
            },
        ),
    ],
)
def test_a_type_has_the_schema_that_the_client_knows(annotation: Any, schema: dict[str, Any]) -> None:
    for found in in_and_out(annotation):
        found.pop("description", None)
        assert found == schema


def test_references_are_in_place_and_one_that_holds_itself_ends() -> None:
    taken, _ = in_and_out(Tree)
    assert taken["properties"]["leaf"]["properties"] == {"size": {"type": "integer", "title": "Size"}}
    assert taken["properties"]["children"]["items"] == {}
    assert "$ref" not in str(taken)
    assert "$defs" not in str(taken)


def test_a_list_says_what_is_in_it_because_the_client_looks() -> None:
    for annotation in (list, tuple[int, str], list[Any]):
        assert "items" in in_and_out(annotation)[0]


def test_a_result_that_is_json_is_never_called_text() -> None:
    for annotation in (Literal["a", "b"], Annotated[str, Field(pattern="a")] | None):
        assert in_and_out(annotation)[1].get("type") != "string"
    assert in_and_out(Literal["a"])[0]["type"] == "string"


def test_an_optional_model_is_sent_as_the_model() -> None:
    taken, _ = in_and_out(Leaf | None)
    assert taken["properties"]["size"]["type"] == "integer"


def test_the_whole_body() -> None:
    assert schema_of(str, str, root=True)["input"] == {"type": "string", "root_input": True}
    assert schema_of(Path, None, root=True)["input"] == {"type": "file", "format": "binary", "root_input": True}
    assert schema_of(Leaf, None, root=True)["input"]["properties"] == {"size": {"type": "integer", "title": "Size"}}


@orchestrator.service
class Several:
    """Words of the class."""

    @orchestrator.api(route="/a/b")
    def first(self, one: int, two: str = "x", three: Path | None = None) -> str:
        """Words of the method."""
        return ""

    @orchestrator.api
    def stream(self) -> Iterator[int]:
        yield 1

    @orchestrator.api(batchable=True)
    def batch(self, rows: list[str]) -> list[int]:
        return []


def test_the_document_of_a_service() -> None:
    document = client_schema(read_service(Several, "m:Several").spec)
    assert (document["name"], document["type"], document["description"]) == (
        "Several",
        "service",
        "Words of the class.",
    )
    assert document["paths"] == {path: {"mounted": False} for path in ("/a/b", "/stream", "/batch")}
    first, stream, batch = document["routes"]
    assert (first["name"], first["route"], first["doc"], first["batchable"], first["is_task"]) == (
        "first",
        "/a/b",
        "Words of the method.",
        False,
        False,
    )
    assert list(first["input"]["properties"]) == ["one", "two", "three"]
    assert first["input"]["required"] == ["one"]
    assert first["input"]["properties"]["two"]["default"] == "x"
    assert stream["output"] == {"type": "integer", "is_stream": True}
    assert "doc" not in stream
    assert batch["batchable"] is True
    assert batch["input"]["properties"]["rows"] == {"type": "array", "items": {"type": "string"}}
