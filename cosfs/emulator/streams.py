"""Bodies on their way: counted, slowed, cut, damaged. Each wraps an iterator of buffers.

Classes, not async generators: a body may be dropped half read, for which trio rightly blames
generators that were not closed; these hold nothing that needs closing.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Final

import trio

Buffer = bytes | bytearray | memoryview
Body = AsyncIterator[Buffer]

STALL_S: Final = 600.0  # no client should wait for so long
_PACES_PER_SECOND: Final = 20  # a slow body moves in steps of 50 ms


class Chunks(AsyncIterator[Buffer]):
    """A body of buffers that are at hand, or made without waiting."""

    def __init__(self, chunks: Iterable[Buffer]) -> None:
        self._chunks = iter(chunks)

    async def __anext__(self) -> Buffer:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration


class _Wrapped(AsyncIterator[Buffer], ABC):
    def __init__(self, body: Body) -> None:
        self._body = body

    @abstractmethod
    async def __anext__(self) -> Buffer: ...


class Counted(_Wrapped):
    """Tells *count* the size of each buffer as it passes."""

    def __init__(self, body: Body, count: Callable[[int], None]) -> None:
        super().__init__(body)
        self._count = count

    async def __anext__(self) -> Buffer:
        chunk = await anext(self._body)
        self._count(len(chunk))
        return chunk


class Paced(_Wrapped):
    """Lets *bandwidth* bytes a second through."""

    def __init__(self, body: Body, bandwidth: float) -> None:
        super().__init__(body)
        self._bandwidth = bandwidth
        self._rest = memoryview(b"")

    async def __anext__(self) -> Buffer:
        if not self._rest:
            self._rest = memoryview(await anext(self._body))
        step = max(int(self._bandwidth / _PACES_PER_SECOND), 1)
        piece, self._rest = self._rest[:step], self._rest[step:]
        await trio.sleep(len(piece) / self._bandwidth)
        return piece


class Cut(_Wrapped):
    """Lets *size* bytes through, then raises *end*, even where the body ends there."""

    def __init__(self, body: Body, size: int, end: Exception) -> None:
        super().__init__(body)
        self._remaining = size
        self._end = end

    async def __anext__(self) -> Buffer:
        if self._remaining == 0:
            raise self._end
        try:
            chunk = memoryview(await anext(self._body))[: self._remaining]
        except StopAsyncIteration:
            raise self._end from None
        self._remaining -= len(chunk)
        return chunk


class Stalled(_Wrapped):
    """Lets *size* bytes through, then nothing for ten minutes, then raises *end*."""

    def __init__(self, body: Body, size: int, end: Exception) -> None:
        super().__init__(body)
        self._remaining = size
        self._end = end
        self._rest = memoryview(b"")

    async def __anext__(self) -> Buffer:
        if self._remaining == 0:
            await trio.sleep(STALL_S)
            raise self._end
        if not self._rest:
            self._rest = memoryview(await anext(self._body))
        piece, self._rest = self._rest[: self._remaining], self._rest[self._remaining :]
        self._remaining -= len(piece)
        return piece


class Corrupted(_Wrapped):
    """Flips the lowest bit of the first byte."""

    _is_done = False

    async def __anext__(self) -> Buffer:
        chunk = await anext(self._body)
        if self._is_done or not chunk:
            return chunk
        self._is_done = True
        return bytes([chunk[0] ^ 1]) + bytes(chunk[1:])


class Padded(_Wrapped):
    """Puts *blanks* spaces in front."""

    def __init__(self, body: Body, blanks: int) -> None:
        super().__init__(body)
        self._blanks = blanks

    async def __anext__(self) -> Buffer:
        blanks, self._blanks = self._blanks, 0
        return b" " * blanks if blanks else await anext(self._body)
