"""The SQLite file (or memory) under the store: its tables, and transactions.

Keys are BLOBs of UTF-8, so that they sort as COS sorts them. A *content* is an immutable run of
bytes: extents of files, in order. Objects and parts refer to contents and may share them.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS buckets (name TEXT PRIMARY KEY, created REAL NOT NULL);
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, key BLOB NOT NULL, content INTEGER NOT NULL, size INTEGER NOT NULL,
    crc64 TEXT NOT NULL, etag TEXT NOT NULL, modified REAL NOT NULL, class TEXT NOT NULL,
    headers TEXT NOT NULL, PRIMARY KEY (bucket, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_content ON objects (content);
CREATE TABLE IF NOT EXISTS uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key BLOB NOT NULL, initiated REAL NOT NULL,
    class TEXT NOT NULL, headers TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS uploads_key ON uploads (bucket, key, id);
CREATE TABLE IF NOT EXISTS parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, content INTEGER NOT NULL,
    size INTEGER NOT NULL, crc64 TEXT NOT NULL, etag TEXT NOT NULL, modified REAL NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS parts_content ON parts (content);
CREATE TABLE IF NOT EXISTS extents (
    content INTEGER NOT NULL, start INTEGER NOT NULL, file TEXT NOT NULL,
    offset INTEGER NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (content, start)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS extents_file ON extents (file);
"""


def open_index(path: Path | None) -> sqlite3.Connection:
    """The index in *path*, made if missing; None: in memory.

    Commits survive the death of the process, not that of the machine: no fsync, for speed.
    Raises OSError if another process has it open, whose files a second one would sweep away.
    """
    connection = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=0)
    try:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = OFF")
        connection.executescript(_TABLES)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise OSError(f"{path}: {error}; choose another directory") from error
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing. Nothing inside may yield to another task."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
