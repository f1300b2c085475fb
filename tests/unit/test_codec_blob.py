"""bytes, and media types."""

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from annotated_types import MaxLen
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from orchestrator.codec import Packed
from orchestrator.codec.media import (
    blob_of_data_url,
    blob_of_facts,
    canonical,
    check_media_type,
    data_url,
    facts_of,
    guess,
    hint_of_blob,
    sniff,
)
from orchestrator.codec.registry import codec_of
from orchestrator.errors import InvalidInput
from orchestrator.sdk.annotations import adapter_of, describe
from orchestrator.spec import Blob, ValueKind
from orchestrator.validators import ContentType
from tests.unit.journeys import arrive, give, sent_back

NOWHERE = Path("/nowhere")
NAMES = st.none() | st.text(min_size=1, max_size=40)


@given(st.binary())
@settings(deadline=None)
def test_bytes_arrive_and_come_back_as_they_were(content: bytes) -> None:
    assert arrive(bytes, Blob(content, "image/png", "x.png"), NOWHERE) == content
    assert give(bytes, content) == Blob(content)
    assert blob_of_data_url(json.loads(sent_back(bytes, content))).content == content


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_in_json_is_its_utf8(text: str) -> None:
    assert arrive(bytes, text, NOWHERE) == text.encode()


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValidationError, match="valid Unicode"):
        arrive(bytes, "\ud800", NOWHERE)


@pytest.mark.parametrize("sent", [1, None, ["a"], {"a": 1}])
def test_what_is_neither_text_nor_a_file_is_refused(sent: Any) -> None:
    with pytest.raises(ValidationError, match="expected text or a file part"):
        arrive(bytes, sent, NOWHERE)


@pytest.mark.parametrize("given_back", [b"x\x00", bytearray(b"x\x00"), memoryview(b"x\x00")])
def test_a_method_may_return_any_kind_of_bytes(given_back: Any) -> None:
    assert give(bytes, given_back).content == b"x\x00"


@pytest.mark.parametrize("given_back", [1, None, [1], np.zeros(2)])
def test_a_result_that_is_not_bytes_is_refused(given_back: Any) -> None:
    with pytest.raises(ValueError, match="valid bytes"):
        give(bytes, given_back)


def test_the_annotation_says_what_a_result_is_sent_as() -> None:
    assert give(Annotated[bytes, ContentType("audio/mpeg")], b"x") == Blob(b"x", "audio/mpeg")
    assert give(Annotated[bytes, ContentType("audio/*")], b"x") == Blob(b"x")


def test_the_users_own_limits_hold() -> None:
    short = Annotated[bytes, MaxLen(2)]
    assert arrive(short, "ab", NOWHERE) == b"ab"
    assert describe(short, "argument").json_schema == {"type": "string", "format": "binary", "maxLength": 2}
    with pytest.raises(ValidationError, match="at most 2 bytes"):
        arrive(short, "abc", NOWHERE)


def test_none_is_a_value_where_the_annotation_says_so() -> None:
    assert arrive(bytes | None, None, NOWHERE) is None
    assert arrive(bytes | None, "a", NOWHERE) == b"a"
    assert give(bytes | None, None) is None
    assert sent_back(bytes | None, None) == b"null"


def test_a_null_that_the_annotation_does_not_know_is_refused_in_the_worker_too() -> None:
    value = describe(bytes, "argument")
    with pytest.raises(ValueError, match="not null"):
        codec_of(ValueKind.BLOB).to_python(value, None, adapter_of(bytes), None)  # type: ignore[arg-type]
    for annotation in (str, dict[str, int]):
        value = describe(annotation, "argument")
        with pytest.raises(ValueError, match="not null"):
            codec_of(value.kind).to_python(value, None, adapter_of(annotation), None)  # type: ignore[arg-type]


@given(st.binary(), st.sampled_from([None, "image/png", "text/plain; charset=utf-8"]), NAMES)
def test_what_is_known_of_a_content_crosses_with_it(content: bytes, media_type: str | None, name: str | None) -> None:
    value = describe(bytes, "argument")
    codec = codec_of(ValueKind.BLOB)
    packed = codec.to_tensor(value, Blob(content, media_type, name))
    arrived = codec.from_tensor(value, packed)
    assert (arrived.content, arrived.media_type) == (content, media_type)
    assert arrived.filename == (name and name.encode(errors="replace").decode())
    assert (packed.hint == "") == (media_type is None and name is None)


@pytest.mark.parametrize(
    "hint", ["[]", "1", '{"type":1}', '{"name":["x"]}', "{", "nonsense", '{"type":null}', '"image/png"']
)
def test_a_hint_of_a_strangers_making_is_refused(hint: str) -> None:
    tensor = np.array([b"x"], dtype=object)
    with pytest.raises(ValueError, match=r"hint|line|character|key|literal|value"):
        codec_of(ValueKind.BLOB).from_tensor(describe(bytes, "argument"), Packed(tensor, hint))


def test_a_media_type_that_is_none_is_not_passed_on() -> None:
    assert facts_of(Blob(b"", "image/png\r\nX-Evil: 1")) is None
    assert blob_of_facts(b"", {"type": "no type"}) == Blob(b"")
    assert hint_of_blob(Blob(b"", None, "")) == ""
    assert len(facts_of(Blob(b"", None, "x" * 9999))["name"]) == 255  # type: ignore[index]


def test_text_in_the_tensor_of_a_plain_client_counts_as_utf8() -> None:
    value = describe(bytes, "argument")
    assert codec_of(ValueKind.BLOB).from_tensor(value, Packed(np.array(["é"], dtype=object))).content == "é".encode()
    with pytest.raises(ValueError, match="one element"):
        codec_of(ValueKind.BLOB).from_tensor(value, Packed(np.array([b"", b""], dtype=object)))


PNG = b"\x89PNG\r\n\x1a\n..."


@pytest.mark.parametrize(
    ("blob", "patterns"),
    [
        (Blob(b"", "image/png"), ("image/*",)),
        (Blob(b"", "IMAGE/PNG; x=y"), ("image/png",)),
        (Blob(b"", "image/jpg"), ("image/jpeg",)),
        (Blob(b"", "image/jpeg"), ("image/jpg",)),
        (Blob(b"", "audio/x-wav"), ("audio/wav",)),
        (Blob(b"", "text/plain"), ("image/*", "text/*")),
        (Blob(b"", "text/plain"), ()),
        (Blob(b"", "text/plain"), ("*/*",)),
        (Blob(PNG), ("image/png",)),
        (Blob(PNG, "application/octet-stream"), ("image/png",)),
        (Blob(b"", None, "a.PNG"), ("image/png",)),
        (Blob(b"who knows"), ("image/png",)),
        (Blob(b"who knows", "nonsense", "noname"), ("image/png",)),
        (Blob(b"", "application/octet-stream"), ("application/octet-stream",)),
    ],
)
def test_a_media_type_that_fits_or_is_not_known_passes(blob: Blob, patterns: tuple[str, ...]) -> None:
    check_media_type(blob, patterns)


@pytest.mark.parametrize(
    ("blob", "message"),
    [
        (Blob(b"", "text/plain"), "expected image/png or image/gif, got text/plain"),
        (Blob(PNG, "audio/mpeg"), "got audio/mpeg"),
        (Blob(b"\xff\xd8\xff"), "got image/jpeg"),
        (Blob(b"", None, "a.txt"), "got text/plain"),
        (Blob(b"", "x/" + "y" * 999), "^.{1,200}$"),
    ],
)
def test_another_media_type_is_refused_with_the_ones_that_are_taken(blob: Blob, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_media_type(blob, ("image/png", "image/gif"))


def test_media_types_are_checked_at_the_edge_and_in_the_worker() -> None:
    annotation = Annotated[bytes, ContentType("image/png")]
    with pytest.raises(ValidationError, match="expected image/png"):
        arrive(annotation, Blob(b"", "image/gif"), NOWHERE)
    value = describe(annotation, "argument")
    with pytest.raises(ValueError, match="expected image/png"):
        codec_of(value.kind).to_python(value, Blob(b"", "image/gif"), adapter_of(annotation), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.png", "image/png"), ("A.JPG", "image/jpeg"), ("x/y.tar.gz", "application/gzip"), ("a.csv.bz2", None),
        ("a.parquet", "application/vnd.apache.parquet"), ("C:\\a\\b.webp", "image/webp"), ("a.wav", "audio/wav"),
        ("a", None), ("", None), (None, None), ("a.bin", None), ("data:.png", "image/png"), ("a.ogg", "audio/ogg"),
        ("http://x.y/a.md", "text/markdown"), (".png", None), ("a.b:c", None),
    ],
)  # fmt: skip
def test_a_name_tells_the_media_type(name: str | None, media_type: str | None) -> None:
    assert guess(name) == media_type


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (PNG, "image/png"), (b"GIF89a", "image/gif"), (b"RIFF....WEBPVP8 ", "image/webp"), (b"RIFF....WAVE", None),
        (b"....ftypavif", "image/avif"), (b"BM....\0\0\0\0", "image/bmp"), (b"BMW is a car", None), (b"", None),
        (b"II*\0", "image/tiff"), (b"%PDF-", None),
    ],
)  # fmt: skip
def test_an_image_is_known_by_its_first_bytes(content: bytes, media_type: str | None) -> None:
    assert sniff(content) == media_type


@given(st.binary(), st.sampled_from(["image/png", "text/plain;charset=utf-8"]))
def test_a_data_url_holds_the_content_and_its_media_type(content: bytes, media_type: str) -> None:
    assert blob_of_data_url(data_url(Blob(content, media_type))) == Blob(content, media_type)


@pytest.mark.parametrize(
    "text",
    ["data:", "data:,x", "data:image/png,x", "data:;base64,%%%%", "data:;base64", "data:;base64,abc", "data:;base64,é"],
)
def test_a_broken_data_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="data: URL"):
        blob_of_data_url(text)


def test_a_data_url_without_a_media_type_leaves_it_open() -> None:
    assert blob_of_data_url("data:;base64,eA==") == Blob(b"x")
    assert blob_of_data_url("DATA:Image/PNG;BASE64,eA==") == Blob(b"x", "Image/PNG")
    assert data_url(Blob(b"x")) == "data:application/octet-stream;base64,eA=="
    assert data_url(Blob(PNG)).startswith("data:image/png;")


def test_canonical_names() -> None:
    assert canonical(" Text/CSV ; charset=x") == "text/csv"
    assert canonical("audio/mp3") == "audio/mpeg"


@pytest.mark.parametrize("patterns", [(), ("image",), ("image/",), ("a b/c",), (1,), ("image/png;q=1",)])
def test_a_marker_that_names_no_media_type_is_refused(patterns: Any) -> None:
    with pytest.raises(ValueError, match="ContentType takes"):
        ContentType(*patterns)


def test_the_layout_reports_a_bad_hint_as_the_callers_mistake() -> None:
    from tests.unit.journeys import layout_of

    layout = layout_of(describe(bytes, "argument"), describe(int, "result"), rows=False)
    with pytest.raises(InvalidInput, match="x: "):
        layout.unpack({"x": np.array([b""], dtype=object)}, {"hint.x": "[1]"})


def test_bytes_in_json_are_text_or_a_data_url() -> None:
    value = describe(bytes, "argument")
    adapter = TypeAdapter(codec_of(value.kind).edge_type(value))
    assert adapter.validate_python("data:;base64,eA==").content == b"x"
    assert adapter.validate_python("data: not one") == Blob(b"data: not one")
    with pytest.raises(ValidationError):
        adapter.validate_python("data:;base64,?")
