"""Files and images in their plain form: the bytes, and what is known about them."""

from dataclasses import dataclass
from fnmatch import fnmatch

__all__ = ["Blob"]


@dataclass(frozen=True, slots=True)
class Blob:
    """A file's content.

    Attributes:
        content: as it is.
        media_type: such as `image/png`; None where nobody said.
        filename: as its sender calls it, for the suffix only: never a path to open.
    """

    content: bytes
    media_type: str | None = None
    filename: str | None = None

    def is_one_of(self, patterns: tuple[str, ...]) -> bool:
        """Whether the media type matches one of the patterns (`image/*`); without patterns, any does."""
        media_type = (self.media_type or "").partition(";")[0].strip().lower()
        return not patterns or any(fnmatch(media_type, pattern.lower()) for pattern in patterns)
