"""Media types: what a content is, by its sender's word, by its name, by its first bytes."""

import base64
import mimetypes
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

import orjson

from orchestrator.spec import Blob

__all__ = [
    "UNKNOWN",
    "blob_of_data_url",
    "blob_of_facts",
    "canonical",
    "check_media_type",
    "concrete",
    "data_url",
    "extension_of",
    "facts_of",
    "guess",
    "hint_of_blob",
    "sniff",
    "stated",
]

UNKNOWN: Final = "application/octet-stream"
"""What senders write when they do not know: it counts as not said."""
_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+(\s*;[\x20-\x7e]*)?", re.ASCII)
_SYNONYMS: Final = {
    "application/csv": "text/csv",
    "application/parquet": "application/vnd.apache.parquet",
    "application/x-parquet": "application/vnd.apache.parquet",
    "application/x-zip-compressed": "application/zip",
    "audio/mp3": "audio/mpeg",
    "audio/vnd.wave": "audio/wav",
    "audio/wave": "audio/wav",
    "audio/x-flac": "audio/flac",
    "audio/x-wav": "audio/wav",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/vnd.microsoft.icon": "image/x-icon",
    "image/x-ms-bmp": "image/bmp",
    "image/x-png": "image/png",
}
_SUFFIXES: Final = {
    ".arrow": "application/vnd.apache.arrow.file",
    ".arrows": "application/vnd.apache.arrow.stream",
    ".avif": "image/avif",
    ".feather": "application/vnd.apache.arrow.file",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".md": "text/markdown",
    ".ogg": "audio/ogg",
    ".parquet": "application/vnd.apache.parquet",
    ".webp": "image/webp",
    ".yaml": "application/yaml",
}
_SIGNATURES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", "image/jp2"),
)
_LONGEST_NAME: Final = 255


def _table() -> mimetypes.MimeTypes:
    # A table of its own: /etc/mime.types would make the processes of different machines disagree.
    table = mimetypes.MimeTypes()
    for suffix, media_type in _SUFFIXES.items():
        table.add_type(media_type, suffix)
    return table


_TABLE: Final = _table()


def canonical(media_type: str) -> str:
    """Without parameters, in lower case, by its usual name (`image/jpg` is `image/jpeg`)."""
    bare = media_type.partition(";")[0].strip().lower()
    return _SYNONYMS.get(bare, bare)


def stated(media_type: str | None) -> str | None:
    """What a sender says that a content is, or None where it says nothing of use."""
    return media_type if _is_media_type(media_type) and canonical(str(media_type)) != UNKNOWN else None


def _is_media_type(text: str | None) -> bool:
    return text is not None and _MEDIA_TYPE.fullmatch(text) is not None


def guess(filename: str | None) -> str | None:
    """The media type by a name's suffix."""
    suffixes = PurePosixPath((filename or "").replace("\\", "/")).suffixes[-2:]
    media_type, encoding = _TABLE.guess_type("x" + "".join(suffixes), strict=False)
    if encoding is not None:  # the media type is what is inside
        return "application/gzip" if encoding == "gzip" else None
    return None if media_type in (None, UNKNOWN) else canonical(str(media_type))


def extension_of(media_type: str | None) -> str:
    """The suffix by the media type, "" where there is none."""
    return (_TABLE.guess_extension(canonical(media_type), strict=False) or "") if media_type else ""


def sniff(content: bytes) -> str | None:
    """The media type of an image by its first bytes."""
    for signature, media_type in _SIGNATURES:
        if content.startswith(signature):
            return media_type
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    if content[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return "image/bmp" if content[:2] == b"BM" and content[6:10] == bytes(4) else None


def concrete(patterns: tuple[str, ...]) -> str | None:
    """The first of the patterns that is one media type."""
    return next((pattern for pattern in patterns if "*" not in pattern), None)


def check_media_type(blob: Blob, patterns: tuple[str, ...]) -> None:
    """Refuses what is known to be something else; of what nothing is known, the reader will see.

    Raises:
        ValueError: it is none of the patterns.
    """
    if not patterns:
        return
    found = stated(blob.media_type) or sniff(blob.content) or guess(blob.filename)
    if found and not Blob(b"", canonical(found)).is_one_of(tuple(map(canonical, patterns))):
        raise ValueError(f"expected {' or '.join(patterns)}, got {found[:100]}")


def blob_of_data_url(text: str) -> Blob:
    """Reads `data:image/png;base64,...`.

    Raises:
        ValueError: it is no such text.
    """
    head, comma, content = text[5:].partition(",")
    head, semicolon, encoding = head.rpartition(";")
    if not comma or not semicolon or encoding.strip().lower() != "base64":
        raise ValueError("a data: URL must be like data:image/png;base64,<content>")
    try:
        return Blob(base64.b64decode(content, validate=True), stated(head))
    except ValueError as error:
        raise ValueError("the content of the data: URL is not base64") from error


def data_url(blob: Blob) -> str:
    """The content as `data:<media type>;base64,<content>`."""
    media_type = stated(blob.media_type) or sniff(blob.content) or UNKNOWN
    return f"data:{media_type};base64,{base64.b64encode(blob.content).decode()}"


def facts_of(blob: Blob) -> dict[str, str] | None:
    """What is known of a content, as JSON; None where nothing is."""
    facts = {}
    if blob.media_type is not None and _is_media_type(blob.media_type):
        facts["type"] = blob.media_type
    if blob.filename:
        facts["name"] = blob.filename[-_LONGEST_NAME:].encode(errors="replace").decode()
    return facts or None


def blob_of_facts(content: bytes, facts: Any) -> Blob:
    """Reads `facts_of` back.

    Raises:
        ValueError: they are no such facts.
    """
    known = {} if facts is None else facts
    if not isinstance(known, Mapping) or not all(isinstance(known.get(key, ""), str) for key in ("type", "name")):
        raise ValueError('the hint of a file must be like {"type":"image/png","name":"cat.png"}')
    media_type = known.get("type")
    return Blob(content, media_type if _is_media_type(media_type) else None, known.get("name") or None)


def hint_of_blob(blob: Blob) -> str:
    """The facts as a compact JSON text, "" where there are none."""
    facts = facts_of(blob)
    return orjson.dumps(facts).decode() if facts else ""
