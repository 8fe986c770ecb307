"""Migrations, which alembic runs; see :mod:`gatewayd.store.setup`."""
