"""Blocks of committed objects in memory: one download per block, least recently used out first.

A block belongs to a (key, ETag), so bytes of two versions of an object never meet. Loading blocks
are never dropped; ready ones are whenever somebody needs the memory.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import trio

from cosfs.cos.client import CosClient
from cosfs.cos.model import ByteRange, ETag, Key
from cosfs.errors import CosfsError
from cosfs.transfer.memory import MemoryLimiter

_log = logging.getLogger(__name__)

BLOCK_SIZE: Final = 1 << 20  # what the kernel asks for at most in one read


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object: what a reader holds on to."""

    key: Key
    etag: ETag
    size: int


@dataclass(slots=True, eq=False)
class _Block:
    """LOADING until *ready* is set; then either *content* or *error*."""

    size: int
    content: bytes | bytearray = b""
    error: Exception | None = None
    ready: trio.Event = field(default_factory=trio.Event)


_BlockId = tuple[Version, int]


class BlockCache:
    """Reads ranges of objects through blocks of 1 MiB that share the memory budget."""

    def __init__(self, client: CosClient, memory: MemoryLimiter, nursery: trio.Nursery) -> None:
        self._client = client
        self._memory = memory
        self._nursery = nursery
        self._blocks: OrderedDict[_BlockId, _Block] = OrderedDict()
        memory.on_shortage(reclaim=self._reclaim)

    async def read(self, version: Version, span: ByteRange) -> bytes:
        """The bytes of *span*, which lies inside the object.

        Raises what the download raised, PreconditionFailed when the object was replaced.
        """
        blocks = [await self._demand(version, number) for number in _numbers(span)]
        for block in blocks:
            await block.ready.wait()
            if block.error is not None:
                raise block.error
        first = span.start - span.start % BLOCK_SIZE
        if len(blocks) == 1:
            return bytes(blocks[0].content[span.start - first : span.stop - first])
        return b"".join(block.content for block in blocks)[span.start - first : span.stop - first]

    def prefetch(self, version: Version, span: ByteRange) -> bool:
        """Begin to download *span* in one request, but for the blocks that are there.

        False when memory is short: nobody waits for what nobody asked for. Does not yield.
        """
        for run in self._missing_runs(version, span):
            if not self._memory.try_acquire(run.size):
                return False
            self._load(version, run)
        return True

    async def _demand(self, version: Version, number: int) -> _Block:
        block = self._blocks.get((version, number))
        if block is None:
            span = _block_span(version, number)
            await self._memory.acquire(span.size)
            block = self._blocks.get((version, number))
            if block is None:
                self._load(version, span)
                block = self._blocks[version, number]
            else:
                self._memory.release(span.size)
        self._blocks.move_to_end((version, number))
        return block

    def _missing_runs(self, version: Version, span: ByteRange) -> Iterator[ByteRange]:
        start: int | None = None
        stop = 0
        for number in _numbers(span):
            block = _block_span(version, number)
            if (version, number) in self._blocks:
                if start is not None:
                    yield ByteRange(start, stop)
                start = None
            elif start is None:
                start = block.start
            stop = block.stop
        if start is not None:
            yield ByteRange(start, stop)

    def _load(self, version: Version, span: ByteRange) -> None:
        """Start the download of whole blocks, whose memory is charged already."""
        blocks: dict[int, _Block] = {}
        for number in _numbers(span):
            blocks[number] = _Block(_block_span(version, number).size)
            self._blocks[version, number] = blocks[number]
        self._nursery.start_soon(self._download, version, span, blocks)

    async def _download(
        self, version: Version, span: ByteRange, blocks: dict[int, _Block]
    ) -> None:
        filler = _Filler(list(blocks.values()))
        try:
            await self._client.get_object(
                version.key, span, if_match=version.etag, sink=filler
            )
        except Exception as error:  # noqa: BLE001 - a bug here must fail this read, not the mount
            if not isinstance(error, CosfsError):
                _log.exception("block download broke key=%s", version.key)
            for number, block in blocks.items():
                if not block.ready.is_set():
                    self._drop(version, number, block, error)

    def _drop(self, version: Version, number: int, block: _Block, error: Exception) -> None:
        del self._blocks[version, number]
        block.error = error
        block.ready.set()
        self._memory.release(block.size)

    def _reclaim(self, size: int) -> int:
        freed = 0
        for block_id, block in list(self._blocks.items()):
            if freed >= size:
                break
            if block.ready.is_set():
                del self._blocks[block_id]
                freed += block.size
        return freed


class _Filler:
    """Fills consecutive blocks with a download, each ready as soon as it is whole."""

    def __init__(self, blocks: list[_Block]) -> None:
        self._blocks = iter(blocks)
        self._next()

    def room(self, missing: int) -> memoryview:
        return memoryview(self._content)[self._received : self._received + missing]

    def filled(self, size: int) -> None:
        self._received += size
        if self._received == self._block.size:
            self._block.content = self._content
            self._block.ready.set()
            self._next()

    def _next(self) -> None:
        following = next(self._blocks, None)
        if following is not None:
            self._block = following
            self._content = bytearray(following.size)
            self._received = 0


def _numbers(span: ByteRange) -> range:
    return range(span.start // BLOCK_SIZE, -(-span.stop // BLOCK_SIZE))


def _block_span(version: Version, number: int) -> ByteRange:
    start = number * BLOCK_SIZE
    return ByteRange(start, min(start + BLOCK_SIZE, version.size))
