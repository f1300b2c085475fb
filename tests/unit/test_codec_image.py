"""Images, with pillow on both sides."""

import base64
import contextlib
import io
import json
import random
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import PIL.Image
import PIL.PngImagePlugin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.Image import Image as PILImage
from pydantic import AfterValidator, ValidationError

from orchestrator.codec import image as image_module
from orchestrator.sdk.annotations import describe
from orchestrator.spec import Blob, ValueKind
from orchestrator.validators import ContentType
from tests.unit.journeys import arrive, give, sent_back

NOWHERE = Path("/nowhere")


def encoded(image: PILImage, image_format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format=image_format, **options)
    return file.getvalue()


def decoded(content: bytes) -> PILImage:
    image = PIL.Image.open(io.BytesIO(content))
    image.load()
    return image


@given(
    st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA", "I;16"]),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(0, 255),
)
@settings(deadline=None, max_examples=50)
def test_an_image_arrives_and_comes_back_without_loss(mode: str, size: tuple[int, int], level: int) -> None:
    image = PIL.Image.new(mode, size)
    image.putpixel((0, 0), (level,) * len(image.getbands()) if len(image.getbands()) > 1 else level)
    arrived = arrive(PILImage, Blob(encoded(image)), NOWHERE)
    assert isinstance(arrived, PILImage)
    assert arrived.format == "PNG"
    assert (arrived.mode, arrived.size) == (image.mode, image.size)
    back = give(PILImage, arrived)
    assert back.media_type == "image/png"
    same = "RGB" if mode == "P" else mode  # a palette is written without its unused colours
    assert decoded(back.content).convert(same).tobytes() == image.convert(same).tobytes()


@pytest.mark.parametrize(
    "image_format", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "JPEG2000", "TGA", "AVIF"]
)
def test_an_image_keeps_its_format(image_format: str) -> None:
    image = PIL.Image.new("RGB", (16, 16), "red")
    arrived = arrive(PILImage, Blob(encoded(image, image_format)), NOWHERE)
    assert arrived.format == image_format
    back = give(PILImage, arrived)
    assert back.media_type == PIL.Image.MIME[image_format]
    assert decoded(back.content).format == image_format


def test_an_image_that_was_worked_on_has_no_format_and_becomes_png() -> None:
    arrived = arrive(PILImage, Blob(encoded(PIL.Image.new("RGB", (2, 2)), "JPEG")), NOWHERE)
    back = give(PILImage, arrived.resize((1, 1)))
    assert back.media_type == "image/png"
    assert decoded(back.content).size == (1, 1)


def test_an_image_comes_as_a_data_url_too_and_goes_so_into_json() -> None:
    content = encoded(PIL.Image.new("L", (1, 1)))
    url = "data:image/png;base64," + base64.b64encode(content).decode()
    arrived = arrive(PILImage, url, NOWHERE)
    assert json.loads(sent_back(PILImage, arrived)).startswith("data:image/png;base64,")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "got an empty file"),
        (b"hello", "no image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n%%EndComments\n", "no image"),
        (b"\x89PNG\r\n\x1a\n", "no image|damaged"),
        (b"GIF89a", "no image|damaged"),
        (b"BM" + bytes(60), "no image|damaged"),
    ],
)
def test_what_is_no_image_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        arrive(PILImage, Blob(content), NOWHERE)


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "JPEG2000", "AVIF", "ICO"])
def test_a_cut_image_is_refused_or_read_but_never_fails_otherwise(image_format: str) -> None:
    noise = PIL.Image.frombytes("RGB", (32, 32), random.Random(0).randbytes(3 * 32 * 32))
    content = encoded(noise, image_format)
    with pytest.raises(ValueError, match=r"damaged|no image"):
        arrive(PILImage, Blob(content[: len(content) // 2]), NOWHERE)


@given(st.sampled_from(["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "ICO", "TGA", "PCX", "QOI"]), st.data())
@settings(max_examples=200, deadline=None)
def test_a_damaged_image_never_raises_anything_but_a_value_error(image_format: str, data: st.DataObject) -> None:
    noise = PIL.Image.frombytes("RGB", (8, 8), random.Random(0).randbytes(192))
    content = bytearray(encoded(noise, image_format))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        arrive(PILImage, Blob(bytes(content)), NOWHERE)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    large = encoded(PIL.Image.new("1", (8001, 8000)))
    assert len(large) < 20_000
    with pytest.raises(ValueError, match="over 64 million pixels"):
        arrive(PILImage, Blob(large), NOWHERE)
    monkeypatch.setattr(image_module, "MOST_PIXELS", 10**9)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match="million pixels"):  # pillow's own limit
        arrive(PILImage, Blob(large), NOWHERE)


def test_an_icon_that_holds_more_than_it_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(encoded(PIL.Image.new("RGB", (64, 64)), "ICO", sizes=[(64, 64)]))
    content[6:8] = b"\x10\x10"  # the directory says 16 x 16
    monkeypatch.setattr(image_module, "MOST_PIXELS", 1000)
    with pytest.raises(ValueError, match="million pixels"):
        arrive(PILImage, Blob(bytes(content)), NOWHERE)


def test_a_bomb_in_a_text_chunk_is_refused() -> None:
    info = PIL.PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * (PIL.PngImagePlugin.MAX_TEXT_CHUNK + 1), zip=True)
    with pytest.raises(ValueError, match="damaged"):
        arrive(PILImage, Blob(encoded(PIL.Image.new("L", (1, 1)), pnginfo=info)), NOWHERE)


@pytest.mark.parametrize(
    ("mode", "media_type", "image_format"),
    [
        ("RGBA", "image/jpeg", "JPEG"), ("LA", "image/jpeg", "JPEG"), ("P", "image/jpeg", "JPEG"), ("1", "image/jpeg", "JPEG"),
        ("CMYK", "image/jpeg", "JPEG"), ("HSV", "image/jpeg", "JPEG"), ("CMYK", "image/png", "PNG"), ("HSV", "image/png", "PNG"),
        ("YCbCr", "image/png", "PNG"), ("RGBA", "image/bmp", "BMP"), ("LA", "image/bmp", "BMP"), ("RGBA", "image/webp", "WEBP"),
        ("L", "image/webp", "WEBP"), ("RGBA", "image/gif", "GIF"), ("CMYK", "image/webp", "WEBP"), ("LA", "image/tiff", "TIFF"),
        ("RGBA", "image/jpg", "JPEG"), ("RGBa", "image/png", "PNG"), ("F", "image/tiff", "TIFF"),
    ],
)  # fmt: skip
def test_the_mode_is_changed_as_far_as_the_format_needs_it(mode: str, media_type: str, image_format: str) -> None:
    back = give(Annotated[PILImage, ContentType(media_type)], PIL.Image.new(mode, (3, 2)))
    assert decoded(back.content).format == image_format
    assert decoded(back.content).size == (3, 2)
    assert back.media_type == PIL.Image.MIME[image_format]


def test_what_was_transparent_is_white_where_the_format_has_no_transparency() -> None:
    clear = PIL.Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    for image in (clear, clear.convert("LA"), clear.convert("P")):
        back = decoded(give(Annotated[PILImage, ContentType("image/jpeg")], image).content).convert("L")
        assert np.asarray(back).min() > 250
    palette = PIL.Image.new("P", (8, 8), 0)
    palette.info["transparency"] = 0
    back = decoded(give(Annotated[PILImage, ContentType("image/jpeg")], palette).content).convert("L")
    assert np.asarray(back).min() > 250


@pytest.mark.parametrize("mode", ["F", "I", "I;16", "La"])
def test_what_would_be_cut_off_is_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=f"an image of mode {mode} cannot be written as JPEG"):
        give(Annotated[PILImage, ContentType("image/jpeg")], PIL.Image.new(mode, (2, 2)))


@pytest.mark.parametrize(
    ("own", "patterns", "media_type"),
    [
        ("JPEG", ("image/*",), "image/jpeg"),
        ("JPEG", ("image/png", "image/jpeg"), "image/jpeg"),
        ("GIF", ("image/png", "image/jpeg"), "image/png"),
        (None, ("image/*",), "image/png"),
        (None, ("image/webp",), "image/webp"),
        ("MPO", (), "image/jpeg"),
        ("PSD", (), "image/png"),
        ("DIB", (), "image/bmp"),
    ],
)
def test_the_format_of_a_result(own: str | None, patterns: tuple[str, ...], media_type: str) -> None:
    image = PIL.Image.new("RGB", (2, 2))
    image.format = own
    annotation: Any = Annotated[PILImage, ContentType(*patterns)] if patterns else PILImage
    assert give(annotation, image).media_type == media_type


def test_a_format_that_pillow_cannot_write_is_refused() -> None:
    for pattern in ("image/svg+xml", "video/*"):
        with pytest.raises(ValueError, match="pillow cannot write"):
            give(Annotated[PILImage, ContentType(pattern)], PIL.Image.new("RGB", (2, 2)))


@pytest.mark.parametrize("wrong", [None, 1, b"x", np.zeros((2, 2, 3), np.uint8), Path("a.png")])
def test_a_result_that_is_no_image_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="expected a PIL image, got"):
        give(PILImage, wrong)


def test_an_empty_image_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="cannot be written"):
        give(Annotated[PILImage, ContentType("image/jpeg")], PIL.Image.new("RGB", (0, 0)))


def test_a_marker_restricts_what_is_taken() -> None:
    png_only = Annotated[PILImage, ContentType("image/png")]
    png, jpeg = (encoded(PIL.Image.new("L", (1, 1)), name) for name in ("PNG", "JPEG"))
    assert arrive(png_only, Blob(png), NOWHERE).format == "PNG"
    assert arrive(png_only, Blob(png, "application/octet-stream", "x.jpg"), NOWHERE).format == "PNG"
    for refused in (Blob(jpeg), Blob(jpeg, "image/jpeg"), Blob(png, "image/jpeg")):
        with pytest.raises(ValidationError, match="expected image/png, got image/jpeg"):
            arrive(png_only, refused, NOWHERE)


def test_the_users_own_validators_run() -> None:
    def square(image: PILImage) -> PILImage:
        if image.width != image.height:
            raise ValueError("not square")
        return image

    annotation = Annotated[PILImage, AfterValidator(square)]
    assert arrive(annotation, Blob(encoded(PIL.Image.new("L", (2, 2)))), NOWHERE).size == (2, 2)
    with pytest.raises(ValidationError, match="not square"):
        arrive(annotation, Blob(encoded(PIL.Image.new("L", (2, 3)))), NOWHERE)
    with pytest.raises(ValidationError, match="not square"):
        give(annotation, PIL.Image.new("L", (2, 3)))


@pytest.mark.parametrize(
    "annotation", [PILImage | None, PIL.Image.Image | None, Annotated[PILImage, ContentType("image/*")] | None]
)
def test_an_image_may_be_optional(annotation: Any) -> None:
    assert arrive(annotation, None, NOWHERE) is None
    assert give(annotation, None) is None
    assert give(annotation, PIL.Image.new("L", (1, 1))).media_type == "image/png"


def test_a_batch_of_images_has_a_row_each() -> None:
    contents = [encoded(PIL.Image.new("RGB", (size, 1)), name) for size, name in ((1, "PNG"), (2, "JPEG"))]
    arrived = arrive(list[PILImage], [Blob(content) for content in contents], NOWHERE, rows=True)
    assert [(image.width, image.format) for image in arrived] == [(1, "PNG"), (2, "JPEG")]
    back = give(list[PILImage], arrived, rows=True)
    assert [decoded(blob.content).width for blob in back] == [1, 2]
    urls = json.loads(sent_back(list[PILImage], arrived, rows=True))
    assert [url.partition(";")[0] for url in urls] == ["data:image/png", "data:image/jpeg"]
    assert [image.width for image in arrive(list[PILImage], Blob(contents[1]), NOWHERE, rows=True)] == [2]
    with pytest.raises(ValueError, match="no image"):
        arrive(list[PILImage], [Blob(b"x")], NOWHERE, rows=True)
    assert describe(list[PILImage], "argument", rows=True).kind is ValueKind.ROWS
