"""Files: the method takes and gives a `pathlib.Path`; the content crosses, never the path."""

import re
import secrets
import stat
from pathlib import Path
from typing import Any, ClassVar, Final

from pydantic import TypeAdapter

from orchestrator.codec.blob import ContentCodec
from orchestrator.codec.codec import Workspace
from orchestrator.codec.media import UNKNOWN, canonical, check_media_type, concrete, extension_of, guess
from orchestrator.spec import Blob, ValueKind, ValueSpec

__all__ = ["FileCodec", "safe_name"]

_LONGEST: Final = 50
"""Characters of the sender's name that are kept: 200 bytes at most, and file systems allow 255."""


class FileCodec(ContentCodec):
    """A file of the call's own folder going in, any regular file coming out."""

    kind: ClassVar = ValueKind.FILE

    def to_python(self, value: ValueSpec, plain: Any, adapter: TypeAdapter[Any], workspace: Workspace) -> Any:
        check_media_type(plain, value.media_types)
        path = workspace.folder() / f"{secrets.token_hex(8)}-{safe_name(plain)}"
        path.write_bytes(plain.content)
        return adapter.validate_python(path)

    def from_python(self, value: ValueSpec, python: Any, adapter: TypeAdapter[Any]) -> Any:
        path = adapter.validate_python(python)
        if not isinstance(path, Path):
            raise ValueError(f"expected a path, got {type(path).__name__}")
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # before it is opened: a pipe would block
                raise ValueError(f"{path.name!r} is not a regular file")
            content = path.read_bytes()
        except OSError as error:
            raise ValueError(f"the file {path.name!r} cannot be read: {error.strerror}") from error
        return Blob(content, _media_type(value, path.name), path.name)


def _media_type(value: ValueSpec, name: str) -> str:
    """By the suffix, but never against the annotation, which is what the documentation promises."""
    guessed = guess(name)
    if guessed and Blob(b"", guessed).is_one_of(tuple(map(canonical, value.media_types))):
        return guessed
    return concrete(value.media_types) or guessed or UNKNOWN


def safe_name(blob: Blob) -> str:
    """The sender's filename as the end of a name on disk: no folders, nothing that a shell or a file system minds."""
    name = re.split(r"[/\\]", blob.filename or "")[-1]
    name = re.sub(r"[^\w.-]+", "_", name)[-_LONGEST:].lstrip(".-")
    return name or f"file{extension_of(blob.media_type)}"
