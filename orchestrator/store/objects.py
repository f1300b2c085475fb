"""Where the files of versions are: one place a version, never shared, so that a save and a delete cannot meet."""

import contextlib
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final, Protocol

from orchestrator.errors import StoreError
from orchestrator.spec import StoredFile
from orchestrator.store.digests import chunks_of, missing, require, sha256_of

__all__ = ["FolderObjects", "Objects", "disk_errors"]

_PART: Final = ".part"


class Objects(Protocol):
    """Files by the id of their version and their path in it.

    Every method raises StoreError where a bucket fails, and OSError where a disk does.

    Attributes:
        label: where they are, for messages.
    """

    label: str

    def put(self, version_id: str, path: str, chunks: Iterable[bytes], size: int) -> None:
        """Writes one file; `size` is what is expected, in bytes."""
        ...

    def finish(self, version_id: str) -> None:
        """Makes the files that were put durable."""
        ...

    def read(self, version_id: str, path: str, size: int) -> Iterator[bytes]:
        """The bytes of one file, unverified.

        Raises:
            FileNotFoundError: there is none.
        """
        ...

    def local(self, version_id: str, files: Iterable[StoredFile], model: str) -> Path:
        """The version's folder on this machine, with these files in it, verified.

        Raises:
            StoreError: one is missing, or is not what was saved.
        """
        ...

    def copies(self) -> Collection[str]:
        """Ids of versions that this machine has a copy of, besides the place that they are in."""
        ...

    def drop_copy(self, version_id: str) -> None:
        """Removes such a copy."""
        ...

    def paths(self, version_id: str) -> set[str]:
        """What is there of one version."""
        ...

    def ids(self) -> set[str]:
        """Everything on the first level: ids of versions, and names of what is not the store's."""
        ...

    def remove(self, version_id: str) -> None:
        """Removes all of a version, half-written files too; nothing where nothing is."""
        ...


class FolderObjects:
    """A folder: `<id>/<path>`; while it is written, `<id>.part/<path>`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.label = str(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def put(self, version_id: str, path: str, chunks: Iterable[bytes], size: int) -> None:
        file = self._folder / f"{version_id}{_PART}" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as writer:
            for chunk in chunks:
                writer.write(chunk)
            writer.flush()
            os.fsync(writer.fileno())
        file.chmod(0o444)  # nobody writes to it by mistake

    def finish(self, version_id: str) -> None:
        part = self._folder / f"{version_id}{_PART}"
        for folder, _, _ in os.walk(part):
            _sync(Path(folder))
        part.rename(self._folder / version_id)
        _sync(self._folder)

    def read(self, version_id: str, path: str, size: int) -> Iterator[bytes]:
        with (self._folder / version_id / path).open("rb") as file:
            yield from chunks_of(file)

    def local(self, version_id: str, files: Iterable[StoredFile], model: str) -> Path:
        root = self._folder / version_id
        for file in files:
            place = root / file.path
            try:
                found = sha256_of(place)
            except FileNotFoundError:
                raise missing(file, model, str(place)) from None
            require(file, found, model, str(place))
        return root

    def copies(self) -> Collection[str]:
        return ()

    def drop_copy(self, version_id: str) -> None:
        """Nothing: there are none."""

    def paths(self, version_id: str) -> set[str]:
        root = self._folder / version_id
        return {
            PurePosixPath(folder, name).relative_to(root).as_posix()
            for folder, _, names in os.walk(root)
            for name in names
        }

    def ids(self) -> set[str]:
        return {name.removesuffix(_PART) for name in os.listdir(self._folder)}

    def remove(self, version_id: str) -> None:
        for name in (version_id, f"{version_id}{_PART}"):
            _remove_tree(self._folder / name)


def _remove_tree(folder: Path) -> None:
    """Two processes may remove the same one."""
    while True:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            if not folder.exists():
                return
        else:
            return


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def disk_errors(what: str) -> Iterator[None]:
    """Makes one line of what the disk says.

    Args:
        what: that went wrong.
    """
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise StoreError(f"{what}: {error.strerror or error}{where}") from None
