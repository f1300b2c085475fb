"""Files in a bucket (S3, GCS, Azure), and a copy of what was read on this machine."""

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from orchestrator.errors import StoreError
from orchestrator.spec import StoredFile
from orchestrator.store.digests import Meter, missing, require, sha256_of

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["RemoteObjects"]

_PART: Final = 16 << 20
"""Bytes of one request. S3 takes 10,000 parts, so a file may have 160 GB; a request has 30 s."""
_UPLOADS: Final = 4
_INCOMING: Final = "incoming"
_STALE_S: Final = 600
"""A file that is being fetched is written to more often than this."""
_SCHEMES: Final = ("s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss")

_used_by: int | None = None
"""The process that started obstore's threads; a fork has none, and would wait for them for ever."""


class RemoteObjects:
    """A bucket: `<prefix>/<id>/<path>`. Credentials are what obstore finds in the environment.

    Args:
        url: `s3://bucket/prefix`, `gs://...`, `az://...`.
        cache: a folder of this bucket's own.

    Raises:
        StoreError: the URL is of no bucket, or obstore is not installed.
    """

    def __init__(self, url: str, cache: Path) -> None:
        global _used_by
        self.label = url
        self._cache = cache
        try:
            from obstore.store import from_url
        except ImportError:
            raise StoreError(
                f"{url}: obstore is not installed", hint="pip install 'triton-orchestrator[remote]'"
            ) from None
        _used_by = _used_by or os.getpid()
        with self._told():
            self._store: ObjectStore = from_url(
                url,
                retry_config={
                    "max_retries": 5,
                    "retry_timeout": timedelta(seconds=60),
                    "backoff": {
                        "init_backoff": timedelta(milliseconds=100),
                        "max_backoff": timedelta(seconds=5),
                        "base": 2,
                    },
                },
            )

    @staticmethod
    def is_url(text: str) -> bool:
        """Whether the text is a bucket's URL, and no path."""
        scheme, mark, _ = text.partition("://")
        if mark and scheme not in _SCHEMES:
            raise StoreError(f"{scheme}://: no such place for objects", hint="a path, s3://, gs:// or az://")
        return bool(mark)

    def put(self, version_id: str, path: str, chunks: Iterable[bytes], size: int) -> None:
        import obstore

        key = f"{version_id}/{path}"
        with self._told():
            if size <= _PART:
                obstore.put(self._store, key, b"".join(chunks), use_multipart=False)
            else:
                obstore.put(self._store, key, iter(chunks), chunk_size=_PART, max_concurrency=_UPLOADS)

    def finish(self, version_id: str) -> None:
        """Nothing: an object is durable once it is put."""

    def read(self, version_id: str, path: str, size: int) -> Iterator[bytes]:
        import obstore

        key = f"{version_id}/{path}"
        with self._told(absent=True):
            if size == 0:
                obstore.head(self._store, key)
            for start in range(0, size, _PART):
                yield bytes(obstore.get_range(self._store, key, start=start, end=min(start + _PART, size)))

    def local(self, version_id: str, files: Iterable[StoredFile], model: str) -> Path:
        root = self._cache / version_id
        for file in files:
            place = root / file.path
            try:
                found = sha256_of(place)
            except FileNotFoundError:
                self._fetch(version_id, file, place, model)
            else:
                require(file, found, model, str(place))
        return root

    def _fetch(self, version_id: str, file: StoredFile, place: Path, model: str) -> None:
        incoming = self._cache / _INCOMING
        incoming.mkdir(mode=0o700, parents=True, exist_ok=True)
        _clear(incoming)
        part = incoming / secrets.token_hex(8)
        meter = Meter()
        try:
            with part.open("xb") as writer:
                writer.writelines(meter.through(self.read(version_id, file.path, file.size)))
            require(file, meter.file(file.path).sha256, model, f"{self.label}/{version_id}")
            part.chmod(0o444)
            place.parent.mkdir(parents=True, exist_ok=True)
            part.rename(place)
        except FileNotFoundError:
            raise missing(file, model, f"{self.label}/{version_id}") from None
        finally:
            part.unlink(missing_ok=True)

    def copies(self) -> Collection[str]:
        if not self._cache.is_dir():
            return ()
        return [name for name in os.listdir(self._cache) if name != _INCOMING]

    def drop_copy(self, version_id: str) -> None:
        shutil.rmtree(self._cache / version_id, ignore_errors=True)

    def paths(self, version_id: str) -> set[str]:
        import obstore

        with self._told():
            found = obstore.list(self._store, version_id)
            return {entry["path"].removeprefix(f"{version_id}/") for page in found for entry in page}

    def ids(self) -> set[str]:
        import obstore

        with self._told():
            found = obstore.list_with_delimiter(self._store)
            return {*found["common_prefixes"], *(entry["path"] for entry in found["objects"])}

    def remove(self, version_id: str) -> None:
        import obstore

        self.drop_copy(version_id)
        keys = [f"{version_id}/{path}" for path in self.paths(version_id)]
        # Another process may remove the same ones.
        with contextlib.suppress(FileNotFoundError), self._told(absent=True):
            if keys:
                obstore.delete(self._store, keys)

    @contextlib.contextmanager
    def _told(self, *, absent: bool = False) -> Iterator[None]:
        """Makes one line of what obstore says.

        Args:
            absent: lets FileNotFoundError through; elsewhere it means that there is no such bucket.
        """
        if _used_by != os.getpid():
            raise StoreError(
                f"{self.label}: this process was forked from one that had used a bucket",
                hint="start it with multiprocessing's 'spawn', or use the bucket in the child only",
            )
        from obstore.exceptions import BaseError

        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            # An error of the file that is being put has a number.
            if isinstance(error, FileNotFoundError) and (absent or error.errno is not None):
                raise
            said = _line(str(error))
            raise StoreError(
                f"{self.label}: {said}", hint="are the address, the bucket and the credentials (AWS_* ...) right?"
            ) from None


def _clear(incoming: Path) -> None:
    """Removes what killed processes were fetching."""
    for part in incoming.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > _STALE_S:
                part.unlink()


def _line(said: str) -> str:
    """What obstore says, without its debug output and with only the message of the server's XML."""
    text = " ".join(said.partition("\n\nDebug source")[0].split())
    answer = re.search(r"<Message>(.*?)</Message>", text)
    return text.partition("<")[0].rstrip(": ")[:300] + (f": {answer[1][:200]}" if answer else "")
