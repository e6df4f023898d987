"""One GET Object as its caller sees it, however many answers it takes. Pure: no I/O.

States: fresh (no answer yet) → running → complete. A broken answer leaves it running, and the next
request asks for the rest alone, of the same ETag. Bytes handed to the sink are never taken back.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from cosfs.cos.checksum import crc64
from cosfs.cos.headers import CRC64, content_range, etag_of
from cosfs.cos.model import ByteRange, ETag
from cosfs.cos.wire import Malformed, parse_crc64, parse_size

_CHUNK_SIZE: Final = 1 << 20


class Sink(Protocol):
    """Where the bytes of a download go, in order."""

    def room(self, missing: int) -> memoryview:
        """Where the next bytes go: at least one, and no more than are *missing*."""

    def filled(self, size: int) -> None:
        """So many bytes of the room have come. They are not taken back."""


class Collected:
    """A sink that keeps all: *chunks*, in order."""

    def __init__(self) -> None:
        self.chunks: list[bytes] = []
        self._room = memoryview(b"")

    def room(self, missing: int) -> memoryview:
        self._room = memoryview(bytearray(min(missing, _CHUNK_SIZE)))
        return self._room

    def filled(self, size: int) -> None:
        self.chunks.append(bytes(self._room[:size]))


class Truncated(Exception):
    """The answer ended before its last byte; the rest can be asked for."""


class Download:
    """The progress of one download into *sink*; *span* None means the whole object."""

    def __init__(self, span: ByteRange | None, if_match: ETag | None, sink: Sink) -> None:
        self._span = span
        self._etag = if_match
        self._sink = sink
        self._size = None if span is None else span.size
        self._received = 0
        self._crc64 = 0
        self._expected_crc64: int | None = None
        self._is_fresh = True
        self._room = memoryview(b"")

    def __repr__(self) -> str:
        return f"<Download {self._received} of {self._size} etag={self._etag}>"

    @property
    def is_complete(self) -> bool:
        return self._received == self._size and not self._is_fresh

    @property
    def is_corrupt(self) -> bool:
        """Whether the whole object came and is not what COS says that it is."""
        return self._expected_crc64 is not None and self._expected_crc64 != self._crc64

    def headers(self) -> dict[str, str]:
        """The headers that ask for what is missing."""
        headers = {}
        if (rest := self._rest()) is not None:
            headers["range"] = rest.header()
        if self._etag is not None:
            headers["if-match"] = f'"{self._etag}"'
        return headers

    def begin(self, status: int, headers: Mapping[str, str]) -> int:
        """Take note of an answer; the bytes that a first one promises, 0 for a later one.

        Malformed if it is not an answer to headers().
        """
        etag = etag_of(headers)
        if self._etag not in (None, etag):
            raise Malformed(f"ETag {etag!r} instead of {self._etag!r}")
        rest = self._rest()
        if rest is None and status != 200:
            raise Malformed(f"status {status} instead of 200")
        if rest is None:
            self._size = parse_size(headers.get("content-length", ""), "Content-Length")
        elif status != 206 or content_range(headers) != rest:
            answered = headers.get("content-range", "the whole object")
            raise Malformed(f"{answered} instead of {rest.header()}")
        elif parse_size(headers.get("content-length", "0"), "Content-Length") > rest.size:
            raise Malformed(f"{headers['content-length']} bytes instead of {rest.size}")
        if not self._is_fresh:
            return 0
        self._is_fresh = False
        self._etag = etag
        if self._span is None:
            self._expected_crc64 = parse_crc64(headers.get(CRC64, ""))
        assert self._size is not None
        return self._size

    def room(self) -> memoryview:
        """Where the next bytes go; empty if none is missing."""
        assert self._size is not None
        missing = self._size - self._received
        self._room = self._sink.room(missing) if missing else memoryview(b"")
        return self._room

    def take(self, size: int) -> None:
        """So many bytes have come into the room."""
        if self._expected_crc64 is not None:
            self._crc64 = crc64((self._room[:size],), self._crc64)
        self._sink.filled(size)
        # Last, so that a sink that raises has not received anything it did not take.
        self._received += size

    def end(self) -> None:
        """The answer is over. Truncated if something is missing."""
        if self._received != self._size:
            raise Truncated(f"ended after {self._received} of {self._size} bytes")

    def _rest(self) -> ByteRange | None:
        start = 0 if self._span is None else self._span.start
        if self._span is None and self._received == 0:
            return None
        assert self._size is not None
        return ByteRange(start + self._received, start + self._size)
