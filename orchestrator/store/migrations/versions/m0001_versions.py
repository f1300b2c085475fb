"""Names, versions, files, labels, aliases, events; what is being saved, and what is to be removed."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.String(32)
_WORD = sa.String(128)
_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "model_names",
        sa.Column("name", _WORD, nullable=False),
        sa.Column("last_number", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_model_names"),
    )
    op.create_table(
        "model_versions",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", _WORD, nullable=False),
        sa.Column("version", _WORD, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("framework", sa.Text, nullable=False),
        sa.Column("format", sa.Text),
        sa.Column("file", sa.Text),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("signature", sa.JSON),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("context", sa.JSON, nullable=False),
        sa.Column("relative_tolerance", sa.Float(53), nullable=False),
        sa.Column("absolute_tolerance", sa.Float(53), nullable=False),
        sa.Column("origin", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_versions"),
        sa.ForeignKeyConstraint(["name"], ["model_names.name"], name="fk_model_versions_name"),
        sa.UniqueConstraint("name", "version", name="uq_model_versions_name_version"),
        sa.UniqueConstraint("name", "number", name="uq_model_versions_name_number"),
    )
    op.create_table(
        "model_files",
        sa.Column("version_id", _ID, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "path", name="pk_model_files"),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_versions.id"], name="fk_model_files_version_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "model_labels",
        sa.Column("version_id", _ID, nullable=False),
        sa.Column("key", sa.String(63), nullable=False),
        sa.Column("value", sa.String(63), nullable=False),
        sa.PrimaryKeyConstraint("version_id", "key", name="pk_model_labels"),
        sa.ForeignKeyConstraint(
            ["version_id"], ["model_versions.id"], name="fk_model_labels_version_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "model_aliases",
        sa.Column("name", _WORD, nullable=False),
        sa.Column("alias", _WORD, nullable=False),
        sa.Column("version_id", _ID, nullable=False),
        sa.PrimaryKeyConstraint("name", "alias", name="pk_model_aliases"),
        sa.ForeignKeyConstraint(["name"], ["model_names.name"], name="fk_model_aliases_name"),
        sa.ForeignKeyConstraint(["version_id"], ["model_versions.id"], name="fk_model_aliases_version_id"),
    )
    op.create_index("ix_model_aliases_version_id", "model_aliases", ["version_id"])
    op.create_table(
        "model_events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", _WORD, nullable=False),
        sa.Column("version", _WORD, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("alias", _WORD),
        sa.PrimaryKeyConstraint("id", name="pk_model_events"),
    )
    op.create_index("ix_model_events_name_id", "model_events", ["name", "id"])
    op.create_table(
        "model_saves",
        sa.Column("id", _ID, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("process_started", sa.BigInteger, nullable=False),
        sa.Column("started_at", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_saves"),
    )
    op.create_table(
        "model_garbage",
        sa.Column("id", _ID, nullable=False),
        sa.Column("since", _MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model_garbage"),
    )
