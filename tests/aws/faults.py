"""A database that fails, by a real fault: another process takes the tables away, under other names, and gives them
back. Only the access keys stay, so that a caller is still known.
"""

import contextlib
import sqlite3

KEPT = ("access_key", "_sqlx_migrations", "sqlite_")
AWAY = "away_"


@contextlib.contextmanager
def without_tables(database):
    tables = tables_of(database)
    assert "service" in tables, tables
    rename(database, tables, "", AWAY)
    try:
        yield
    finally:
        rename(database, tables, AWAY, "")


def rename(database, tables, old, new):
    connection = sqlite3.connect(database, timeout=20, isolation_level=None)
    try:
        # References of other tables and indices follow the name by themselves, unless told not to.
        connection.execute("PRAGMA legacy_alter_table = ON")
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("BEGIN IMMEDIATE")
        for table in tables:
            connection.execute(f'ALTER TABLE "{old}{table}" RENAME TO "{new}{table}"')
        connection.execute("COMMIT")
    finally:
        connection.close()


def tables_of(database):
    connection = sqlite3.connect(database, timeout=20)
    try:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    finally:
        connection.close()
    return [name for name in names if not name.startswith(KEPT)]
