"""Aliases: names that move from version to version."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from orchestrator.errors import StoreError
from orchestrator.spec import LATEST, Tag
from orchestrator.store import tables
from orchestrator.store.database import Database
from orchestrator.store.rows import add_event, exists, find, lock, nearest

__all__ = ["Aliases"]

_MOVED = "alias moved"
_ROLLED_BACK = "alias rolled back"
_REMOVED = "alias removed"


class Aliases:
    """Every move is one transaction with its event, so that a name's history has each in the order of the moves."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, name: str | None) -> dict[str, dict[str, str]]:
        """Versions by alias, by name of the model; names without an alias are left out."""

        def work(connection: Connection) -> dict[str, dict[str, str]]:
            aliases, versions = tables.aliases, tables.versions
            query = select(aliases.c.name, aliases.c.alias, versions.c.version).join(
                versions, versions.c.id == aliases.c.version_id
            )
            if name is not None:
                query = query.where(aliases.c.name == name)
            found: dict[str, dict[str, str]] = {}
            for row in sorted(map(tuple, connection.execute(query))):
                found.setdefault(row[0], {})[row[1]] = row[2]
            return found

        return self._database.read(work)

    def set(self, name: str, alias: str, version: str) -> None:
        """Makes an alias, or moves it; where it is there already, nothing happens.

        Args:
            version: a version, `latest`, or another alias.

        Raises:
            StoreError: there is no such version, or the alias is the name of one.
        """
        tag = Tag(name=name, version=version)

        def work(connection: Connection) -> None:
            lock(connection, name)
            if alias == LATEST or exists(connection, Tag(name=name, version=alias)):
                raise StoreError(f"{name}: {alias!r} is a version and cannot be an alias", hint="take another word")
            _move(connection, name, alias, find(connection, tag), _MOVED)

        self._database.write(work)

    def remove(self, name: str, alias: str) -> None:
        """Takes an alias away.

        Raises:
            StoreError: there is none of that name.
        """

        def work(connection: Connection) -> None:
            lock(connection, name)
            version = _required(connection, name, alias)
            aliases = tables.aliases
            connection.execute(delete(aliases).where(aliases.c.name == name, aliases.c.alias == alias))
            add_event(connection, Tag(name=name, version=version), _REMOVED, f"{alias}: {version}", alias=alias)

        self._database.write(work)

    def roll_back(self, name: str, alias: str) -> tuple[str, str]:
        """Moves an alias to where it was before; again: to where it was before that.

        Returns:
            The version that it points to now, and the one that it did.

        Raises:
            StoreError: there is no such alias, or no version before this one is left.
        """

        def work(connection: Connection) -> tuple[str, str]:
            lock(connection, name)
            current = _required(connection, name, alias)
            for version in reversed(_trail(connection, name, alias)):
                tag = Tag(name=name, version=version)
                if version != current and exists(connection, tag):
                    _move(connection, name, alias, find(connection, tag), _ROLLED_BACK)
                    return version, current
            raise StoreError(
                f"{name}: {alias!r} points to {current} and to nothing before that which is still there",
                hint="set it to a version",
            )

        return self._database.write(work)


def _move(connection: Connection, name: str, alias: str, row: Row[Any], kind: str) -> None:
    aliases = tables.aliases
    before = _version(connection, name, alias)
    if before == row.version:
        return
    if before is None:
        connection.execute(insert(aliases).values(name=name, alias=alias, version_id=row.id))
    else:
        connection.execute(
            update(aliases).where(aliases.c.name == name, aliases.c.alias == alias).values(version_id=row.id)
        )
    detail = f"{alias} -> {row.version}" if before is None else f"{alias}: {before} -> {row.version}"
    add_event(connection, Tag(name=name, version=row.version), kind, detail, alias=alias)


def _version(connection: Connection, name: str, alias: str) -> str | None:
    aliases, versions = tables.aliases, tables.versions
    query = select(versions.c.version).join(aliases, aliases.c.version_id == versions.c.id)
    return connection.scalar(query.where(aliases.c.name == name, aliases.c.alias == alias))


def _required(connection: Connection, name: str, alias: str) -> str:
    version = _version(connection, name, alias)
    if version is None:
        aliases = tables.aliases
        known = connection.scalars(select(aliases.c.alias).where(aliases.c.name == name).order_by(aliases.c.alias))
        raise StoreError(f"no alias {alias!r} of model {name!r}", hint=nearest(alias, known))
    return version


def _trail(connection: Connection, name: str, alias: str) -> Sequence[str]:
    """The versions that a rollback can go through, oldest first; what was rolled back from is not among them."""
    events = tables.events
    query = select(events.c.kind, events.c.version).where(events.c.name == name, events.c.alias == alias)
    trail: list[str] = []
    for row in connection.execute(query.order_by(events.c.id)):
        if row.kind == _MOVED:
            trail.append(row.version)
        elif row.kind == _ROLLED_BACK:
            while trail and trail[-1] != row.version:
                trail.pop()
        else:
            trail.clear()
    return trail
