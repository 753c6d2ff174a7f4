"""Connections to the SQLite database of a store."""

import sqlite3
from pathlib import Path
from urllib.parse import quote

from hydrarec.errors import InputError

# 1 had no items, and of each user one state; 2 did not say when items changed; 3 did not find events by item.
FORMAT = 4
_SECONDS = 10.0  # to wait for another process that writes
_BEFORE = {  # by the format that a store has
    1: "DROP TABLE IF EXISTS states;",  # made again from the events
    2: "ALTER TABLE items ADD COLUMN changed INTEGER NOT NULL DEFAULT 1;",
}
_TABLES = f"""
CREATE TABLE IF NOT EXISTS users (
    number INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again
    name TEXT NOT NULL UNIQUE,
    events INTEGER NOT NULL,
    last INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS events (
    user INTEGER NOT NULL,
    place INTEGER NOT NULL,
    item TEXT NOT NULL,
    time INTEGER NOT NULL,
    id TEXT,
    PRIMARY KEY (user, place)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS events_by_item ON events (user, item);
CREATE UNIQUE INDEX IF NOT EXISTS event_ids ON events (user, id) WHERE id IS NOT NULL;
CREATE TABLE IF NOT EXISTS states (
    user INTEGER NOT NULL,
    version TEXT NOT NULL,
    written INTEGER NOT NULL,
    data BLOB NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS states_of_users ON states (user, version);
CREATE INDEX IF NOT EXISTS states_by_age ON states (version, written);
CREATE TABLE IF NOT EXISTS items (
    number INTEGER PRIMARY KEY,
    item TEXT NOT NULL UNIQUE,
    fields TEXT, -- JSON
    removed INTEGER NOT NULL,
    vector BLOB,
    version TEXT NOT NULL,
    changed INTEGER NOT NULL -- counts the changes of all items
);
CREATE INDEX IF NOT EXISTS items_by_change ON items (changed);
CREATE TABLE IF NOT EXISTS erasures (unscrubbed INTEGER NOT NULL);
INSERT INTO erasures SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM erasures);
PRAGMA user_version = {FORMAT};
COMMIT;
"""


def connect(path: Path, *, synchronous: str = "FULL") -> sqlite3.Connection:
    """A connection that may write; the tables are there.

    Raises:
        sqlite3.OperationalError: the place cannot be written. sqlite3.DatabaseError: it is no database.
        InputError: it is one of another format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 4000")  # pages: a checkpoint waits for the disk
    found = format_of(connection)
    if found < FORMAT:
        connection.executescript(f"BEGIN IMMEDIATE; {_BEFORE.get(found, '')} {_TABLES}")
    if found > FORMAT:
        connection.close()
        raise InputError(f"{path} is a store of format {found}, this hydrarec knows {FORMAT}; name another folder")
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE erasures SET unscrubbed = unscrubbed")  # a read-only place shows here
    connection.execute("ROLLBACK")
    # VACUUM makes a copy, for which the place of the store has room sooner than the system's place for temporary files.
    folder = str(path.parent.resolve()).replace("'", "''")
    connection.execute(f"PRAGMA temp_store_directory = '{folder}'")
    return connection


def connect_read_only(path: Path) -> sqlite3.Connection:
    """A connection for reading alone, also where SQLite can make none of its own files beside the database."""
    name = f"file:{quote(str(path.resolve()))}?mode=ro"
    if not Path(f"{path}-wal").exists():
        name += "&immutable=1"
    return sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False)


def format_of(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def reason_of(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def is_busy(error: Exception) -> bool:
    """Whether another process has kept the database to itself for too long."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED"))
