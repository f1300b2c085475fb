"""One model's folder in a repository, and how it changes: whatever moment the process dies at, Triton can start from it.

A version's folder is written beside its place and renamed into it; so is config.pbtxt, which names a version only once that
version is there and has been loaded. Files of versions that no config names do no harm.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from orchestrator.deployment.configs import for_version, version_of
from orchestrator.deployment.history import History, Served
from orchestrator.errors import DeploymentError

__all__ = ["ModelFolder"]

_CONFIG: Final = "config.pbtxt"
_HISTORY: Final = "history.json"
_FRESH: Final = ".deploy."
"""How the names of what is still being written begin; Triton does not look for models there."""


class ModelFolder:
    """A model's folder.

    Args:
        repository: that Triton reads.
        name: of the model.
    """

    def __init__(self, repository: Path, name: str) -> None:
        self._repository = repository
        self.name = name
        self.place = repository / name

    @property
    def config(self) -> str:
        """Text of config.pbtxt."""
        with _explained():
            return (self.place / _CONFIG).read_text(encoding="utf-8")

    @property
    def versions(self) -> list[int]:
        """Numbers of the version folders."""
        with _explained():
            return sorted(int(each.name) for each in self.place.iterdir() if each.name.isdecimal())

    @property
    def serving(self) -> int:
        """The version that the config names, or else the newest."""
        named = version_of(self.config)
        return self.versions[-1] if named is None else named

    def version(self, number: int) -> Path:
        return self.place / str(number)

    def pin(self) -> None:
        """Makes the config name the version that serves, where it leaves that to what lies on disk."""
        if version_of(self.config) is None:
            self.serve(for_version(self.config, self.serving))

    def stage(self, number: int, write: Callable[[Path], object]) -> None:
        """Makes a version's folder; one that is there already gives way.

        Args:
            write: writes its files into the folder that it gets.

        Raises:
            DeploymentError: the disk refuses.
        """
        with self._fresh() as fresh:
            write(fresh)
            self._show(fresh)
            place = self.version(number)
            if place.exists():
                os.rename(place, fresh.with_name(f"{fresh.name}.old"))
            os.rename(fresh, place)
        self.sweep()

    def add(self, number: int, files: Mapping[str, bytes]) -> None:
        """Puts more files into a version's folder, the last one first: what the first one tells of is there before it."""
        with self._fresh() as fresh:
            for name, content in files.items():
                (fresh / name).write_bytes(content)
            self._show(fresh)
            for name in reversed(list(files)):
                os.rename(fresh / name, self.version(number) / name)

    def discard(self, number: int) -> None:
        """Removes a version's folder; it must not serve."""
        with self._fresh() as fresh, contextlib.suppress(FileNotFoundError):
            os.rename(self.version(number), fresh / "old")

    def serve(self, config: str) -> None:
        """Makes the disk say what serves from now on."""
        self._write(_CONFIG, config.encode())

    def keep_history(self, history: History) -> None:
        """Notes what has served."""
        self._write(_HISTORY, history.document())

    def history(self, serving: Served) -> History:
        """What has served so far.

        Args:
            serving: the version that serves now, for the case that the history says something else: a process that died
                while it wrote had one of the two files to go.
        """
        try:
            kept = History.parse((self.place / _HISTORY).read_bytes())
        except (FileNotFoundError, ValueError):  # nothing was deployed yet; or a person has been here
            kept = History()
        return kept.model_copy(update={"highest": max(kept.highest, *self.versions)}).settled(serving)

    def prune(self, keep: frozenset[int]) -> list[int]:
        """Removes all version folders but those.

        Returns:
            The versions removed.
        """
        gone = [number for number in self.versions if number not in keep]
        for number in gone:
            self.discard(number)
        return gone

    def sweep(self) -> None:
        """Removes what a process left that died while it wrote."""
        for left in self._repository.glob(f"{_FRESH}{self.name}.*"):
            shutil.rmtree(left, ignore_errors=True)

    @contextlib.contextmanager
    def _fresh(self) -> Iterator[Path]:
        with _explained():
            fresh = Path(tempfile.mkdtemp(prefix=f"{_FRESH}{self.name}.", dir=self._repository))
            try:
                fresh.chmod(0o755)
                yield fresh
            finally:
                shutil.rmtree(fresh, ignore_errors=True)

    def _show(self, fresh: Path) -> None:
        """Lets those read it who may read the model's folder: a Triton in a container is another user."""
        may = self.place.stat().st_mode & 0o055
        for path in (fresh, *fresh.rglob("*")):
            path.chmod(path.stat().st_mode | (may if path.is_dir() else may & 0o044))

    def _write(self, name: str, content: bytes) -> None:
        with self._fresh() as fresh:
            (fresh / name).write_bytes(content)
            self._show(fresh)
            os.rename(fresh / name, self.place / name)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DeploymentError(f"cannot write {error.filename}: {error.strerror}") from error
