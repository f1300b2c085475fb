"""Media types of bodies: what a header says, and which of several a caller would rather have."""

from collections.abc import Sequence
from typing import Final

from orchestrator.codec.dataframe import ARROW_FILE, ARROW_STREAM, CSV, JSON, PARQUET
from orchestrator.codec.media import UNKNOWN, canonical
from orchestrator.spec import Blob, ValueKind, ValueSpec

__all__ = [
    "ARROW_STREAM",
    "CSV",
    "FILE_KINDS",
    "FORM",
    "JSON",
    "MULTIPART",
    "PARQUET",
    "PICKLE",
    "PLAIN",
    "TABLES",
    "UNKNOWN",
    "canonical",
    "is_files",
    "is_json",
    "is_raw",
    "names",
    "preferred",
]

FORM: Final = "application/x-www-form-urlencoded"
MULTIPART: Final = "multipart/form-data"
PLAIN: Final = "text/plain"
TABLES: Final = (CSV, ARROW_STREAM, ARROW_FILE, PARQUET)
PICKLE: Final = "application/vnd.bentoml+pickle"
"""What services of BentoML send each other. It is never read: to read a pickle is to run its code."""
FILE_KINDS: Final = frozenset({ValueKind.BLOB, ValueKind.FILE, ValueKind.IMAGE})
_RAW: Final = (
    "image/*", "audio/*", "video/*", "font/*", "model/*",
    UNKNOWN, "application/pdf", "application/zip", "application/gzip", "application/x-tar",
)  # fmt: skip


def is_files(value: ValueSpec) -> bool:
    """Whether a value is a list of files."""
    return value.kind in (ValueKind.MANY, ValueKind.ROWS) and value.item is not None and value.item.kind in FILE_KINDS


def is_json(media_type: str) -> bool:
    """Whether it is JSON, by whatever name."""
    return media_type in (JSON, "text/json") or media_type.endswith("+json")


def is_raw(media_type: str) -> bool:
    """Whether a body of it is a file and can be nothing else."""
    return Blob(b"", media_type).is_one_of(_RAW)


def preferred(accept: str, offers: Sequence[str]) -> str:
    """The offer that an `Accept` header likes best; the first one where it likes none or all the same (RFC 9110, 12.5.1).

    Args:
        offers: media types, ours best first.
    """
    if not accept or accept == "*/*":
        return offers[0]
    ranges = [_range(text) for text in accept.split(",")]
    best, best_quality = offers[0], 0.0
    for offer in offers:
        quality = _quality(offer, ranges)
        if quality > best_quality:
            best, best_quality = offer, quality
    return best


def names(accept: str, media_type: str) -> bool:
    """Whether an `Accept` header names this very type, not only a family that it is of."""
    return any(pattern == media_type and quality > 0 for pattern, quality in map(_range, accept.split(",")))


def _quality(offer: str, ranges: Sequence[tuple[str, float]]) -> float:
    """By the most specific range that matches."""
    for wanted in (offer, f"{offer.partition('/')[0]}/*", "*/*"):
        for pattern, quality in ranges:
            if pattern == wanted:
                return quality
    return 0.0


def _range(text: str) -> tuple[str, float]:
    pattern, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return pattern, float(value)
            except ValueError:
                return pattern, 0.0
    return pattern, 1.0
