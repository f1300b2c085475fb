"""sha256 of files and of bytes that pass by."""

import hashlib
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, Final

from orchestrator.errors import StoreError
from orchestrator.spec import StoredFile

__all__ = ["CHUNK", "Meter", "chunks_of", "missing", "require", "sha256_of"]

CHUNK: Final = 1 << 20
"""Bytes that are read at a time."""
_SETTLED_NS: Final = 100_000_000
"""A file's times move in steps of some ms: what changed later than this before the reading may change unseen."""
_AGAIN: Final = "delete this version, and save, pull or import it again"

_known: dict[str, tuple[tuple[int, ...], str]] = {}
"""By path: what marks the file's content, and its digest; of the process, so that a big model is read once."""


def sha256_of(path: Path) -> str:
    """The file's digest, hexadecimal; from memory where size, times and inode are as they were.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        mark = _mark(file)
        known = _known.get(str(path))
        if known is not None and known[0] == mark:
            return known[1]
        begun = time.time_ns()
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        if _mark(file) == mark and begun - mark[-1] > _SETTLED_NS:
            _known[str(path)] = (mark, digest)
        return digest


def _mark(file: BinaryIO) -> tuple[int, ...]:
    stat = os.fstat(file.fileno())
    return stat.st_size, stat.st_mtime_ns, stat.st_dev, stat.st_ino, stat.st_ctime_ns


class Meter:
    """Counts and digests bytes while they pass.

    Attributes:
        size: bytes so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._sha256 = hashlib.sha256()

    def through(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._sha256.update(chunk)
            self.size += len(chunk)
            yield chunk

    def file(self, path: str) -> StoredFile:
        """What passed, as the file of that path."""
        return StoredFile(path=path, size=self.size, sha256=self._sha256.hexdigest())


def chunks_of(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def require(wanted: StoredFile, found: str, model: str, place: str) -> None:
    """Refuses a file whose content is not what was saved.

    Args:
        found: its digest, hexadecimal.
        place: where it lies.

    Raises:
        StoreError: the digests differ.
    """
    if found != wanted.sha256:
        raise StoreError(
            f"{model}: {wanted.path} is not what was saved: sha256 {found}, not {wanted.sha256} ({place})",
            hint=_AGAIN,
        )


def missing(wanted: StoredFile, model: str, place: str) -> StoreError:
    """The error for a file that is not there."""
    return StoreError(f"{model}: {wanted.path} is missing ({place})", hint=_AGAIN)
