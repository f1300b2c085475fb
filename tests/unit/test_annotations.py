"""Which annotations are claimed, as what, and which are refused with a way out."""

import dataclasses
import pathlib
import typing
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, NewType, Optional, TypeVar, Union

import numpy as np
import pandas as pd
import PIL.Image
import pytest
from PIL.Image import Image as PILImage
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, RootModel, WithJsonSchema
from typing_extensions import TypeAliasType, TypedDict

from orchestrator.sdk.annotations import UnsupportedAnnotation, adapter_of, describe
from orchestrator.spec import ValueKind
from orchestrator.validators import ContentType, DataframeSchema, DType, Shape

Photo = NewType("Photo", PILImage)
Upload = TypeAliasType("Upload", Annotated[Path, ContentType("text/*")])
Array: Any = np.ndarray
T = TypeVar("T")


@pytest.mark.parametrize(
    ("annotation", "kind", "nullable"),
    [
        (bytes, ValueKind.BLOB, False),
        (bytes | None, ValueKind.BLOB, True),
        (Path, ValueKind.FILE, False),
        (pathlib.PosixPath, ValueKind.FILE, False),
        (Optional[Path], ValueKind.FILE, True),  # noqa: UP045
        (Union[None, Path], ValueKind.FILE, True),  # noqa: UP007
        (Upload, ValueKind.FILE, False),
        (Upload | None, ValueKind.FILE, True),
        (PIL.Image.Image, ValueKind.IMAGE, False),
        (PILImage, ValueKind.IMAGE, False),
        (Photo, ValueKind.IMAGE, False),
        (PILImage | None, ValueKind.IMAGE, True),
        (Annotated[Annotated[PILImage, "x"] | None, "y"], ValueKind.IMAGE, True),
        (pd.DataFrame, ValueKind.TABLE, False),
        (pd.DataFrame | None, ValueKind.TABLE, True),
        (Array, ValueKind.ARRAY, False),
        (Array | None, ValueKind.ARRAY, True),
        (Annotated[Array, DType("int8")] | None, ValueKind.ARRAY, True),
        (list[Path], ValueKind.MANY, False),
        (typing.List[PILImage], ValueKind.MANY, False),  # noqa: UP006  # as BentoML's users write it
        (list[bytes] | None, ValueKind.MANY, True),
        (list[Upload], ValueKind.MANY, False),
        (list[Array], ValueKind.MANY, False),
        (str, ValueKind.TEXT, False),
        (str | None, ValueKind.JSON, False),
        (int | str, ValueKind.JSON, False),
        (bytes | str, ValueKind.JSON, False),
        (dict[str, bytes], ValueKind.JSON, False),
        (list[int], ValueKind.JSON, False),
        (list, ValueKind.JSON, False),
        (typing.List, ValueKind.JSON, False),  # noqa: UP006
        (pathlib.PurePosixPath, ValueKind.JSON, False),
        (None, ValueKind.JSON, False),
    ],
    ids=str,
)
def test_what_an_annotation_is(annotation: Any, kind: ValueKind, nullable: bool) -> None:
    for direction in ("argument", "result"):
        value = describe(annotation, direction)
        assert (value.kind, value.nullable) == (kind, nullable)
    adapter_of(annotation)


class WithPath(BaseModel):
    files: list[Path]


class Deep(BaseModel):
    inner: dict[str, WithPath | None]


class Recursive(BaseModel):
    again: "Recursive | None" = None
    path: Path | None = None


class Root(RootModel[Path]):
    pass


@dataclasses.dataclass
class Record:
    image: PILImage


@dataclasses.dataclass
class PathRecord:
    file: Path


class Words(TypedDict):
    file: Path


class Pair(NamedTuple):
    file: Path


class Box(BaseModel, Generic[T]):
    content: T


class Arbitrary(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    array: np.ndarray[Any, Any]


@pytest.mark.parametrize(
    "annotation",
    [
        WithPath, Deep, Recursive, Root, PathRecord, Words, Pair, Box[Path], list[WithPath],
        dict[str, Path], tuple[Path, ...], set[Path], list[dict[str, Path]], typing.Sequence[Path], list[list[Path] | int],
    ],
    ids=str,
)  # fmt: skip
def test_a_file_inside_of_something_else_is_refused(annotation: Any) -> None:
    """pydantic would take it for text, and the method would open the file of that name on the server."""
    with pytest.raises(
        UnsupportedAnnotation, match=r"pathlib.Path.* of its own: .*list\[pathlib.Path\]|one of several"
    ):
        describe(annotation, "argument")


@pytest.mark.parametrize(
    ("annotation", "inside"),
    [
        (dict[str, PILImage], "PIL.Image.Image"),
        (Record, "PIL.Image.Image"),
        (tuple[Array, int], "numpy.ndarray"),
        (Arbitrary, "numpy.ndarray"),
        (dict[str, Array], "numpy.ndarray"),
        (dict[str, pd.DataFrame], "DataFrame"),
        (Box[int] | dict[str, PILImage], "PIL.Image.Image"),
    ],
    ids=str,
)
def test_what_is_no_json_inside_of_something_else_is_refused(annotation: Any, inside: str) -> None:
    with pytest.raises(UnsupportedAnnotation, match=rf"{inside}.*(of its own|several types)"):
        describe(annotation, "argument")


@pytest.mark.parametrize(
    "annotation",
    [
        Path | str, Path | bytes, PILImage | Path, Array | int, pd.DataFrame | dict[str, int] | None,
        list[Path] | Path, list[Path] | str, Path | int | None,
    ],
    ids=str,
)  # fmt: skip
def test_a_file_is_not_one_of_several_types(annotation: Any) -> None:
    with pytest.raises(UnsupportedAnnotation, match=r"cannot be one of several types; take .* \| None"):
        describe(annotation, "argument")


@pytest.mark.parametrize(
    "annotation",
    [list[Path | None], list[list[Path]], list[pd.DataFrame], list[list[bytes]], list[list[Array]]],
    ids=str,
)
def test_lists_that_have_no_form(annotation: Any) -> None:
    with pytest.raises(UnsupportedAnnotation, match="a list may hold arrays, bytes, files or images"):
        describe(annotation, "argument")


@pytest.mark.parametrize("annotation", [PIL.Image, np], ids=str)
def test_a_module_is_no_type(annotation: Any) -> None:
    with pytest.raises(UnsupportedAnnotation, match="is a module, not a type"):
        describe(annotation, "argument")


@pytest.mark.parametrize(
    ("annotation", "marker"),
    [
        (Annotated[int, Shape((1,))], "Shape"),
        (Annotated[Path, DType("int8")], "DType"),
        (Annotated[str, ContentType("text/html")], "ContentType"),
        (Annotated[Array, ContentType("image/*")], "ContentType"),
        (Annotated[pd.DataFrame, Shape((1,))], "Shape"),
        (Annotated[list[int], DataframeSchema()], "DataframeSchema"),
        (Annotated[list[Path], Shape((1,))], "Shape"),
    ],
    ids=str,
)
def test_a_marker_beside_a_type_that_it_says_nothing_about_is_refused(annotation: Any, marker: str) -> None:
    with pytest.raises(UnsupportedAnnotation, match=f"{marker} says nothing about"):
        describe(annotation, "argument")


def test_a_result_of_text_may_have_a_media_type() -> None:
    value = describe(Annotated[str, ContentType("text/html")], "result")
    assert (value.kind, value.media_types) == (ValueKind.TEXT, ("text/html",))
    value = describe(Annotated[dict[str, int], ContentType("application/ld+json")], "result")
    assert (value.kind, value.media_types) == (ValueKind.JSON, ("application/ld+json",))


def test_pydantics_own_way_to_write_a_type_is_respected() -> None:
    serialised: Any = Annotated[
        np.ndarray,
        BeforeValidator(np.array),
        PlainSerializer(lambda array: array.tolist()),
        WithJsonSchema({"type": "array"}),
    ]

    class Model(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        array: serialised

    assert describe(Model, "argument").kind is ValueKind.JSON


def test_what_field_says_in_words_is_in_the_schema() -> None:
    words = Field(description="a picture", examples=["x"], title="T")
    expected = {"description": "a picture", "examples": ["x"], "title": "T"}
    for annotation in (Path, PILImage, Array, pd.DataFrame, bytes, Annotated[Array, Shape((2,))], list[Path]):
        schema = describe(Annotated[annotation, words], "argument").json_schema
        if annotation != list[Path]:  # pydantic keeps no words at the top of a list
            assert expected.items() <= schema.items()
    assert describe(Annotated[Path | None, words], "argument").json_schema["anyOf"][0]["title"] == "T"


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Array, ValueKind.ARRAY), (pd.DataFrame, ValueKind.TABLE), (list[bytes], ValueKind.ROWS),
        (list[PILImage], ValueKind.ROWS), (list[str], ValueKind.ROWS), (list[dict[str, bytes]], ValueKind.ROWS),
    ],
    ids=str,
)  # fmt: skip
def test_what_has_rows(annotation: Any, kind: ValueKind) -> None:
    assert describe(annotation, "argument", rows=True).kind is kind


@pytest.mark.parametrize(
    "annotation",
    [
        bytes, Path, PILImage, Array | None, pd.DataFrame | None, list[Path], list[Array], list[bytes] | None, list[int] | None,
        dict[str, int], str,
    ],
    ids=str,
)  # fmt: skip
def test_what_has_no_rows_is_refused(annotation: Any) -> None:
    with pytest.raises(UnsupportedAnnotation, match="a batchable API takes and returns"):
        describe(annotation, "argument", rows=True)


@pytest.mark.parametrize("annotation", [type, typing.Callable[[int], int]], ids=str)
def test_what_has_no_form_at_all_is_refused(annotation: Any) -> None:
    with pytest.raises(UnsupportedAnnotation, match=r"no JSON form; use str, .*PIL.Image.Image|is a module"):
        describe(annotation, "argument")
