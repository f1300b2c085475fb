"""The store as everybody else sees it: rows in a database and files in a folder or a bucket, kept together."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

from orchestrator.errors import StoreError
from orchestrator.spec import LATEST, ModelFormat, ModelRecord, ModelSignature, StoredFile, Tag
from orchestrator.store.archive import open_archive, write_archive, write_folder
from orchestrator.store.contents import Content, Progress, contents_of, counted
from orchestrator.store.digests import Meter, missing, require
from orchestrator.store.events import Event
from orchestrator.store.labels import check_label, matches, parse_selector
from orchestrator.store.metadata import as_json
from orchestrator.store.objects import FolderObjects, Objects, disk_errors

if TYPE_CHECKING:
    from orchestrator.store.database import Database

__all__ = ["Store"]

# In the class below, `list` is a method.
_Records: TypeAlias = list[ModelRecord]
_Events: TypeAlias = list[Event]
_Lines: TypeAlias = list[str]

_DATABASE: Final = "store.db"
_OBJECTS: Final = "objects"
_CACHE: Final = "cache"
_USUAL_TOLERANCE: Final = (1e-3, 1e-4)
_KINDS: Final = {"import": "imported", "pull": "pulled", "push": "pushed"}
"""Event of a version that came from elsewhere, by its origin."""


class Store:
    """Versions of models by tag.

    A version is written once and never changes, but for its labels. It is there when the row of the database is, which
    is written last, and gone when that row is, which is removed first. Several processes, on several machines, may use
    the same store; so may threads, and a fork of a process that has it open (with a bucket: one that has not used it).

    Every method raises StoreError, in one line, where the database or the files cannot be reached.
    """

    def __init__(self, database: "Database", objects: Objects) -> None:
        from orchestrator.store.aliases import Aliases
        from orchestrator.store.catalog import Catalog
        from orchestrator.store.leftovers import Leftovers
        from orchestrator.store.saving import Saving

        self._database = database
        self._objects = objects
        self._catalog = Catalog(database)
        self._aliases = Aliases(database)
        self._saving = Saving(self._catalog, Leftovers(database), objects)

    @classmethod
    def open(cls, home: Path, *, database: str | None = None, objects: str | None = None) -> "Store":
        """Opens a store; makes it, or brings its tables up to date, where that is needed.

        Args:
            home: has `store.db`, `objects` and `cache`; nobody else may enter it, where it is made here.
            database: SQLAlchemy's URL of PostgreSQL or SQLite; default: `store.db`.
            objects: a path, or the URL of a bucket (`s3://`, `gs://`, `az://`); default: `objects`.

        Raises:
            StoreError: there is no such database, or it was made by a newer version of this code.
        """
        # Late: SQLAlchemy takes half a second.
        from orchestrator.store.database import Database

        with disk_errors("the model store cannot be opened"):
            home = home.absolute()
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            opened = Database(database) if database else Database.in_file(home / _DATABASE)
            store = cls(opened, _objects(objects or str(home / _OBJECTS), home, opened.label))
        opened.migrate()
        store._saving.sweep()
        return store

    def __repr__(self) -> str:
        return f"Store({self._database.label}, {self._objects.label})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def save(
        self,
        tag: Tag,
        folder: Path,
        *,
        framework: str = "",
        format: ModelFormat | None = None,
        file: str | None = None,
        method: str = "",
        signature: ModelSignature | None = None,
        metadata: Mapping[str, Any] = {},
        labels: Mapping[str, str] = {},
        context: Mapping[str, str] = {},
        tolerance: tuple[float, float] = _USUAL_TOLERANCE,
        origin: str = "",
        progress: Progress | None = None,
    ) -> ModelRecord:
        """Keeps all files below a folder as a new version.

        Args:
            tag: with `latest` in the place of a version: one is made.
            metadata: whatever JSON can say; numpy's numbers too.
            progress: called while the files are copied.

        Raises:
            StoreError: the tag is taken; the folder has no files, a link out of it, or no such `file`; a label or the
                metadata cannot be kept.
        """
        for key, value in labels.items():
            check_label(key, "key")
            check_label(value, f"value of {key}")
        with disk_errors(f"{tag}: cannot read {folder}"):
            contents = contents_of(folder)
        if file is not None and file not in {content.path for content in contents}:
            raise StoreError(f"{tag}: there is no file {file!r} in {folder}")
        draft = ModelRecord(
            tag=tag,
            number=0,
            created_at=datetime.now(UTC),
            framework=framework,
            format=format,
            file=file,
            method=method,
            signature=signature,
            metadata=as_json(metadata),
            labels=dict(labels),
            context=dict(context),
            tolerance=tolerance,
            origin=origin,
        )
        total = sum(content.size for content in contents)
        return self._saving.add(draft, contents, total, progress=progress)

    def get(self, tag: Tag) -> ModelRecord:
        """The version that a tag means: of a version, of an alias, or with `latest` the one with the highest number.

        Raises:
            StoreError: there is none; the message names near ones.
        """
        return self._catalog.get(tag)

    def list(self, name: str | None = None, *, selector: str | None = None) -> _Records:
        """Versions, the newest first: of one name by number, of all by date.

        Args:
            selector: of labels, such as `stage=production, framework In (xgboost, lightgbm)`.

        Raises:
            StoreError: the selector cannot be read.
        """
        wanted = parse_selector(selector or "")
        return [record for record in self._catalog.list(name) if matches(wanted, record.labels)]

    def delete(self, tag: Tag, *, force: bool = False) -> ModelRecord:
        """Removes the version that a tag means; its number is never used again.

        Args:
            force: removes the aliases that point to it, too.

        Returns:
            What it was.

        Raises:
            StoreError: there is none, or an alias points to it.
        """
        _, record = self._catalog.delete(tag, force=force)
        self._saving.sweep()
        return record

    def folder(self, record: ModelRecord) -> Path:
        """The folder of a version on this machine, with all its files, each compared with its digest; not to be written to.

        Raises:
            StoreError: a file is missing or has other content than was saved, or the version was deleted.
        """
        return self._local(record, record.files)

    def path_of(self, record: ModelRecord, path: str = "") -> Path:
        """One file of a version, or a folder in it, on this machine and compared with its digest.

        Args:
            path: in the version; empty: all of it.

        Raises:
            StoreError: it has no such file; and as `folder`.
        """
        inside = PurePosixPath(path).as_posix()
        if inside == ".":
            return self.folder(record)
        chosen = [file for file in record.files if file.path == inside or file.path.startswith(f"{inside}/")]
        if not chosen:
            from orchestrator.store.rows import nearest

            known = [file.path for file in record.files]
            raise StoreError(f"{record.tag} has no file {path!r}", hint=nearest(inside, known))
        return self._local(record, chosen) / inside

    def set_labels(self, tag: Tag, labels: Mapping[str, str | None]) -> ModelRecord:
        """Sets labels of a version; None removes one.

        Raises:
            StoreError: there is no such version, or a key or value cannot be one.
        """
        for key, value in labels.items():
            check_label(key, "key")
            if value is not None:
                check_label(value, f"value of {key}")
        return self._catalog.set_labels(tag, labels) if labels else self.get(tag)

    def set_alias(self, name: str, alias: str, version: str) -> None:
        """Makes an alias, or moves it.

        Args:
            version: a version, `latest`, or another alias.

        Raises:
            StoreError: there is no such version, or the alias is the name of one.
        """
        self._aliases.set(name, _tag(name, alias).version, _tag(name, version).version)

    def remove_alias(self, name: str, alias: str) -> None:
        """Takes an alias away; its version stays.

        Raises:
            StoreError: there is none.
        """
        self._aliases.remove(name, alias)

    def aliases(self, name: str | None = None) -> dict[str, dict[str, str]]:
        """Versions by alias, by name of the model; names without an alias are left out."""
        return self._aliases.all(name)

    def roll_back_alias(self, name: str, alias: str) -> tuple[str, str]:
        """Moves an alias to where it was before; again: to where it was before that.

        Returns:
            The version that it points to now, and the one that it did.

        Raises:
            StoreError: there is no such alias, or no version before this one is left.
        """
        return self._aliases.roll_back(name, alias)

    def history(self, name: str) -> _Events:
        """What happened to a model's versions, the newest first; deleted ones too.

        Raises:
            StoreError: there never was such a model.
        """
        return list(self._catalog.history(name))

    def record_event(self, name: str, kind: str, version: str, detail: str = "") -> None:
        """Adds a line to a model's history."""
        self._catalog.record_event(_tag(name, version), kind, detail)

    def copy_to(self, other: "Store", tag: Tag, *, origin: str, progress: Progress | None = None) -> ModelRecord:
        """Gives a version to another store, with its date, metadata and labels.

        It keeps its number where that is higher than any of its name there; it gets the next one otherwise.

        Args:
            origin: that the other store is to note: `pull`, where this store is somebody else's, or `push`; a version
                that was imported or pulled before stays so on a push.

        Returns:
            What the other store has now; also where it had a version of that tag with the same files already.

        Raises:
            StoreError: the other store has other files of that tag; a file of this one is not what was saved.
        """
        record = self._catalog.get(tag)
        version_id = self._catalog.id_of(record)
        kept = record.origin if origin == "push" else origin
        draft = record.model_copy(update={"files": (), "origin": kept})
        return other._adopt(
            draft, record, self._read(version_id, record), _KINDS.get(origin, "saved"), self._database.label, progress
        )

    def export(self, tag: Tag, path: Path | str, *, progress: Progress | None = None) -> Path:
        """Writes a version as one file, or as a folder.

        Args:
            path: `.tar`, or anything else for a gzipped one; an existing folder: a file in it, named after the tag; a
                text with `/` at the end: a folder, new or empty.

        Returns:
            What was written.

        Raises:
            StoreError: it cannot be written, or a file of the version is not what was saved.
        """
        record = self._catalog.get(tag)
        target = Path(os.path.expanduser(path))
        contents = self._read(self._catalog.id_of(record), record, progress)
        with disk_errors(f"{record.tag}: cannot be exported"):
            if str(path).endswith("/"):
                write_folder(target, record, contents)
                return target
            if target.is_dir():
                target /= f"{record.tag.name}-{record.tag.version}.tar.gz"
            write_archive(target, record, contents)
        return target

    def import_(self, path: Path, *, tag: Tag | None = None, progress: Progress | None = None) -> ModelRecord:
        """Adds a version that `export` wrote; its origin is `import` from then on.

        Args:
            tag: to keep it under, where that is not its own; with `latest` a version is made.

        Returns:
            What the store has now; also where it had a version of that tag with the same files already.

        Raises:
            StoreError: it is no archive of a model, or not a whole one; the tag is taken by other files.
        """
        with disk_errors(f"{path} cannot be imported"), open_archive(path) as (record, contents):
            update: dict[str, Any] = {"files": (), "origin": "import"}
            if tag is not None and tag != record.tag:
                update |= {"tag": tag, "number": 0}
            return self._adopt(record.model_copy(update=update), record, contents, "imported", str(path), progress)

    def check(self) -> _Lines:
        """Reads every byte of every version.

        Returns:
            One line a fault: a file that is missing, not what was saved, or nobody's. Empty where all is well.
        """
        with disk_errors("the model store cannot be checked"):
            # Before the rows: what is saved or deleted meanwhile is in both then, or in neither.
            there = self._objects.ids()
            known = self._catalog.ids()
            lines: list[str] = []
            for version_id, record in known.items():
                if record is not None:
                    lines += self._faults(version_id, record)
            orphans = there - known.keys()
            if orphans:
                orphans &= self._objects.ids()
            lines += [f"{orphan}: files of no version ({self._objects.label})" for orphan in sorted(orphans)]
        return lines

    def _faults(self, version_id: str, record: ModelRecord) -> Sequence[str]:
        lines = []
        for file in record.files:
            try:
                for _ in self._read_one(version_id, record, file):
                    pass
            except StoreError as error:
                lines.append(error.message)
        extra = self._objects.paths(version_id) - {file.path for file in record.files}
        lines += [f"{record.tag}: {path} is not one of its files ({self._objects.label})" for path in sorted(extra)]
        # It may have been deleted while it was read.
        return [] if lines and self._catalog.gone([version_id]) else lines

    def _adopt(
        self,
        draft: ModelRecord,
        record: ModelRecord,
        contents: Iterable[Content],
        kind: str,
        place: str,
        progress: Progress | None,
    ) -> ModelRecord:
        """Adds a version from elsewhere, unless it is here.

        Args:
            draft: as it is to be here.
            record: as it is there; its files are what must come.
            place: where they come from.
        """
        try:
            return self._known(draft.tag, record) or self._saving.add(
                draft, contents, record.size, kind, place, expected=record.files, progress=progress
            )
        except StoreError:
            # Another process may have brought it meanwhile.
            if (found := self._known(draft.tag, record)) is not None:
                return found
            raise

    def _known(self, tag: Tag, record: ModelRecord) -> ModelRecord | None:
        mine = None if tag.version == LATEST else self._catalog.version(tag)
        if mine is not None and mine.files_digest != record.files_digest:
            raise StoreError(
                f"{tag} is in the store already, with other files: digest {mine.files_digest}, not {record.files_digest}",
                hint="a version never changes: give this one another tag",
            )
        return mine

    def _local(self, record: ModelRecord, files: Sequence[StoredFile]) -> Path:
        version_id = self._catalog.id_of(record)
        try:
            with disk_errors(f"{record.tag}: cannot be read"):
                return self._objects.local(version_id, files, str(record.tag))
        except StoreError:
            self._catalog.id_of(record)  # says so where it was deleted meanwhile
            raise

    def _read(self, version_id: str, record: ModelRecord, progress: Progress | None = None) -> Iterator[Content]:
        contents = (Content(file.path, file.size, self._read_one(version_id, record, file)) for file in record.files)
        return counted(contents, record.size, progress)

    def _read_one(self, version_id: str, record: ModelRecord, file: StoredFile) -> Iterator[bytes]:
        """The bytes of one file; the last step raises where they were not what was saved."""
        meter = Meter()
        place = f"{self._objects.label}/{version_id}"
        try:
            yield from meter.through(self._objects.read(version_id, file.path, file.size))
        except FileNotFoundError:
            raise missing(file, str(record.tag), place) from None
        require(file, meter.file(file.path).sha256, str(record.tag), place)


def _objects(place: str, home: Path, database: str) -> Objects:
    from orchestrator.store.remote import RemoteObjects

    if not RemoteObjects.is_url(place):
        return FolderObjects(Path(os.path.expanduser(place)).absolute())
    ours = hashlib.sha256(f"{place}\n{database}".encode()).hexdigest()[:16]
    return RemoteObjects(place, home / _CACHE / ours)


def _tag(name: str, version: str) -> Tag:
    try:
        return Tag.of(f"{name}:{version}")
    except ValueError as error:
        raise StoreError(f"{name}:{version}: {error}") from None
