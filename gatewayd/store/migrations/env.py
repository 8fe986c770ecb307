"""What alembic runs around migrations: on the connection that it was given, or into a script."""

from alembic import context

from gatewayd.store.schema import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    context.configure(
        dialect_name="mysql", target_metadata=metadata, transactional_ddl=False, literal_binds=True
    )
else:
    context.configure(connection=connection, target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
