"""The root of every description: immutable, strict, comparable, and the same bytes for the same content."""

import hashlib
from typing import Self

from pydantic import BaseModel, ConfigDict

__all__ = ["Frozen"]


class Frozen(BaseModel):
    """Immutable data with a JSON document and a digest."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)

    def document(self) -> bytes:
        """The canonical JSON document: declared field order, two spaces, UTF-8, a newline at the end."""
        return self.model_dump_json(indent=2, exclude_defaults=True).encode() + b"\n"

    def digest(self) -> str:
        """SHA-256 of the document, as 64 hex digits."""
        return hashlib.sha256(self.document()).hexdigest()

    @classmethod
    def parse(cls, document: bytes | str) -> Self:
        """Reads a document back; `cls.parse(x.document()) == x`.

        Raises:
            pydantic.ValidationError: the document is not of this kind.
        """
        return cls.model_validate_json(document)
