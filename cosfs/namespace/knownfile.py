"""KnownFile: what HEAD told of objects, in an SQLite file that outlives the mount.

Several mounts may share it. It may be killed at any moment, and lost without harm: every row is
compared with a listing before it is believed. Written in batches, in a thread, by one task; an
error of the file ends its use, not the mount.
"""

import json
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import trio

from cosfs.cos.model import ETag, Key, ObjectInfo, ObjectProperties

log = logging.getLogger(__name__)

MAX_BYTES: Final = 256 << 20  # about a million objects; then the oldest rows go
_BATCH: Final = 2_000  # rows written at once
_MOST_WAITING: Final = 20_000  # rows; more are not kept, which costs a HEAD some day
_PAUSE_S: Final = 1.0  # between a row and its writing: rows come in crowds
_BUSY_S: Final = 0.5  # for another mount's batch
_LAYOUT: Final = 1  # PRAGMA user_version; another one's file is made anew
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS objects (
    key TEXT PRIMARY KEY, etag TEXT NOT NULL, modified_ns INTEGER NOT NULL,
    size INTEGER NOT NULL, crc64 TEXT, properties TEXT NOT NULL, stored_s INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_age ON objects (stored_s);
"""
_Row = tuple[str, str, int, int, str | None, str, int]


class KnownFile:
    """Rows by key. Once an operation of the file has failed, it knows nothing more."""

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        """Open the file, made if missing, anew if it is damaged. Raises OSError if it cannot."""
        self._path = path
        self._max_bytes = max_bytes
        self._waiting: dict[Key, ObjectInfo] = {}
        self._has_rows = trio.Event()
        self._lock = threading.Lock()  # one connection, used by one thread at a time
        try:
            self._database: sqlite3.Connection | None = _open(path)
        except sqlite3.DatabaseError as error:
            log.warning("known objects lost file=%s error=%s", path, error)
            self._database = _open_anew(path)

    def put(self, info: ObjectInfo) -> None:
        """Have *info* written soon. Does not yield."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting[info.key] = info
            self._has_rows.set()

    def forget(self, key: str) -> None:
        """Remove what is known of *key*, or below it if it ends with "/" or is empty. Blocks."""
        is_directory = key.endswith("/") or not key
        for waiting in list(self._waiting):
            if waiting == key or (is_directory and waiting.startswith(key)):
                del self._waiting[waiting]
        # What begins with "a/" lies between "a/" and "a0": "0" follows "/".
        stop = key[:-1] + "0" if key else "\U0010ffff"
        self._change("DELETE FROM objects WHERE key = ?", [(key,)])
        if is_directory:
            self._change("DELETE FROM objects WHERE key >= ? AND key < ?", [(key, stop)])

    async def get(self, keys: Sequence[Key]) -> list[ObjectInfo]:
        """What is written of *keys*, in no order; all of it may be old."""
        return await trio.to_thread.run_sync(self._read, keys)

    async def keep_writing(self) -> None:
        """Write what was put, for ever."""
        while True:
            await self._has_rows.wait()
            await trio.sleep(_PAUSE_S)
            await trio.to_thread.run_sync(self._write, self._take_waiting())

    def close(self) -> None:
        """Write what is waiting, and close the file. Blocks for a moment."""
        self._write(list(self._waiting.values()))
        with self._lock:
            if self._database is not None:
                self._database.close()
                self._database = None

    def _take_waiting(self) -> list[ObjectInfo]:
        rows = [self._waiting.pop(key) for key in list(self._waiting)[:_BATCH]]
        if not self._waiting:
            self._has_rows = trio.Event()
        return rows

    def _read(self, keys: Sequence[Key]) -> list[ObjectInfo]:
        with self._lock:
            if self._database is None:
                return []
            try:
                # One bound parameter for any number of keys; SQLite walks it in order of keys.
                rows = self._database.execute(
                    "SELECT objects.* FROM json_each(?) AS wanted"
                    " JOIN objects ON objects.key = wanted.value",
                    (json.dumps(keys),),
                ).fetchall()
            except sqlite3.Error as error:
                self._give_up(error)
                return []
        return _infos_of(rows)

    def _write(self, infos: Sequence[ObjectInfo]) -> None:
        now = int(time.time())
        rows = [_row_of(info, now) for info in infos]
        self._change("INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _change(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._lock:
            if self._database is None or not rows:
                return
            try:
                with self._database:
                    self._database.executemany(statement, rows)
                    self._make_room(self._database, len(rows))
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                    self._give_up(error)
                # Another mount writes: these rows cost a HEAD some day.
            except sqlite3.Error as error:
                self._give_up(error)

    def _make_room(self, database: sqlite3.Connection, added: int) -> None:
        """Remove the oldest rows past the size; the pages that they free are used again."""
        (size,) = database.execute(
            "SELECT (page_count - freelist_count) * page_size"
            " FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
        ).fetchone()
        if size > self._max_bytes:
            database.execute(
                "DELETE FROM objects WHERE key IN"
                " (SELECT key FROM objects ORDER BY stored_s LIMIT ?)",
                (2 * added,),
            )

    def _give_up(self, error: sqlite3.Error) -> None:
        """From now on memory has to do."""
        log.warning("known objects not kept file=%s error=%s", self._path, error)
        if self._database is not None:
            self._database.close()
        self._database = None


def _open(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=_BUSY_S, check_same_thread=False)
    try:
        path.chmod(0o600)  # names of objects, and who owns them
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        (layout,) = database.execute("PRAGMA user_version").fetchone()
        if layout not in (0, _LAYOUT):
            raise sqlite3.DatabaseError(f"layout {layout} of another version of cosfs")
        database.executescript(f"{_TABLE} PRAGMA user_version = {_LAYOUT};")
    except BaseException:
        database.close()
        raise
    return database


def _open_anew(path: Path) -> sqlite3.Connection:
    try:
        for file in (path, Path(f"{path}-wal"), Path(f"{path}-shm")):
            file.unlink(missing_ok=True)
        return _open(path)
    except sqlite3.DatabaseError as error:
        raise OSError(f"{path}: {error}") from error


def _row_of(info: ObjectInfo, now: int) -> _Row:
    properties = info.properties
    text = json.dumps(
        [
            properties.content_type,
            dict(properties.metadata),
            dict(properties.entity),
            properties.storage_class,
        ]
    )
    crc64 = None if info.crc64 is None else str(info.crc64)  # 64 bits without a sign
    return (info.key, info.etag, info.modified_ns, info.size, crc64, text, now)


def _infos_of(rows: Iterable[_Row]) -> list[ObjectInfo]:
    infos = []
    for key, etag, modified_ns, size, crc64, text, _ in rows:
        content_type, metadata, entity, storage_class = json.loads(text)
        infos.append(
            ObjectInfo(
                key=Key(key),
                size=size,
                etag=ETag(etag),
                modified_ns=modified_ns,
                crc64=None if crc64 is None else int(crc64),
                properties=ObjectProperties(
                    content_type=content_type,
                    metadata=metadata,
                    entity=entity,
                    storage_class=storage_class,
                ),
            )
        )
    return infos
