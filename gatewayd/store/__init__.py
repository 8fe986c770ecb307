"""The store: the SQL database, one code for SQLite, MySQL and MariaDB."""
