"""Runs migrations on the connection that the store hands over, inside the store's own transaction.

It knows no address of a database and reads no alembic.ini.
"""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    render_as_batch=True,  # SQLite alters a table by copying it
)
with context.begin_transaction():
    context.run_migrations()
