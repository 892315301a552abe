"""Alembic's hook: run the migrations that wait on the connection that fleet/store/migrate.py hands over."""

from alembic import context

from fleet.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transaction_per_migration=True,
    transactional_ddl=True,  # SQLite's DDL is transactional too, once BEGIN is said by us
)
with context.begin_transaction():
    context.run_migrations()
