"""Buckets, objects and unfinished uploads, and which of them may follow which.

An upload goes ``open -> completed | aborted``; only an open one takes parts, and afterwards its id
is unknown. An object appears, changes and disappears at once, in one transaction of the index.
Contents are shared: Copy and Complete cost rows, never bytes. Files that no content refers to
any more are removed after the transaction. The store has no clock: callers say what time it is.
"""

import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from cosfs.emulator.bodies import Bodies, FileId, Piece
from cosfs.emulator.index import transaction
from cosfs.emulator.intake import Received, combine_crc64
from cosfs.emulator.records import (
    LISTED_COLUMNS,
    OBJECT_COLUMNS,
    PART_COLUMNS,
    UPLOAD_COLUMNS,
    Content,
    ContentId,
    Listed,
    ObjectRow,
    Part,
    PartRow,
    Stored,
    Upload,
    UploadRow,
    part_of,
    stored_of,
    upload_of,
)
from cosfs.emulator.refusals import Refusal


class Store:
    """The state of the service. No method yields."""

    def __init__(self, index: sqlite3.Connection, bodies: Bodies) -> None:
        self._index = index
        self.bodies = bodies
        self._pins: Counter[ContentId] = Counter()
        self._buckets: dict[str, float] = dict(index.execute("SELECT name, created FROM buckets"))
        self._recover()

    def close(self) -> None:
        """Close the index; nothing may be called afterwards."""
        self._index.close()

    # Buckets

    def buckets(self) -> list[tuple[str, float]]:
        """Names and times of creation, sorted."""
        return sorted(self._buckets.items())

    def has_bucket(self, name: str) -> bool:
        return name in self._buckets

    def make_bucket(self, name: str, *, now: float) -> None:
        if self.has_bucket(name):
            raise Refusal("BucketAlreadyOwnedByYou")
        self._index.execute("INSERT INTO buckets VALUES (?, ?)", (name, now))
        self._buckets[name] = now

    def remove_bucket(self, name: str) -> None:
        """Remove an empty bucket; unfinished uploads count as contents."""
        for table in ("objects", "uploads"):
            query = f"SELECT 1 FROM {table} WHERE bucket = ? LIMIT 1"  # noqa: S608  # constants
            if self._index.execute(query, (name,)).fetchone() is not None:
                raise Refusal("BucketNotEmpty")
        self._index.execute("DELETE FROM buckets WHERE name = ?", (name,))
        del self._buckets[name]

    # Objects

    def find(self, bucket: str, key: str) -> Stored | None:
        row: ObjectRow | None = self._index.execute(
            f"SELECT {OBJECT_COLUMNS} FROM objects WHERE bucket = ? AND key = ?",  # noqa: S608
            (bucket, key.encode()),
        ).fetchone()
        return None if row is None else stored_of(row)

    def objects_from(self, bucket: str, start: bytes) -> Iterator[Listed]:
        """The objects from key *start* on, in order. Not to be kept over a yield."""
        cursor = self._index.execute(
            f"SELECT {LISTED_COLUMNS} FROM objects WHERE bucket = ? AND key >= ? ORDER BY key",  # noqa: S608
            (bucket, start),
        )
        return map(Listed._make, cursor)

    def put(self, bucket: str, stored: Stored, *, forbid_overwrite: bool = False) -> None:
        """Make *stored* the object of its key. A refused one's content is given up."""
        with self._giving_up(stored.content), transaction(self._index):
            dead = self._put_rows(bucket, stored, forbid_overwrite=forbid_overwrite)
        self._remove(dead)

    def delete(self, bucket: str, key: str) -> None:
        """Remove the object; harmless if there is none."""
        with transaction(self._index):
            old = self._content_of(bucket, key)
            where = (bucket, key.encode())
            self._index.execute("DELETE FROM objects WHERE bucket = ? AND key = ?", where)
            dead = [] if old is None else self._drop(old)
        self._remove(dead)

    # Contents

    def add_content(self, received: Received) -> Content:
        """Make the received file a content. It is lost unless put into an object or part next."""
        pieces = [] if received.file is None else [Piece(received.file, 0, received.size)]
        content = Content(id=self._next_content(), size=received.size, crc64=received.crc64)
        self._write_extents(content.id, pieces)
        return content

    def slice_content(self, source: Content, start: int, stop: int, *, crc64: int) -> Content:
        """A content of the bytes from *start* to *stop* of *source*, sharing its files."""
        content = Content(id=self._next_content(), size=stop - start, crc64=crc64)
        self._write_extents(content.id, self.pieces(source.id, start, stop))
        return content

    def pieces(self, content: ContentId, start: int, stop: int) -> list[Piece]:
        """Where the bytes from *start* to *stop* lie."""
        rows: list[tuple[int, str, int, int]] = self._index.execute(
            "SELECT start, file, offset, size FROM extents WHERE content = ? AND start < ?"
            " AND start >= coalesce((SELECT max(start) FROM extents"
            " WHERE content = ? AND start <= ?), 0) ORDER BY start",
            (content, stop, content, start),
        ).fetchall()
        pieces = []
        for begin, file, offset, size in rows:
            skip = max(start - begin, 0)
            pieces.append(Piece(FileId(file), offset + skip, min(stop - begin, size) - skip))
        return pieces

    def pin(self, content: ContentId) -> None:
        """Keep the bytes of *content* for a reader, even if its object goes, until unpin()."""
        self._pins[content] += 1

    def unpin(self, content: ContentId) -> None:
        """Undo one pin()."""
        self._pins[content] -= 1
        if self._pins[content] == 0:
            del self._pins[content]
            self._discard(content)

    # Uploads

    def begin_upload(self, upload: Upload) -> None:
        self._index.execute(
            "INSERT INTO uploads VALUES (?, ?, ?, ?, ?, ?)",
            (
                upload.id,
                upload.bucket,
                upload.key.encode(),
                upload.initiated,
                upload.properties.storage_class,
                json.dumps(dict(upload.properties.headers)),
            ),
        )

    def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """The open upload. Raises Refusal for any other id."""
        row: UploadRow | None = self._index.execute(
            f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE id = ? AND bucket = ? AND key = ?",  # noqa: S608
            (upload_id, bucket, key.encode()),
        ).fetchone()
        if row is None:
            raise Refusal("NoSuchUpload")
        return upload_of(row)

    def uploads_from(self, bucket: str, start: bytes) -> Iterator[Upload]:
        """Open uploads in order of key and id, as objects_from()."""
        cursor = self._index.execute(
            f"SELECT {UPLOAD_COLUMNS} FROM uploads WHERE bucket = ? AND key >= ? ORDER BY key, id",  # noqa: S608
            (bucket, start),
        )
        return map(upload_of, cursor)

    def put_part(self, upload: Upload, part: Part) -> None:
        """Add *part*, or replace the one of its number. Raises Refusal if the upload has ended."""
        with self._giving_up(part.content), transaction(self._index):
            self.upload(upload.bucket, upload.key, upload.id)
            where = (upload.id, part.number)
            old: tuple[ContentId] | None = self._index.execute(
                "SELECT content FROM parts WHERE upload = ? AND number = ?", where
            ).fetchone()
            content = part.content
            self._index.execute(
                "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*where, content.id, content.size, str(content.crc64), part.etag, part.modified),
            )
            dead = [] if old is None else self._drop(old[0])
        self._remove(dead)

    def parts(self, upload: Upload, *, after: int = 0, limit: int = -1) -> list[Part]:
        """Parts with a number over *after*, ascending; at most *limit* unless negative."""
        rows: list[PartRow] = self._index.execute(
            f"SELECT {PART_COLUMNS} FROM parts"  # noqa: S608
            " WHERE upload = ? AND number > ? ORDER BY number LIMIT ?",
            (upload.id, after, limit),
        ).fetchall()
        return [part_of(row) for row in rows]

    def join(self, parts: Sequence[Part]) -> Content:
        """A content of the *parts* one after the other, sharing their files."""
        content_id, size, crc64 = self._next_content(), 0, 0
        with transaction(self._index):
            for part in parts:
                self._index.execute(
                    "INSERT INTO extents SELECT ?, start + ?, file, offset, size"
                    " FROM extents WHERE content = ?",
                    (content_id, size, part.content.id),
                )
                crc64 = combine_crc64(crc64, part.content.crc64, second_size=part.content.size)
                size += part.content.size
        return Content(id=content_id, size=size, crc64=crc64)

    def complete(self, upload: Upload, stored: Stored, *, forbid_overwrite: bool) -> None:
        """Replace the upload by the object made of it."""
        with self._giving_up(stored.content), transaction(self._index):
            dead = self._put_rows(upload.bucket, stored, forbid_overwrite=forbid_overwrite)
            dead += self._end_rows(upload)
        self._remove(dead)

    def abort(self, upload: Upload) -> None:
        """Forget the upload and the bytes of its parts."""
        with transaction(self._index):
            dead = self._end_rows(upload)
        self._remove(dead)

    # Inside

    def _put_rows(self, bucket: str, stored: Stored, *, forbid_overwrite: bool) -> list[FileId]:
        old = self._content_of(bucket, stored.key)
        if old is not None and forbid_overwrite:
            raise Refusal("FileAlreadyExists")
        content, properties = stored.content, stored.properties
        self._index.execute(
            "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                bucket,
                stored.key.encode(),
                content.id,
                content.size,
                str(content.crc64),
                stored.etag,
                stored.modified,
                properties.storage_class,
                json.dumps(dict(properties.headers)),
            ),
        )
        return [] if old is None else self._drop(old)

    def _content_of(self, bucket: str, key: str) -> ContentId | None:
        row: tuple[ContentId] | None = self._index.execute(
            "SELECT content FROM objects WHERE bucket = ? AND key = ?", (bucket, key.encode())
        ).fetchone()
        return None if row is None else row[0]

    def _end_rows(self, upload: Upload) -> list[FileId]:
        contents = [part.content.id for part in self.parts(upload)]
        self._index.execute("DELETE FROM parts WHERE upload = ?", (upload.id,))
        self._index.execute("DELETE FROM uploads WHERE id = ?", (upload.id,))
        return [file for content in contents for file in self._drop(content)]

    @contextmanager
    def _giving_up(self, content: Content) -> Iterator[None]:
        try:
            yield
        except Refusal:
            self._discard(content.id)
            raise

    def _discard(self, content: ContentId) -> None:
        with transaction(self._index):
            dead = self._drop(content)
        self._remove(dead)

    def _next_content(self) -> ContentId:
        self._last_content += 1
        return ContentId(self._last_content)

    def _write_extents(self, content: ContentId, pieces: Sequence[Piece]) -> None:
        start = 0
        rows = []
        for piece in pieces:
            rows.append((content, start, piece.file, piece.offset, piece.size))
            start += piece.size
        if len(rows) == 1:  # a transaction of its own, without the cost of saying so
            self._index.execute("INSERT INTO extents VALUES (?, ?, ?, ?, ?)", rows[0])
        elif rows:
            with transaction(self._index):
                self._index.executemany("INSERT INTO extents VALUES (?, ?, ?, ?, ?)", rows)

    def _drop(self, content: ContentId) -> list[FileId]:
        """Remove *content* unless somebody has it; the files that nobody refers to any more."""
        users = self._index.execute(
            "SELECT EXISTS (SELECT 1 FROM objects WHERE content = ?1)"
            " OR EXISTS (SELECT 1 FROM parts WHERE content = ?1)",
            (content,),
        ).fetchone()
        if users[0] or self._pins[content] > 0:
            return []
        files: list[tuple[FileId]] = self._index.execute(
            "DELETE FROM extents WHERE content = ? RETURNING file", (content,)
        ).fetchall()
        return [file for file in {row[0] for row in files} if not self._is_used(file)]

    def _is_used(self, file: FileId) -> bool:
        query = "SELECT 1 FROM extents WHERE file = ? LIMIT 1"
        return self._index.execute(query, (file,)).fetchone() is not None

    def _remove(self, files: Sequence[FileId]) -> None:
        for file in files:
            self.bodies.remove(file)

    def _recover(self) -> None:
        """Sweep away what a process that died had begun."""
        with transaction(self._index):
            self._index.execute(
                "DELETE FROM extents WHERE content NOT IN"
                " (SELECT content FROM objects UNION SELECT content FROM parts)"
            )
            last: tuple[int] = self._index.execute(
                "SELECT max((SELECT coalesce(max(content), 0) FROM objects),"
                " (SELECT coalesce(max(content), 0) FROM parts))"
            ).fetchone()
        self._last_content = last[0]
        files: list[tuple[FileId]] = self._index.execute(
            "SELECT DISTINCT file FROM extents"
        ).fetchall()
        self.bodies.sweep({row[0] for row in files})
