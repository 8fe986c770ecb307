"""The store: the SQL database, one code for SQLite, MySQL and MariaDB.

Making one as a library: :mod:`gatewayd.store.setup`. Nothing is imported here, because SQLAlchemy
takes longer than most commands.
"""
