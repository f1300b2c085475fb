"""Which files are being written, and which are to be removed."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, insert, select

from orchestrator.store import tables
from orchestrator.store.database import Database
from orchestrator.store.savers import Saver

__all__ = ["GIVEN_UP", "Leftovers"]

GIVEN_UP: Final = timedelta(hours=24)
"""How long a save may take whose process cannot be asked, since it is on another machine."""


class Leftovers:
    """A note before the first file is written, and a note before the first one is removed: no file is ever nobody's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, version_id: str) -> None:
        """Notes that this process is about to write the files of a version that nobody can see yet."""
        saver = Saver.current()

        def work(connection: Connection) -> None:
            connection.execute(
                insert(tables.saves).values(
                    id=version_id,
                    host=saver.host,
                    pid=saver.pid,
                    process_started=saver.started,
                    started_at=datetime.now(UTC),
                )
            )

        self._database.write(work)

    def abandon(self, version_id: str) -> bool:
        """Makes garbage of a save that failed.

        Returns:
            False where it had not failed: its version is visible.
        """

        def work(connection: Connection) -> bool:
            return _to_garbage(connection, version_id)

        return self._database.write(work)

    def ids(self) -> Sequence[str]:
        """Ids whose files are to be removed: of deleted versions, and of saves whose process is gone."""

        def look(connection: Connection) -> tuple[Sequence[str], Sequence[Row[Any]]]:
            garbage = list(connection.scalars(select(tables.garbage.c.id)))
            return garbage, connection.execute(select(tables.saves)).all()

        garbage, saves = self._database.read(look)
        dead = [row.id for row in saves if _is_dead(row)]
        if not dead:
            return garbage
        return [*garbage, *self._database.write(lambda connection: [i for i in dead if _to_garbage(connection, i)])]

    def forget(self, version_id: str) -> None:
        """Takes the note away that a version's files are to be removed: they are."""
        self._database.write(
            lambda connection: connection.execute(delete(tables.garbage).where(tables.garbage.c.id == version_id))
        )


def _is_dead(row: Row[Any]) -> bool:
    lives = Saver(row.host, row.pid, row.process_started).lives()
    return datetime.now(UTC) - row.started_at > GIVEN_UP if lives is None else not lives


def _to_garbage(connection: Connection, version_id: str) -> bool:
    if connection.execute(delete(tables.saves).where(tables.saves.c.id == version_id)).rowcount != 1:
        return False
    connection.execute(insert(tables.garbage).values(id=version_id, since=datetime.now(UTC)))
    return True
