"""How a version comes into the store, and how what is left of others gets out of it."""

import contextlib
import logging
import uuid
from collections.abc import Iterable, Iterator

from orchestrator.errors import StoreError
from orchestrator.spec import ModelRecord, StoredFile, Tag
from orchestrator.store.catalog import Catalog
from orchestrator.store.contents import Content, Progress, counted
from orchestrator.store.digests import Meter, require
from orchestrator.store.leftovers import Leftovers
from orchestrator.store.objects import Objects, disk_errors

__all__ = ["Saving"]

_log = logging.getLogger(__name__)


class Saving:
    """Keeps rows and files together: no version without its files, no file that nobody knows of."""

    def __init__(self, catalog: Catalog, leftovers: Leftovers, objects: Objects) -> None:
        self._catalog = catalog
        self._leftovers = leftovers
        self._objects = objects

    def add(
        self,
        draft: ModelRecord,
        contents: Iterable[Content],
        total: int,
        kind: str = "saved",
        detail: str = "",
        *,
        expected: tuple[StoredFile, ...] | None = None,
        progress: Progress | None = None,
    ) -> ModelRecord:
        """Writes a version: a note first, then the files, and at last, in one transaction, all that makes it visible.

        Args:
            draft: without files.
            total: bytes that are expected.
            kind: of the event, and its detail.
            expected: what the files must be; `contents` has no others.

        Raises:
            StoreError: the tag is taken, a file cannot be written, or is not what was expected. Nothing is left of it.
        """
        self.sweep()
        self._catalog.require_free(draft.tag)
        version_id = uuid.uuid4().hex
        self._leftovers.begin(version_id)
        try:
            files = {file.path: file for file in self._write(version_id, draft.tag, counted(contents, total, progress))}
            for file in expected or ():
                require(file, files[file.path].sha256, str(draft.tag), detail)
            draft = draft.model_copy(update={"files": tuple(files[path] for path in sorted(files))})
            with disk_errors(f"{draft.tag}: cannot be written"):
                self._objects.finish(version_id)
            return self._catalog.commit(version_id, draft, kind, detail)
        except BaseException:
            self._give_up(version_id)
            raise

    def _write(self, version_id: str, tag: Tag, contents: Iterable[Content]) -> Iterator[StoredFile]:
        for content in contents:
            meter = Meter()
            with disk_errors(f"{tag}: cannot save {content.path}"):
                self._objects.put(version_id, content.path, meter.through(content.chunks), content.size)
            yield meter.file(content.path)

    def _give_up(self, version_id: str) -> None:
        # Where the database is gone, the note stays and the files with it, until this process has ended.
        with contextlib.suppress(StoreError, OSError):
            # A commit whose answer was lost may have been one: the note then is gone, and the files are a version's.
            if self._leftovers.abandon(version_id):
                self._remove(version_id)

    def sweep(self) -> None:
        """Removes files of versions that are deleted, and of saves whose process is gone."""
        try:
            for version_id in self._leftovers.ids():
                self._remove(version_id)
            if copies := self._objects.copies():
                for version_id in self._catalog.gone(copies):
                    self._objects.drop_copy(version_id)
        except (StoreError, OSError) as error:
            _log.warning("the model store has files to remove, and cannot: %s", error)

    def _remove(self, version_id: str) -> None:
        self._objects.remove(version_id)
        self._leftovers.forget(version_id)
