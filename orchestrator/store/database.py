"""The database: one transaction at a time, migrations, and its errors in one clear line."""

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, quote_plus

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from orchestrator.errors import StoreError
from orchestrator.store.tables import HEAD, MIGRATION_TABLE

__all__ = ["Database"]

T = TypeVar("T")

_PATIENCE_S: Final = 30.0
_BUSY_S: Final = 5.0
_CONNECT_S: Final = 10
_MIGRATION_LOCK: Final = 0x6F7263680001
"""Of PostgreSQL's advisory locks; any number that nobody else takes."""
_SECRET_OPTIONS: Final = frozenset({"password", "sslpassword"})
_ROLLED_BACK: Final = frozenset({"40001", "40P01"})
_POSTGRESQL: Final = frozenset({"postgres", "postgresql", "postgresql+psycopg"})
_HINTS: Final = {
    "locked": "another process holds it; try again",
    "readonly": "write access to the file and its folder is needed",
    "unable to open": "is the folder there, and may you write to it?",
    "full": "free some space and try again",
    "not a database": "move the file away, or name another database",
    "malformed": "restore it from a backup",
    "Connection refused": "is PostgreSQL running there?",
}


class Database:
    """SQLite in a file, or PostgreSQL.

    Every transaction has a connection of its own: nothing is held between them that a fork, or a database that was
    started again, could break.

    Args:
        url: SQLAlchemy's, or PostgreSQL's own (`postgresql://`).

    Attributes:
        label: where it is, without a password.

    Raises:
        StoreError: it is no URL of either, or its driver is not installed.
    """

    def __init__(self, url: str | URL) -> None:
        parsed = _parse(url)
        self.label = _label(parsed)
        self._secrets = _secrets_of(parsed)
        self._sqlite = parsed.get_backend_name() == "sqlite"
        options: dict[str, Any] = {"timeout": _BUSY_S} if self._sqlite else {"connect_timeout": _CONNECT_S}
        try:
            self._engine = create_engine(
                parsed,
                poolclass=NullPool,
                connect_args={key: value for key, value in options.items() if key not in parsed.query},
                hide_parameters=True,
            )
        except ImportError:
            raise StoreError(
                f"{self.label}: the driver of PostgreSQL is not installed",
                hint="pip install 'triton-orchestrator[remote]'",
            ) from None
        if self._sqlite:
            _make_transactional(self._engine)

    @classmethod
    def in_file(cls, path: Path) -> "Database":
        """SQLite in this file; it is made where there is none."""
        return cls(URL.create("sqlite", database=str(path)))

    def read(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` on one snapshot of all tables.

        Raises:
            StoreError: the database cannot be read.
        """
        if self._sqlite:
            return self._run(work)
        return self._run(work, isolation_level="REPEATABLE READ", postgresql_readonly=True)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Runs `work` in one transaction, which is all committed or not at all.

        `work` may run more than once: where others held the database, or PostgreSQL had to break a deadlock. In SQLite
        it is alone from its first statement; in PostgreSQL it must lock the rows that it decides by.

        Raises:
            StoreError: the database cannot be written.
        """
        return self._run(work, begin="BEGIN IMMEDIATE") if self._sqlite else self._run(work)

    def migrate(self) -> None:
        """Brings the tables to what this code needs, where they are behind; one process does it, the others wait.

        Raises:
            StoreError: the tables are of a newer version, or cannot be made.
        """
        if self._is_current(self.read(_migration)):
            return
        if self._sqlite:
            self._attempt(self._write_ahead)
        self.write(self._upgrade)

    def close(self) -> None:
        self._engine.dispose()

    def _is_current(self, found: str | None) -> bool:
        if found is not None and found > HEAD:
            raise StoreError(
                f"{self.label} was made by a newer orchestrator: its tables are of version {found}, this one knows {HEAD}",
                hint="upgrade triton-orchestrator",
            )
        return found == HEAD

    def _upgrade(self, connection: Connection) -> None:
        if not self._sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        if self._is_current(_migration(connection)):  # another process was faster
            return
        from alembic import command
        from alembic.config import Config

        config = Config()
        folder = str(Path(__file__).with_name("migrations"))
        config.set_main_option("script_location", folder.replace("%", "%%"))
        config.set_main_option("path_separator", "os")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    def _write_ahead(self) -> None:
        # Kept in the file. Readers then never wait for a writer, nor a writer for them.
        connection = self._engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()

    def _run(self, work: Callable[[Connection], T], **options: Any) -> T:
        def transaction() -> T:
            with self._engine.connect() as connection:
                connection.execution_options(**options)
                with connection.begin():
                    return work(connection)

        return self._attempt(transaction)

    def _attempt(self, action: Callable[[], T]) -> T:
        end = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return action()
            except (SQLAlchemyError, sqlite3.Error) as error:
                cause = getattr(error, "orig", None) or error
                if not _passes(cause) or time.monotonic() > end:
                    # Without the chain: its texts may hold what the scrubbed one does not.
                    raise self._error(cause) from None
            time.sleep(random.uniform(0.005, 0.05))

    def _error(self, error: BaseException) -> StoreError:
        said = " ".join(str(error).split())[:300]
        for secret in self._secrets:
            said = said.replace(secret, "***")
        hint = next((hint for words, hint in _HINTS.items() if words in said), None)
        return StoreError(f"the model store's database {self.label}: {said}", hint=hint)


def _parse(given: str | URL) -> URL:
    try:
        url = make_url(given)
    except (ArgumentError, ValueError):
        scheme, mark, _ = str(given).partition("://")
        raise StoreError(
            f"the model store's database{f' ({scheme}://...)' if mark else ''} is no database URL",
            hint="postgresql://user:password@host/name",
        ) from None
    if url.drivername in _POSTGRESQL:
        return url.set(drivername="postgresql+psycopg")
    if url.drivername in {"sqlite", "sqlite+pysqlite"}:
        if url.database in {None, "", ":memory:"}:
            raise StoreError("the model store's database: SQLite needs a file", hint="sqlite:////folder/store.db")
        return url
    raise StoreError(
        f"the model store's database cannot be {url.drivername!r}", hint="postgresql:// and sqlite:/// are known"
    )


def _secrets_of(url: URL) -> list[str]:
    """Passwords, as they are and as URLs write them."""
    given = [str(url.password or ""), *(str(url.query[key]) for key in _SECRET_OPTIONS if key in url.query)]
    return [form for secret in given if secret for form in {secret, quote(secret), quote_plus(secret)}]


def _label(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    return url.difference_update_query(_SECRET_OPTIONS).render_as_string(hide_password=True)


def _make_transactional(engine: Engine) -> None:
    """BEGIN is ours to say: the driver's own comes late, so that two writers could both start as readers."""

    @event.listens_for(engine, "connect")
    def on_connect(connection: sqlite3.Connection, _: object) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


def _migration(connection: Connection) -> str | None:
    if not inspect(connection).has_table(MIGRATION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {MIGRATION_TABLE}")).scalar()  # noqa: S608
    return None if found is None else str(found)


def _passes(error: BaseException) -> bool:
    """Whether the same transaction may pass at the next try."""
    if isinstance(error, sqlite3.OperationalError):
        return "locked" in str(error)
    return getattr(error, "sqlstate", None) in _ROLLED_BACK
