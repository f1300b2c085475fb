"""The tables of the store's database; a change here needs a migration."""

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

__all__ = [
    "HEAD",
    "MIGRATION_TABLE",
    "aliases",
    "events",
    "files",
    "garbage",
    "labels",
    "metadata",
    "names",
    "saves",
    "versions",
]

HEAD: Final = "0001"
"""Number of the newest migration; four digits, so that a newer one is also the greater text."""
MIGRATION_TABLE: Final = "model_schema"
"""Not Alembic's usual name: a team may share the database with another program that uses Alembic."""


class Utc(TypeDecorator[datetime]):
    """A moment in UTC, also in SQLite, which keeps no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Id = String(32)
_Word = String(128)

names = Table(
    "model_names",
    metadata,
    Column("name", _Word, primary_key=True),
    # Survives the versions, so that no number is ever used twice.
    Column("last_number", Integer, nullable=False),
)

versions = Table(
    "model_versions",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", _Word, ForeignKey(names.c.name), nullable=False),
    Column("version", _Word, nullable=False),
    Column("number", Integer, nullable=False),
    Column("created_at", Utc, nullable=False),
    Column("framework", Text, nullable=False),
    Column("format", Text),
    Column("file", Text),
    Column("method", Text, nullable=False),
    Column("signature", JSON(none_as_null=True)),
    Column("metadata", JSON, nullable=False),
    Column("context", JSON, nullable=False),
    Column("relative_tolerance", Float(53), nullable=False),
    Column("absolute_tolerance", Float(53), nullable=False),
    Column("origin", Text, nullable=False),
    UniqueConstraint("name", "version"),
    UniqueConstraint("name", "number"),
)

files = Table(
    "model_files",
    metadata,
    Column("version_id", _Id, ForeignKey(versions.c.id, ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
)

labels = Table(
    "model_labels",
    metadata,
    Column("version_id", _Id, ForeignKey(versions.c.id, ondelete="CASCADE"), primary_key=True),
    Column("key", String(63), primary_key=True),
    Column("value", String(63), nullable=False),
)

aliases = Table(
    "model_aliases",
    metadata,
    Column("name", _Word, ForeignKey(names.c.name), primary_key=True),
    Column("alias", _Word, primary_key=True),
    # No cascade: the database itself refuses an alias that points nowhere.
    Column("version_id", _Id, ForeignKey(versions.c.id), nullable=False, index=True),
)

events = Table(
    "model_events",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("at", Utc, nullable=False),
    Column("kind", Text, nullable=False),
    Column("name", _Word, nullable=False),
    Column("version", _Word, nullable=False),
    Column("detail", Text, nullable=False),
    Column("alias", _Word),
    Index(None, "name", "id"),
)

saves = Table(
    "model_saves",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("process_started", BigInteger, nullable=False),
    Column("started_at", Utc, nullable=False),
)

garbage = Table(
    "model_garbage",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("since", Utc, nullable=False),
)
