"""Alembic runs the migrations on the connection that `ledger.rights.migrate` hands it, in one transaction."""

from alembic import context

from ledger.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
