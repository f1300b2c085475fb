"""One transaction's reads and writes of the store's rows."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select, text

from orchestrator.errors import StoreError
from orchestrator.spec import LATEST, ModelRecord, ModelSignature, StoredFile, Tag
from orchestrator.store import tables

__all__ = [
    "add_event",
    "columns_of",
    "exists",
    "find",
    "id_of",
    "insert_labels",
    "insert_rows",
    "lock",
    "nearest",
    "record_of",
    "records_of",
    "require_free",
    "unknown_name",
]

_NEW_NAME: Final = text("INSERT INTO model_names (name, last_number) VALUES (:name, 0) ON CONFLICT DO NOTHING")


def lock(connection: Connection, name: str, *, new: bool = False, must_exist: bool = True) -> int:
    """Makes everybody else who changes something of a name wait until the transaction ends.

    Args:
        new: the name may be new.
        must_exist: refuses a name that is not there.

    Returns:
        The highest number that a version of that name ever had.
    """
    if new:
        connection.execute(_NEW_NAME, {"name": name})
    names = tables.names
    # SQLite has no FOR UPDATE, and needs none: a writing transaction is alone there.
    last = connection.scalar(select(names.c.last_number).where(names.c.name == name).with_for_update())
    if last is None and must_exist:
        raise unknown_name(connection, name)
    return last or 0


def find(connection: Connection, tag: Tag) -> Row[Any]:
    """The row of the version that a tag means.

    Raises:
        StoreError: there is none.
    """
    versions, aliases = tables.versions, tables.aliases
    query = select(versions).where(versions.c.name == tag.name)
    if tag.version == LATEST:
        row = connection.execute(query.order_by(versions.c.number.desc()).limit(1)).first()
    else:
        row = connection.execute(query.where(versions.c.version == tag.version)).first()
        if row is None:
            points = query.join(aliases, aliases.c.version_id == versions.c.id).where(aliases.c.alias == tag.version)
            row = connection.execute(points).first()
    if row is None:
        raise _missing(connection, tag)
    return row


def add_event(connection: Connection, tag: Tag, kind: str, detail: str = "", alias: str | None = None) -> None:
    connection.execute(
        insert(tables.events).values(
            at=datetime.now(UTC), kind=kind, name=tag.name, version=tag.version, detail=detail, alias=alias
        )
    )


def nearest(word: str, known: Iterable[str]) -> str | None:
    """A hint: what may have been meant, or what there is."""
    names = list(known)
    close = difflib.get_close_matches(word, names, 3, 0.5)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"there is {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}" if names else None


def unknown_name(connection: Connection, name: str) -> StoreError:
    """The error for a model that is not there."""
    known = connection.scalars(select(tables.versions.c.name).distinct().order_by(tables.versions.c.name))
    return StoreError(f"no model {name!r} in the store", hint=nearest(name, known) or "the store is empty")


def _missing(connection: Connection, tag: Tag) -> StoreError:
    versions, aliases = tables.versions, tables.aliases
    query = select(versions.c.version).where(versions.c.name == tag.name).order_by(versions.c.number.desc())
    known = list(connection.scalars(query))
    if not known:
        return unknown_name(connection, tag.name)
    known += connection.scalars(select(aliases.c.alias).where(aliases.c.name == tag.name))
    return StoreError(f"no version or alias {tag.version!r} of model {tag.name!r}", hint=nearest(tag.version, known))


def exists(connection: Connection, tag: Tag) -> bool:
    versions = tables.versions
    query = select(versions.c.id).where(versions.c.name == tag.name, versions.c.version == tag.version)
    return connection.execute(query).first() is not None


def require_free(connection: Connection, tag: Tag) -> None:
    if tag.version == LATEST:
        return
    if exists(connection, tag):
        raise StoreError(f"{tag} is in the store already", hint="a version never changes: take another one")
    aliases = tables.aliases
    query = select(aliases.c.alias).where(aliases.c.name == tag.name, aliases.c.alias == tag.version)
    if connection.execute(query).first() is not None:
        raise StoreError(f"{tag}: {tag.version!r} is an alias of {tag.name}", hint="take another version")


def id_of(connection: Connection, record: ModelRecord) -> str | None:
    versions = tables.versions
    return connection.scalar(
        select(versions.c.id).where(
            versions.c.name == record.tag.name,
            versions.c.version == record.tag.version,
            versions.c.number == record.number,
        )
    )


def record_of(connection: Connection, row: Row[Any]) -> ModelRecord:
    (record,) = _read(connection, [row], tables.versions.c.id == row.id)
    return record


def records_of(connection: Connection, name: str | None) -> Sequence[ModelRecord]:
    versions = tables.versions
    if name is None:
        query = select(versions).order_by(versions.c.created_at.desc(), versions.c.number.desc(), versions.c.name)
        return _read(connection, connection.execute(query).all(), None)
    query = select(versions).where(versions.c.name == name).order_by(versions.c.number.desc())
    return _read(connection, connection.execute(query).all(), versions.c.name == name)


def _read(connection: Connection, rows: Sequence[Row[Any]], where: Any) -> Sequence[ModelRecord]:
    """Records of rows, which are those that the condition selects."""
    chosen = select(tables.versions.c.id)
    if where is not None:
        chosen = chosen.where(where)
    files: dict[str, list[StoredFile]] = {}
    for file in connection.execute(
        select(tables.files).where(tables.files.c.version_id.in_(chosen)).order_by(tables.files.c.path)
    ):
        files.setdefault(file.version_id, []).append(StoredFile(path=file.path, size=file.size, sha256=file.sha256))
    labels: dict[str, dict[str, str]] = {}
    for label in connection.execute(
        select(tables.labels).where(tables.labels.c.version_id.in_(chosen)).order_by(tables.labels.c.key)
    ):
        labels.setdefault(label.version_id, {})[label.key] = label.value
    return [
        ModelRecord(
            tag=Tag(name=row.name, version=row.version),
            number=row.number,
            created_at=row.created_at,
            framework=row.framework,
            format=row.format,
            file=row.file,
            method=row.method,
            signature=None if row.signature is None else ModelSignature.model_validate(row.signature),
            metadata=row.metadata,
            labels=labels.get(row.id, {}),
            context=row.context,
            # PostgreSQL sorts by its own rules of language.
            files=tuple(sorted(files.get(row.id, ()), key=lambda file: file.path)),
            tolerance=(row.relative_tolerance, row.absolute_tolerance),
            origin=row.origin,
        )
        for row in rows
    ]


def columns_of(record: ModelRecord) -> dict[str, Any]:
    return {
        "name": record.tag.name,
        "version": record.tag.version,
        "number": record.number,
        "created_at": record.created_at,
        "framework": record.framework,
        "format": record.format,
        "file": record.file,
        "method": record.method,
        "signature": None if record.signature is None else record.signature.model_dump(mode="json"),
        "metadata": record.metadata,
        "context": record.context,
        "relative_tolerance": record.tolerance[0],
        "absolute_tolerance": record.tolerance[1],
        "origin": record.origin,
    }


def insert_rows(connection: Connection, table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def insert_labels(connection: Connection, version_id: str, given: Mapping[str, str]) -> None:
    rows = [{"version_id": version_id, "key": key, "value": value} for key, value in given.items()]
    insert_rows(connection, tables.labels, rows)
