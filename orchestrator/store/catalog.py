"""What the store knows of its versions: rows of the database, and nothing of their files' bytes."""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, insert, select, update

from orchestrator.errors import StoreError
from orchestrator.spec import LATEST, ModelRecord, Tag
from orchestrator.store import tables
from orchestrator.store.database import Database
from orchestrator.store.events import Event
from orchestrator.store.leftovers import GIVEN_UP
from orchestrator.store.naming import made_version
from orchestrator.store.rows import (
    add_event,
    columns_of,
    exists,
    find,
    id_of,
    insert_labels,
    insert_rows,
    lock,
    record_of,
    records_of,
    require_free,
    unknown_name,
)

__all__ = ["Catalog"]


class Catalog:
    """Versions, labels and events. Whoever changes something of a name holds the lock of its row meanwhile."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # What is there

    def get(self, tag: Tag) -> ModelRecord:
        """The version that a tag means: the newest, an alias's, or the one so called.

        Raises:
            StoreError: there is none; the message names near ones.
        """
        return self._database.read(lambda connection: record_of(connection, find(connection, tag)))

    def version(self, tag: Tag) -> ModelRecord | None:
        """The version of exactly this tag; None where there is none."""

        def work(connection: Connection) -> ModelRecord | None:
            return record_of(connection, find(connection, tag)) if exists(connection, tag) else None

        return self._database.read(work)

    def list(self, name: str | None) -> Sequence[ModelRecord]:
        """All versions, of one name or of all; the newest first."""
        return self._database.read(lambda connection: records_of(connection, name))

    def id_of(self, record: ModelRecord) -> str:
        """Where its files are.

        Raises:
            StoreError: this store has it no more.
        """
        found = self._database.read(lambda connection: id_of(connection, record))
        if found is None:
            raise StoreError(f"{record.tag} is not in this store any more")
        return found

    def ids(self) -> Mapping[str, ModelRecord | None]:
        """Every id in use, and its version; None while it is being saved or removed."""

        def work(connection: Connection) -> Mapping[str, ModelRecord | None]:
            rows = connection.execute(select(tables.versions.c.id, tables.versions.c.name, tables.versions.c.version))
            known = {row.id: Tag(name=row.name, version=row.version) for row in rows}
            records = {record.tag: record for record in records_of(connection, None)}
            busy = [*connection.scalars(select(tables.saves.c.id)), *connection.scalars(select(tables.garbage.c.id))]
            return {**dict.fromkeys(busy), **{version_id: records[tag] for version_id, tag in known.items()}}

        return self._database.read(work)

    def gone(self, ids: Collection[str]) -> Collection[str]:
        """Those of the ids that no version has."""
        known = self._database.read(lambda connection: set(connection.scalars(select(tables.versions.c.id))))
        return [each for each in ids if each not in known]

    def history(self, name: str) -> Sequence[Event]:
        """The newest first.

        Raises:
            StoreError: there never was such a model.
        """

        def work(connection: Connection) -> Sequence[Event]:
            query = select(tables.events).where(tables.events.c.name == name).order_by(tables.events.c.id.desc())
            found = [Event(row.at, row.kind, row.name, row.version, row.detail) for row in connection.execute(query)]
            if not found:
                raise unknown_name(connection, name)
            return found

        return self._database.read(work)

    # How it changes

    def require_free(self, tag: Tag) -> None:
        """Refuses a tag that is taken already.

        Raises:
            StoreError: a version or an alias has that name.
        """
        self._database.read(lambda connection: require_free(connection, tag))

    def commit(self, version_id: str, draft: ModelRecord, kind: str, detail: str) -> ModelRecord:
        """Makes a version visible; all of its files are written.

        Args:
            draft: the version; `latest` in its tag: one is made; its number is kept where it is above all others of the
                name, else the next one is taken.
            kind: of the event, and its detail.

        Raises:
            StoreError: the tag was taken meanwhile, or the save was given up by others.
        """

        def work(connection: Connection) -> ModelRecord:
            last = lock(connection, draft.tag.name, new=True)
            require_free(connection, draft.tag)
            if connection.execute(delete(tables.saves).where(tables.saves.c.id == version_id)).rowcount != 1:
                raise StoreError(f"{draft.tag}: the save took more than {GIVEN_UP} and was given up")
            tag = draft.tag
            while tag.version == LATEST or (tag != draft.tag and exists(connection, tag)):
                tag = Tag(name=tag.name, version=made_version(datetime.now(UTC)))
            number = max(draft.number, last + 1)
            names = tables.names
            connection.execute(update(names).where(names.c.name == tag.name).values(last_number=number))
            record = draft.model_copy(update={"tag": tag, "number": number})
            connection.execute(insert(tables.versions).values(id=version_id, **columns_of(record)))
            insert_rows(
                connection, tables.files, [{"version_id": version_id, **file.model_dump()} for file in record.files]
            )
            insert_labels(connection, version_id, record.labels)
            add_event(connection, tag, kind, detail)
            return record

        return self._database.write(work)

    def delete(self, tag: Tag, *, force: bool) -> tuple[str, ModelRecord]:
        """Takes a version out of sight; its files are garbage from then on.

        Args:
            force: takes its aliases with it.

        Returns:
            The id of its files, and what it was.

        Raises:
            StoreError: there is none, or an alias points to it.
        """

        def work(connection: Connection) -> tuple[str, ModelRecord]:
            lock(connection, tag.name)
            row = find(connection, tag)
            record = record_of(connection, row)
            aliases = tables.aliases
            pointing = sorted(connection.scalars(select(aliases.c.alias).where(aliases.c.version_id == row.id)))
            if pointing and not force:
                raise StoreError(
                    f"{record.tag} is what {', '.join(map(repr, pointing))} of {tag.name} points to",
                    hint="move the alias first, or force it",
                )
            for alias in pointing:
                add_event(connection, record.tag, "alias removed", f"{alias}: {record.tag.version}", alias=alias)
            connection.execute(delete(aliases).where(aliases.c.version_id == row.id))
            connection.execute(delete(tables.versions).where(tables.versions.c.id == row.id))
            connection.execute(insert(tables.garbage).values(id=row.id, since=datetime.now(UTC)))
            add_event(connection, record.tag, "deleted")
            return row.id, record

        return self._database.write(work)

    def set_labels(self, tag: Tag, changes: Mapping[str, str | None]) -> ModelRecord:
        """Sets labels of a version, and removes those that are None.

        Raises:
            StoreError: there is no such version.
        """

        def work(connection: Connection) -> ModelRecord:
            lock(connection, tag.name)
            row = find(connection, tag)
            connection.execute(
                delete(tables.labels).where(tables.labels.c.version_id == row.id, tables.labels.c.key.in_(changes))
            )
            insert_labels(connection, row.id, {key: value for key, value in changes.items() if value is not None})
            said = ", ".join(f"-{key}" if value is None else f"{key}={value}" for key, value in changes.items())
            add_event(connection, Tag(name=row.name, version=row.version), "labelled", said)
            return record_of(connection, row)

        return self._database.write(work)

    def record_event(self, tag: Tag, kind: str, detail: str) -> None:
        def work(connection: Connection) -> None:
            lock(connection, tag.name, must_exist=False)
            add_event(connection, tag, kind, detail)

        self._database.write(work)
