"""Files on their way into a version: a path in it, and bytes that can be read once."""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from orchestrator.errors import StoreError
from orchestrator.store.digests import chunks_of

__all__ = ["Content", "Progress", "check_path", "contents_of", "counted"]

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes that are done, and all that there are."""

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Content:
    """One file.

    Attributes:
        path: in the version, with forward slashes.
        size: bytes that are expected.
        chunks: its bytes; can be read once.
    """

    path: str
    size: int
    chunks: Iterable[bytes]


def check_path(path: str) -> str:
    """The path, where a version can have a file of that path.

    Raises:
        StoreError: it is absolute, leads outside, or cannot be written everywhere.
    """
    parts = path.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        raise StoreError(f"{path!r} is no path inside a model")
    if _CONTROL.search(path) or not _is_text(path):
        raise StoreError(f"{path!r}: a file of a model needs a name without control characters, in UTF-8")
    return path


def contents_of(folder: Path) -> list[Content]:
    """All files below a folder, sorted by path.

    Links to files inside it are followed. Everything is checked here; a file is opened when its bytes are read.

    Raises:
        StoreError: there are none, or one is a link out of the folder, a link to a folder, or no regular file.
        OSError: the folder cannot be read.
    """
    if not folder.is_dir():
        raise StoreError(f"{folder} is no folder")
    root = folder.resolve()
    found = []
    for below, folders, names in os.walk(root, onerror=_raise):
        for name in folders:
            if os.path.islink(os.path.join(below, name)):
                raise StoreError(
                    f"{os.path.join(below, name)} is a link to a folder", hint="copy the folder to its place"
                )
        found += [_content(root, Path(below, name)) for name in names]
    if not found:
        raise StoreError(f"there are no files in {folder}")
    return sorted(found, key=lambda content: content.path)


def counted(contents: Iterable[Content], total: int, progress: Progress | None) -> Iterator[Content]:
    """The same, and the progress is told with every chunk."""
    done = 0

    def told(chunks: Iterable[bytes], tell: Progress) -> Iterator[bytes]:
        nonlocal done
        for chunk in chunks:
            yield chunk
            done += len(chunk)
            tell(done, total)

    for content in contents:
        chunks = content.chunks if progress is None else told(content.chunks, progress)
        yield Content(content.path, content.size, chunks)


def _content(root: Path, file: Path) -> Content:
    path = check_path(file.relative_to(root).as_posix())
    real = file.resolve()
    if not real.is_relative_to(root):
        raise StoreError(f"{file} is a link out of {root}, to {real}", hint="copy the file to its place")
    about = real.stat()
    if not stat.S_ISREG(about.st_mode):
        raise StoreError(f"{file} is no regular file", hint="leave it out")
    return Content(path, about.st_size, _bytes_of(real))


def _bytes_of(file: Path) -> Iterator[bytes]:
    with file.open("rb") as reader:
        yield from chunks_of(reader)


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _raise(error: OSError) -> None:
    raise error
