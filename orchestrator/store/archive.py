"""One version as one file: a tar with `model.json` first and the files below `files/`; or the same as a folder."""

import contextlib
import gzip
import io
import lzma
import os
import re
import secrets
import shutil
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Literal

from pydantic import ValidationError

from orchestrator.errors import StoreError
from orchestrator.spec import LATEST, ModelRecord
from orchestrator.spec.frozen import Frozen
from orchestrator.store.contents import Content, check_path, contents_of
from orchestrator.store.digests import CHUNK, chunks_of
from orchestrator.store.labels import check_label

__all__ = ["Manifest", "open_archive", "write_archive", "write_folder"]

_MANIFEST: Final = "model.json"
_FILES: Final = "files"
_MANIFEST_LIMIT: Final = 64 << 20
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_NUMBERS: Final = range(1, 1 << 31)
_OTHER_FORMS: Final = (".zst", ".xz", ".bz2", ".zip", ".7z")
_BROKEN: Final = (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)


class Manifest(Frozen):
    """`model.json`.

    Attributes:
        layout: of the archive.
    """

    layout: Literal[1]
    record: ModelRecord


def write_archive(path: Path, record: ModelRecord, contents: Iterable[Content]) -> None:
    """Writes a tar, gzipped unless the path ends in `.tar`; the same version gives the same bytes.

    Raises:
        StoreError: the path asks for another form.
        OSError: the disk refuses.
    """
    if path.suffix in _OTHER_FORMS:
        raise StoreError(f"{path}: archives are tar files", hint="end it with .tar.gz or .tar")
    part = _beside(path)
    try:
        with part.open("xb") as raw:
            zipped = None if path.suffix == ".tar" else gzip.GzipFile("", "wb", 1, raw, mtime=0)
            with (
                zipped or contextlib.nullcontext(),
                tarfile.open(fileobj=zipped or raw, mode="w|", format=tarfile.PAX_FORMAT) as tar,
            ):
                document = Manifest(layout=1, record=record).document()
                _add(tar, Content(_MANIFEST, len(document), [document]), record)
                for content in contents:
                    _add(tar, Content(f"{_FILES}/{content.path}", content.size, content.chunks), record)
            raw.flush()
            os.fsync(raw.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def write_folder(path: Path, record: ModelRecord, contents: Iterable[Content]) -> None:
    """Writes the same as a folder, which must be new or empty.

    Raises:
        StoreError: there is something in it.
        OSError: the disk refuses.
    """
    if path.is_dir() and any(path.iterdir()):
        raise StoreError(f"{path} is not empty", hint="name a new folder, or a file that ends in .tar.gz")
    part = _beside(path)
    try:
        for content in contents:
            file = part / _FILES / content.path
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("xb") as writer:
                writer.writelines(content.chunks)
        (part / _MANIFEST).write_bytes(Manifest(layout=1, record=record).document())
        part.rename(path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[tuple[ModelRecord, Iterable[Content]]]:
    """Reads an archive or such a folder: what it says it is, and its files, which must be read in turn.

    No file that the manifest does not name gets out of it; whether their digests are right is for the reader to see.

    Raises:
        StoreError: it is none; also while the files are read.
        OSError: it cannot be read.
    """
    if path.is_dir():
        if not (path / _MANIFEST).is_file():
            raise StoreError(f"{path}: there is no {_MANIFEST} in it")
        record = _record(path, (path / _MANIFEST).read_bytes())
        yield record, _expected(path, contents_of(path / _FILES), record)
        return
    try:
        with tarfile.open(path, "r|*") as tar:
            first = tar.next()
            if first is None or first.name != _MANIFEST or not first.isreg() or first.size > _MANIFEST_LIMIT:
                raise StoreError(f"{path} is no archive of a model: {_MANIFEST} is not the first in it")
            record = _record(path, _file_of(tar, first).read())
            yield record, _expected(path, _members(path, tar), record)
    except _BROKEN as error:
        raise StoreError(f"{path} is no archive of a model, or is broken: {' '.join(str(error).split())}") from None


def _members(path: Path, tar: tarfile.TarFile) -> Iterator[Content]:
    while (member := tar.next()) is not None:
        if member.isdir():
            continue
        top, _, inside = member.name.partition("/")
        if not member.isreg() or member.issparse():
            raise StoreError(f"{path}: {member.name!r} is no regular file")
        if top != _FILES:
            raise StoreError(f"{path}: {member.name!r} is not below {_FILES}/")
        yield Content(inside, member.size, chunks_of(_file_of(tar, member)))


def _expected(path: Path, contents: Iterable[Content], record: ModelRecord) -> Iterator[Content]:
    """Exactly the files of the record, each once and of its size."""
    missing = {file.path: file for file in record.files}
    for content in contents:
        file = missing.pop(content.path, None)
        if file is None:
            raise StoreError(f"{path}: {content.path!r} is not in its {_MANIFEST}, or is there twice")
        if content.size != file.size:
            raise StoreError(f"{path}: {content.path!r} has {content.size} bytes, not {file.size}")
        yield content
    if missing:
        raise StoreError(f"{path}: {', '.join(missing)} is missing from it")


def _record(path: Path, document: bytes) -> ModelRecord:
    """The manifest's record, with everything in it checked that a path or a row is made of."""
    try:
        record = Manifest.parse(document).record
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise StoreError(
            f"{path}: {_MANIFEST}: {where}: {first['msg']}", hint="was it made by a newer triton-orchestrator?"
        ) from None
    try:
        for file in record.files:
            check_path(file.path)
        for key, value in record.labels.items():
            check_label(key, "key")
            check_label(value, f"value of {key}")
    except StoreError as error:
        raise StoreError(f"{path}: {_MANIFEST}: {error.message}") from None
    if problem := _problem(record):
        raise StoreError(f"{path}: {_MANIFEST}: {problem}")
    return record


def _problem(record: ModelRecord) -> str | None:
    paths = [file.path for file in record.files]
    if record.tag.version == LATEST:
        return f"tag: a version is not called {LATEST!r}"
    if record.number not in _NUMBERS:
        return f"number: {record.number} cannot be one"
    if not paths or len(set(paths)) != len(paths):
        return "files: there are none, or one is there twice"
    if record.file is not None and record.file not in paths:
        return f"file: {record.file!r} is not among the files"
    for file in record.files:
        if file.size < 0 or not _SHA256.fullmatch(file.sha256):
            return f"files: {file.path}: size or sha256 cannot be one"
    return None


def _add(tar: tarfile.TarFile, content: Content, record: ModelRecord) -> None:
    member = tarfile.TarInfo(content.path)
    member.size = content.size
    member.mode = 0o644
    member.mtime = int(record.created_at.timestamp())
    reader = io.BufferedReader(_Chunks(content.chunks), CHUNK)
    tar.addfile(member, reader)
    # tarfile stops at the size; whoever gives the chunks checks them after the last one.
    if reader.read(1):
        raise StoreError(f"{record.tag}: {content.path} is longer than its {content.size} bytes")


def _file_of(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file is not None  # a regular one
    return file


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


class _Chunks(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size
