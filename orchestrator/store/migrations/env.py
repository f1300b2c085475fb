"""What Alembic runs: our tables, in the transaction that the caller has begun."""

from alembic import context

from orchestrator.store.tables import MIGRATION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=MIGRATION_TABLE,
    transactional_ddl=True,  # SQLite can, where BEGIN is our own
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
