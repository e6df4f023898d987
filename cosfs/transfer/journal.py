"""The uploads that this machine began, in SQLite on its disk: what is needed to go on with one.

Owns who may touch an upload: its owner while that lives, then whoever claims it first. An owner is
a lock on a file, which the kernel drops however the process ends. A row is made when COS has named
an upload, and goes when the upload does. Sends nothing to COS.
Holds no secrets: keys, upload ids, object metadata, checksums.
"""

import fcntl
import json
import logging
import os
import re
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import trio

from cosfs.config import ServiceConfig
from cosfs.cos.checksum import md5_of
from cosfs.cos.model import Body, ETag, Key, ObjectProperties, Part, UploadId
from cosfs.state import file_name

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

_BUSY_S: Final = 1.0  # another mount of the bucket holds the file for well under a millisecond
_VERSION: Final = 1  # of the tables
_SCHEMA: Final = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE IF NOT EXISTS uploads (
    upload_id TEXT PRIMARY KEY, key TEXT NOT NULL, name TEXT NOT NULL, terms TEXT NOT NULL,
    owner TEXT, begun REAL NOT NULL, properties TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS uploads_by_name ON uploads (name);
CREATE TABLE IF NOT EXISTS parts (
    upload_id TEXT NOT NULL, number INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL,
    crc64 TEXT, has_md5_etag INTEGER NOT NULL, PRIMARY KEY (upload_id, number)) WITHOUT ROWID;
"""
# rsync writes to .NAME.RANDOM and renames; a second run takes another RANDOM.
_TEMPORARY: Final = re.compile(r"((?:.*/)?\.[^/]+\.)[A-Za-z0-9]{6}", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournaledUpload:
    """An upload as the journal knows it; *parts* are those that COS confirmed, by number.

    *begun* is Unix seconds; *is_alive*: somebody is working on it. *has_md5_etags*: as far as
    they were compared, the ETags of its parts are the MD5s of their bytes.
    """

    upload_id: UploadId
    key: Key
    properties: ObjectProperties
    begun: float
    parts: dict[int, Part]
    is_alive: bool
    has_md5_etags: bool

    @property
    def sizes(self) -> dict[int, int]:
        """The sizes of the parts by number."""
        return {number: part.size for number, part in self.parts.items()}


class UploadJournal:
    """The journal of one bucket. Its file may be shared by any number of processes.

    *terms* are what uploads are begun with besides their properties (storage class, encryption):
    one that was begun with others is not taken up. A journal that cannot be written says so in
    the log, once, and goes on: it makes copying again cheap, and no write depends on it.
    """

    def __init__(self, file: Path | None, *, terms: str = "") -> None:
        """Open or make *file*; None keeps the journal in memory. Raises OSError, sqlite3.Error."""
        self._terms = terms
        self._is_broken = False
        self._etags_are_md5: bool | None = None
        self._lock = threading.Lock()
        self._owner = secrets.token_hex(8)
        self._directory = None if file is None else file.parent / "owners"
        self._owner_lock = self._lock_own_file()
        self._is_in_memory = file is None
        try:
            self._database = _opened(file)
        except BaseException:
            self._close_lock()
            raise

    def close(self) -> None:
        self._database.close()
        self._close_lock()

    def _close_lock(self) -> None:
        """End the ownership of everything that is still open."""
        if self._owner_lock is not None:
            os.close(self._owner_lock)
            self._owner_lock = None
            assert self._directory is not None
            with suppress(OSError):
                (self._directory / self._owner).unlink()

    async def begin(self, key: Key, upload_id: UploadId, properties: ObjectProperties) -> None:
        """Note a new upload; durable when this returns."""
        values = (upload_id, key, _resumption_name(key), self._terms, self._owner, time.time())

        def insert(database: sqlite3.Connection) -> None:
            database.execute("PRAGMA synchronous = FULL")
            try:
                database.execute(
                    "INSERT OR REPLACE INTO uploads VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*values, json.dumps(asdict(properties))),
                )
            finally:
                # Of parts, COS itself keeps the account: losing the last few costs a comparison.
                database.execute("PRAGMA synchronous = NORMAL")

        await self._write(insert)

    async def part_done(self, upload_id: UploadId, part: Part, body: Body) -> None:
        """Note a part that COS has of *body*."""
        if self._etags_are_md5 is None:  # once: of 8 MiB it takes 12 ms
            self._etags_are_md5 = await self._run(partial(md5_of, body)) == part.etag
        crc64 = None if part.crc64 is None else str(part.crc64)
        values = (upload_id, part.number, part.size, part.etag, crc64, self._etags_are_md5)
        await self._write(
            lambda database: database.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?)", values
            )
        )

    async def end(self, upload_id: UploadId) -> None:
        """Forget an upload that COS does not have any more."""

        def delete(database: sqlite3.Connection) -> None:
            database.execute("BEGIN IMMEDIATE")
            with database:
                database.execute("DELETE FROM parts WHERE upload_id = ?", (upload_id,))
                database.execute("DELETE FROM uploads WHERE upload_id = ?", (upload_id,))

        await self._write(delete)

    async def leave(self, upload_id: UploadId) -> None:
        """Give an unfinished upload up, for whoever writes that file again."""
        await self._write(
            lambda database: database.execute(
                "UPDATE uploads SET owner = NULL WHERE upload_id = ?", (upload_id,)
            )
        )

    def claim(self, key: Key) -> JournaledUpload | None:
        """Become the owner of the newest upload of *key* that nobody works on, if there is one.

        Two reads of the local disk, usually of its cache: does not yield.
        """
        name = _resumption_name(key)
        try:
            with self._lock:
                rows = self._database.execute(
                    "SELECT upload_id, owner FROM uploads WHERE name = ? AND terms = ?"
                    " ORDER BY key = ? DESC, begun DESC",
                    (name, self._terms, key),
                ).fetchall()
                return next((found for row in rows if (found := self._claimed(*row))), None)
        except sqlite3.Error as error:
            self._report(error)
            return None

    def claim_upload(self, upload_id: UploadId) -> JournaledUpload | None:
        """Become the owner of this upload. None: it is unknown, or somebody works on it."""
        with self._lock:
            row = self._database.execute(
                "SELECT upload_id, owner FROM uploads WHERE upload_id = ?", (upload_id,)
            ).fetchone()
            return None if row is None else self._claimed(*row)

    def uploads(self) -> list[JournaledUpload]:
        """All that is known, the oldest first. Raises sqlite3.Error."""
        with self._lock:
            rows = self._database.execute("SELECT upload_id FROM uploads ORDER BY begun")
            return [self._read(upload_id) for (upload_id,) in rows.fetchall()]

    def _claimed(self, upload_id: str, owner: str | None) -> JournaledUpload | None:
        if self._is_alive(owner):
            return None
        changed = self._database.execute(
            "UPDATE uploads SET owner = ? WHERE upload_id = ? AND owner IS ?",
            (self._owner, upload_id, owner),
        ).rowcount
        return self._read(upload_id) if changed == 1 else None

    def _read(self, upload_id: str) -> JournaledUpload:
        key, owner, begun, properties = self._database.execute(
            "SELECT key, owner, begun, properties FROM uploads WHERE upload_id = ?", (upload_id,)
        ).fetchone()
        parts = self._database.execute(
            "SELECT number, size, etag, crc64, has_md5_etag FROM parts WHERE upload_id = ?",
            (upload_id,),
        ).fetchall()
        return JournaledUpload(
            upload_id=UploadId(upload_id),
            key=Key(key),
            properties=ObjectProperties(**json.loads(properties)),
            begun=begun,
            parts={row[0]: _part(row) for row in parts},
            is_alive=self._is_alive(owner),
            has_md5_etags=all(row[-1] for row in parts),
        )

    def _is_alive(self, owner: str | None) -> bool:
        """Whether the owner's process lives; its own uploads count as long as it has not left."""
        if owner is None or self._directory is None:
            return owner is not None
        if owner == self._owner:
            return True
        try:
            with (self._directory / owner).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False

    def _lock_own_file(self) -> int | None:
        if self._directory is None:
            return None
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for file in self._directory.glob("[!.]*"):
            if not self._is_alive(file.name):
                file.unlink(missing_ok=True)
        hidden = self._directory / f".{self._owner}"  # until it is locked, others take it for dead
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        hidden.rename(self._directory / self._owner)
        return descriptor

    async def _write(self, change: Callable[[sqlite3.Connection], object]) -> None:
        def locked() -> None:
            with self._lock:
                change(self._database)

        try:
            await self._run(locked)
        except sqlite3.Error as error:
            self._report(error)

    async def _run(self, work: Callable[[], _T]) -> _T:
        """In a thread, as a checkpoint waits for the disk."""
        return work() if self._is_in_memory else await trio.to_thread.run_sync(work)

    def _report(self, error: sqlite3.Error) -> None:
        if not self._is_broken:
            self._is_broken = True
            _log.warning("journal of uploads failed, they will not be resumed error=%s", error)


@contextmanager
def bucket_journal(directory: Path | None, service: ServiceConfig) -> Iterator[UploadJournal]:
    """The journal of *service*'s bucket in *directory*; in memory if that is None."""
    place = service.endpoint or service.region or ""
    file = None if directory is None else directory / file_name(service.bucket, place, "uploads")
    terms = f"class={service.storage_class} sse={service.sse}"
    with opened_journal(file, terms=terms) as journal:
        yield journal


@contextmanager
def opened_journal(file: Path | None, *, terms: str = "") -> Iterator[UploadJournal]:
    """The journal in *file*, made anew if it is damaged; in memory if it cannot be there."""
    try:
        journal = UploadJournal(file, terms=terms)
    except (OSError, sqlite3.Error) as error:
        _log.warning("uploads will not be resumed file=%s error=%s", file, error)
        journal = UploadJournal(None, terms=terms)
    with closing(journal):
        yield journal


def _opened(file: Path | None) -> sqlite3.Connection:
    if file is None:
        return _connected(":memory:")
    try:
        return _connected(str(file))
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise  # locked, or no room: the file may be as it should be
        _log.warning("journal of uploads is damaged, begun anew file=%s error=%s", file, error)
        for part in ("-wal", "-shm"):  # SQLite's own files beside it
            file.with_name(file.name + part).unlink(missing_ok=True)
        file.replace(file.with_suffix(".damaged"))
        return _connected(str(file))


def _connected(name: str) -> sqlite3.Connection:
    if name != ":memory:":
        os.close(os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(
        name, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
    )
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version not in (0, _VERSION):
            raise sqlite3.DatabaseError(f"its tables are of version {version}, not {_VERSION}")
        database.executescript(_SCHEMA)
    except BaseException:
        database.close()
        raise
    return database


def _part(row: Sequence[object]) -> Part:
    number, size, etag, crc64, _ = row
    assert isinstance(number, int)
    assert isinstance(size, int)
    return Part(
        number=number,
        size=size,
        etag=ETag(str(etag)),
        crc64=None if crc64 is None else int(str(crc64)),
    )


def _resumption_name(key: Key) -> str:
    """What a second run of the same copy writes to, whatever it calls its temporary file."""
    temporary = _TEMPORARY.fullmatch(key)
    return key if temporary is None else temporary[1]
