"""Bytes on their way into memory, for those who wait for them.

A load fills consecutive extents front to back. Bytes can be read as soon as they have come, but
for the last ones of an object: those only once its checksum is known to be right.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Protocol

import trio

from cosfs.cos.checksum import crc64
from cosfs.cos.model import ByteRange
from cosfs.transfer.version import BLOCK_SIZE, Version

# With it the memory of a block fits a write of the same size. Without, what was written could not
# go where blocks had been: a mount with 256 MiB took 400 after reading and then writing.
_BYTES_HEADER: Final = 32


class Extent:
    """A run of bytes within a block. ``0 <= readable <= received <= size``."""

    __slots__ = ("content", "crc64", "load", "readable", "received", "start", "stop")

    def __init__(self, load: "Load", span: ByteRange) -> None:
        self.load = load
        self.start = span.start
        self.stop = span.stop
        self.content = memoryview(bytearray(span.size + _BYTES_HEADER))[: span.size]
        self.received = 0
        self.readable = 0
        self.crc64 = 0  # of what was received

    @property
    def size(self) -> int:
        return len(self.content)

    @property
    def span(self) -> ByteRange:
        return ByteRange(self.start, self.stop)

    @property
    def number(self) -> int:
        return self.start // BLOCK_SIZE

    @property
    def is_whole(self) -> bool:
        return self.readable == len(self.content)

    def has(self, stop: int) -> bool:
        """Whether it can be read up to *stop*."""
        return self.start + self.readable >= stop


class Checker(Protocol):
    """Says when bytes may be read."""

    def may_show_part(self, extent: Extent) -> bool:
        """Whether it may be read before all of it has been received."""

    def accept(self, extent: Extent) -> bool:
        """All of it was received; False if its object turns out to be damaged."""

    def completed(self, extent: Extent) -> None:
        """All of it can be read."""


class DamagedObject(Exception):
    """What was received of an object is not what COS has stored. No CosError: asking for the last
    bytes again would not help."""


class Load:
    """One run of bytes on its way. It is over when all of it can be read, or with *error*.

    *holders* count those who want it to go on: readers that wait, and those who read ahead.
    """

    def __init__(self, version: Version, span: ByteRange, checker: Checker) -> None:
        self.version = version
        self.span = span
        self.extents: Sequence[Extent] = [Extent(self, part) for part in _cut(span)]
        self.scope = trio.CancelScope()
        self.error: Exception | None = None
        self.is_over = False
        self.holders = 0
        self._checker = checker
        self._current = 0
        self._waiting: list[tuple[int, trio.Event]] = []

    def __repr__(self) -> str:
        received = sum(extent.received for extent in self.extents)
        return f"<Load {self.version.key} {self.span} received={received} holders={self.holders}>"

    def room(self, missing: int) -> memoryview:
        extent = self.extents[self._current]
        return extent.content[extent.received : extent.received + missing]

    def filled(self, size: int) -> None:
        """So many bytes of the room have come. Raises DamagedObject."""
        extent = self.extents[self._current]
        received = extent.received + size
        extent.crc64 = crc64((extent.content[extent.received : received],), extent.crc64)
        extent.received = received
        if received == extent.size:
            if not self._checker.accept(extent):
                raise DamagedObject
            self._current += 1
        elif not self._checker.may_show_part(extent):
            return
        extent.readable = received
        self._wake(extent.start + received)
        if extent.is_whole:
            self._checker.completed(extent)

    async def wait(self, stop: int) -> None:
        """Until the bytes before *stop* can be read, or the load is over."""
        if self.is_over:
            return
        event = trio.Event()
        self._waiting.append((stop, event))
        self.holders += 1
        try:
            await event.wait()
        finally:
            self.holders -= 1

    def end(self, error: Exception | None) -> None:
        """Nothing more will come. Does not yield."""
        self.error = error
        self.is_over = True
        self.extents = ()  # which refer to this load: a cycle would keep their bytes for long
        self._wake(self.span.stop)

    def _wake(self, position: int) -> None:
        if not self._waiting:
            return
        for stop, event in self._waiting:
            if stop <= position:
                event.set()
        self._waiting = [waiter for waiter in self._waiting if waiter[0] > position]


def _cut(span: ByteRange) -> list[ByteRange]:
    """*span* in parts that lie within a block each."""
    following = (span.start // BLOCK_SIZE + 1) * BLOCK_SIZE
    edges = [span.start, *range(following, span.stop, BLOCK_SIZE), span.stop]
    return [ByteRange(start, stop) for start, stop in pairwise(edges)]
