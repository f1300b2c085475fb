"""Lists of files, images, bytes and arrays."""

import io
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import PIL.Image
import pytest
from annotated_types import MaxLen
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.Image import Image
from pydantic import AfterValidator, ValidationError

from orchestrator.codec import Packed, codec_of
from orchestrator.codec.npy import read_npy, write_npy
from orchestrator.sdk.annotations import describe
from orchestrator.spec import Blob, ValueKind, ValueSpec
from orchestrator.validators import ContentType, DType, Shape
from tests.unit.journeys import arrive, give, sent_back

NOWHERE = Path("/nowhere")
Arrays = list[np.ndarray]  # type: ignore[type-arg]


def png(width: int) -> bytes:
    file = io.BytesIO()
    PIL.Image.new("L", (width, 1)).save(file, format="PNG")
    return file.getvalue()


def test_files_arrive_each_with_its_name(tmp_path: Path) -> None:
    sent = [Blob(b"one", None, "1.txt"), Blob(b"two"), "data:text/plain;base64,eA=="]
    paths = arrive(list[Path], sent, tmp_path)
    assert [path.read_bytes() for path in paths] == [b"one", b"two", b"x"]
    assert paths[0].name.endswith("-1.txt")
    back = give(list[Path], paths)
    assert [blob.content for blob in back] == [b"one", b"two", b"x"]
    assert back[0].media_type == "text/plain"
    assert json.loads(sent_back(list[Path], paths))[0] == "data:text/plain;base64,b25l"


def test_images_arrive_and_come_back() -> None:
    images = arrive(list[Image], [Blob(png(1)), Blob(png(2))], NOWHERE)
    assert [image.width for image in images] == [1, 2]
    assert [blob.media_type for blob in give(list[Image], images)] == ["image/png", "image/png"]


@given(st.lists(st.binary()))
@settings(deadline=None)
def test_bytes_arrive_and_come_back(contents: list[bytes]) -> None:
    assert arrive(list[bytes], [Blob(content) for content in contents], NOWHERE) == contents
    assert give(list[bytes], contents) == [Blob(content) for content in contents]


@given(
    st.lists(st.tuples(st.sampled_from(["float32", "int64", "bool", "<U3"]), st.lists(st.integers(0, 3), max_size=3)))
)
@settings(deadline=None)
def test_arrays_of_different_shapes_arrive_and_come_back(kinds: list[tuple[str, list[int]]]) -> None:
    arrays = [np.ones(shape, dtype=dtype) for dtype, shape in kinds]
    for arrived in (arrive(Arrays, arrays, NOWHERE), give(Arrays, arrays)):
        assert len(arrived) == len(arrays)
        for one, other in zip(arrived, arrays, strict=True):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert np.array_equal(one, other)
            assert one.flags.writeable


def test_arrays_come_from_json_and_keep_their_markers() -> None:
    annotation = list[Annotated[np.ndarray, DType("float32"), Shape((-1,))]]  # type: ignore[type-arg]
    one, other = arrive(annotation, [[1, 2], [3]], NOWHERE)
    assert (one.dtype, one.tolist(), other.tolist()) == (np.float32, [1.0, 2.0], [3.0])
    assert sent_back(annotation, [one, other]) == b"[[1.0,2.0],[3.0]]"
    with pytest.raises(ValidationError, match="expected an array of shape"):
        arrive(annotation, [[[1]]], NOWHERE)
    with pytest.raises(ValueError, match="expected dtype float32"):
        give(annotation, [np.array(["x"])])


def test_a_lone_file_is_a_list_of_one(tmp_path: Path) -> None:
    assert [path.read_bytes() for path in arrive(list[Path], Blob(b"x"), tmp_path)] == [b"x"]
    assert arrive(list[bytes], Blob(b"x"), NOWHERE) == [b"x"]


@pytest.mark.parametrize("sent", ["data:;base64,eA==", None, 1, {"a": "b"}])
def test_what_is_no_list_is_refused(sent: Any) -> None:
    with pytest.raises(ValidationError, match="valid list"):
        arrive(list[Path], sent, NOWHERE)


def test_an_item_that_is_refused_is_named() -> None:
    with pytest.raises(ValidationError, match="send a file part") as caught:
        arrive(list[Path], [Blob(b""), "/etc/passwd"], NOWHERE)
    assert caught.value.errors()[0]["loc"] == (1,)
    with pytest.raises(ValidationError, match="expected image/png, got text/plain"):
        arrive(Annotated[list[Image], ContentType("image/png")], [Blob(b"", "text/plain")], NOWHERE)
    with pytest.raises(ValueError, match="no image"):
        arrive(list[Image], [Blob(png(1)), Blob(b"x")], NOWHERE)


def test_the_limits_of_the_list_hold(tmp_path: Path) -> None:
    two = Annotated[list[Path], MaxLen(2)]
    assert len(arrive(two, [Blob(b"")] * 2, tmp_path)) == 2
    assert describe(two, "argument").json_schema["maxItems"] == 2
    with pytest.raises(ValidationError, match="at most 2 items"):
        arrive(two, [Blob(b"")] * 3, tmp_path)
    with pytest.raises(ValidationError, match="at most 2 items"):
        give(two, [tmp_path] * 3)


def test_the_users_own_validators_run_on_the_items() -> None:
    def wide(image: Image) -> Image:
        if image.width < 2:
            raise ValueError("too narrow")
        return image

    annotation = list[Annotated[Image, AfterValidator(wide)]]
    assert len(arrive(annotation, [Blob(png(2))], NOWHERE)) == 1
    with pytest.raises(ValidationError, match="too narrow"):
        arrive(annotation, [Blob(png(1))], NOWHERE)


def test_a_list_may_be_empty_or_optional() -> None:
    for annotation in (list[Path], list[bytes], list[Image], Arrays):
        assert arrive(annotation, [], NOWHERE) == []
        assert give(annotation, []) == []
        assert sent_back(annotation, []) == b"[]"
        optional: Any = annotation | None
        assert arrive(optional, None, NOWHERE) is None
        assert sent_back(optional, None) == b"null"


@pytest.mark.parametrize("wrong", [None, 1, "a", [1], {"a": 1}])
def test_a_result_that_is_no_such_list_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"list|path"):
        give(list[Path], wrong)
    with pytest.raises(ValueError, match=r"list|image"):
        give(list[Image], wrong)


def test_the_facts_of_every_file_travel_in_one_hint() -> None:
    value = describe(list[bytes], "argument")
    codec = codec_of(ValueKind.MANY)
    blobs = [Blob(b"a", "image/png", "a.png"), Blob(b"b")]
    packed = codec.to_tensor(value, blobs)
    assert packed.hint == '[{"type":"image/png","name":"a.png"},null]'
    assert codec.from_tensor(value, packed) == blobs
    assert codec.to_tensor(value, [Blob(b"a")]).hint == ""


@pytest.mark.parametrize("hint", ["{}", "[]", "[null,null]", "[1]", '[{"type":1}]', "x"])
def test_a_hint_of_a_strangers_making_is_refused(hint: str) -> None:
    value = describe(list[bytes], "argument")
    with pytest.raises(ValueError, match=r"hint|line|character"):
        codec_of(ValueKind.MANY).from_tensor(value, Packed(np.array([b"x"], dtype=object), hint))


def test_an_array_of_a_plain_client_must_be_an_npy_file() -> None:
    value = describe(Arrays, "argument")
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object), allow_pickle=True)
    header = b"\x93NUMPY\x01\x00\x76\x00"
    bomb = header + b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000,), }".ljust(117) + b"\n"
    parser_bomb = b"\x93NUMPY\x01\x00\xff\x0f" + b"(" * 4095
    for content in (b"", b"x", write_npy(np.ones(3))[:-1], pickled.getvalue(), bomb, parser_bomb, header):
        with pytest.raises(ValueError, match="npy file"):
            codec_of(ValueKind.MANY).from_tensor(value, Packed(np.array([content], dtype=object)))


@pytest.mark.parametrize(
    "array",
    [np.array(1.5), np.ones((0, 3)), np.asfortranarray([[1, 2], [3, 4]]), np.array([1], ">i4"), np.array(["a", "bc"])],
    ids=str,
)
def test_an_npy_file_holds_any_array(array: Any) -> None:
    back = read_npy(write_npy(array))
    assert back.shape == array.shape
    assert back.dtype == array.dtype.newbyteorder("=")
    assert np.array_equal(back, array)


def test_a_list_without_a_description_of_its_items_is_refused() -> None:
    with pytest.raises(ValueError, match="description of its items"):
        codec_of(ValueKind.MANY).to_json(ValueSpec(kind=ValueKind.MANY), [])


def test_what_openapi_says() -> None:
    file = {"type": "string", "format": "binary"}
    assert describe(list[Path], "argument").json_schema == {"type": "array", "items": file}
    value = describe(Annotated[list[Path], ContentType("audio/mpeg")], "argument")
    assert value.json_schema["items"] == file | {"contentMediaType": "audio/mpeg"}
    assert value.item is not None
    assert value.item.media_types == ("audio/mpeg",)
