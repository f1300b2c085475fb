"""Images: the method takes and gives a `PIL.Image.Image`. pillow is loaded with the first one."""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import TypeAdapter

from orchestrator.codec.blob import ContentCodec
from orchestrator.codec.codec import Workspace
from orchestrator.codec.media import canonical, check_media_type
from orchestrator.spec import Blob, ValueKind, ValueSpec

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["MOST_PIXELS", "ImageCodec"]

MOST_PIXELS: Final = 64_000_000
"""Of one image: four bytes each are 256 MB once decoded, whatever the size of the file."""
_READ: Final = (
    "PNG", "JPEG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "AVIF", "JPEG2000", "ICO", "PPM", "TGA", "PCX", "QOI",
)  # fmt: skip
"""Formats that are read from strangers. pillow knows more: for one it starts Ghostscript."""
_SAVED_AS: Final = {"MPO": "JPEG", "DIB": "BMP"}
_WIDE_MODES: Final = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
"""More than 8 bits a channel: turned into fewer they would be cut off, not scaled."""


class ImageCodec(ContentCodec):
    """The plain form is the encoded image. The result's format: the annotation's, else the image's own, else PNG."""

    kind: ClassVar = ValueKind.IMAGE

    def to_python(self, value: ValueSpec, plain: Any, adapter: TypeAdapter[Any], workspace: Workspace) -> Any:
        check_media_type(plain, value.media_types)
        return adapter.validate_python(_decoded(plain.content))

    def from_python(self, value: ValueSpec, python: Any, adapter: TypeAdapter[Any]) -> Any:
        from PIL import Image

        image = adapter.validate_python(python)
        if not isinstance(image, Image.Image):
            raise ValueError(f"expected a PIL image, got {type(image).__name__}")
        image_format = _format(image, value.media_types)
        return Blob(_encoded(image, image_format), Image.MIME.get(image_format))


def _decoded(content: bytes) -> "Image.Image":
    from PIL import Image, UnidentifiedImageError

    if not content:
        raise ValueError("expected an image, got an empty file")
    Image.init()
    known: list[str] = [image_format for image_format in _READ if image_format in Image.OPEN]
    try:
        image = Image.open(io.BytesIO(content), formats=known)
        _check_size(image)
        image.load()
        _check_size(image)  # again: an icon may hold more than its header says
    except UnidentifiedImageError as error:
        raise ValueError(f"this is no image, or none of {', '.join(known)}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"the image is over {MOST_PIXELS // 1_000_000} million pixels") from error
    except MemoryError:
        raise
    except Exception as error:  # decoders raise anything on what is broken
        raise ValueError(f"the image is damaged or incomplete: {error}") from error
    return image


def _check_size(image: "Image.Image") -> None:
    from PIL import Image

    if image.width * image.height > MOST_PIXELS:
        raise Image.DecompressionBombError


def _format(image: "Image.Image", media_types: tuple[str, ...]) -> str:
    """pillow's name of the format to write."""
    from PIL import Image

    Image.init()
    own = _SAVED_AS.get(image.format or "", image.format or "PNG")
    if own not in Image.SAVE or own not in Image.MIME:
        own = "PNG"
    wanted = tuple(map(canonical, media_types))
    if Blob(b"", canonical(Image.MIME[own])).is_one_of(wanted):
        return own
    for media_type in wanted:
        for image_format, its_type in Image.MIME.items():
            if canonical(its_type) == media_type and image_format in Image.SAVE and image_format not in _SAVED_AS:
                return image_format
    if Blob(b"", "image/png").is_one_of(wanted):
        return "PNG"
    raise ValueError(f"pillow cannot write {' or '.join(media_types)}")


def _encoded(image: "Image.Image", image_format: str) -> bytes:
    reason: Exception | None = None
    try:
        for fitting in _fitting(image):
            file = io.BytesIO()
            try:
                fitting.save(file, format=image_format)
            except Exception as error:  # noqa: BLE001  # encoders raise anything on a mode that they do not know
                reason = reason or error
            else:
                return file.getvalue()
    except ValueError as error:  # pillow knows no way from this mode to another
        reason = reason or error
    raise ValueError(f"an image of mode {image.mode} cannot be written as {image_format}: {reason}") from reason


def _fitting(image: "Image.Image") -> Iterator["Image.Image"]:
    """The image, then as far as the format cannot hold it: in plain colours, at last without transparency."""
    yield image
    if image.mode in _WIDE_MODES:
        return
    if not image.has_transparency_data:
        yield image.convert("RGB")
        return
    colours = image.convert("RGBA")
    yield colours
    from PIL import Image

    # On white, as on paper: what is under full transparency is often black.
    yield Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert("RGB")
