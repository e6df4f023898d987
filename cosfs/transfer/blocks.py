"""What has been read of committed objects, in memory: one download per byte; out first what a
sequential reader has passed, then what was used least recently.

Everything belongs to a Version, so bytes of two versions of an object never meet. What is being
loaded is never dropped; the rest is whenever somebody needs the memory, a block at a time. Within
a block there may be several extents: random reads load no more than they were asked for.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Final

import trio

from cosfs.cos.client import CosClient
from cosfs.cos.model import ByteRange
from cosfs.errors import CosfsError, IntegrityError
from cosfs.transfer.checks import ObjectChecks
from cosfs.transfer.diskcache import DiskCache
from cosfs.transfer.loads import DamagedObject, Extent, Load
from cosfs.transfer.memory import MemoryLimiter
from cosfs.transfer.source import Source
from cosfs.transfer.version import Version, block_numbers

_log = logging.getLogger(__name__)

# The least that is asked for: at 100 MB/s it takes less than a millisecond of a request's 30.
GRANULE: Final = 64 << 10

_BlockId = tuple[Version, int]


class BlockCache:
    """Reads ranges of objects through memory that is taken from the mount's budget.

    *on_damage* is told when bytes of a version that were read already may have been wrong.
    """

    def __init__(
        self,
        client: CosClient,
        memory: MemoryLimiter,
        nursery: trio.Nursery,
        disk: DiskCache | None = None,
    ) -> None:
        self._source = Source(client, disk, nursery)
        self._memory = memory
        self._nursery = nursery
        self._checks = ObjectChecks()
        self.on_damage: Callable[[Version, IntegrityError], None] = lambda _version, _error: None
        self._blocks: OrderedDict[_BlockId, list[Extent]] = OrderedDict()
        memory.on_shortage(reclaim=self._reclaim)

    async def read(self, version: Version, span: ByteRange) -> bytes | memoryview:
        """The bytes of *span*, which lies inside the object.

        Raises what the download raised, PreconditionFailed when the object was replaced.
        """
        while True:
            extents = self._find(version, span)
            if extents is None:
                extents = await self._demand(version, span)
            if await _arrived(extents, span.stop):
                break
        pieces = [
            extent.content[max(span.start - extent.start, 0) : span.stop - extent.start]
            for extent in extents
        ]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def first_gap(self, version: Version, span: ByteRange) -> int:
        """Where the first bytes of *span* are that nobody has asked for yet; if none, its end.

        Does not yield.
        """
        return next((gap.start for gap in self._gaps(version, span)), span.stop)

    def used_up(self, version: Version, number: int, *, drop: bool) -> None:
        """A sequential reader has passed a block: it goes before what is still to be read.

        *drop*: it goes at once, and its memory, still warm, takes what is loaded next.
        """
        block_id = version, number
        if block_id not in self._blocks:
            return
        if drop:
            self._memory.release(self._drop_whole(block_id))
        else:
            self._blocks.move_to_end(block_id, last=False)

    def prefetch(self, version: Version, span: ByteRange, held: set[Load]) -> bool:
        """Begin to load what is missing of *span*, in one request where it is one run.

        All loads in *span* that are not over are added to *held*, to be let go of later. False
        when memory is short: nobody waits for what nobody asked for. Does not yield.
        """
        for extent in self._extents(version, span):
            if not extent.load.is_over:
                _hold(extent.load, held)
        for gap in list(self._gaps(version, span)):
            if not self._memory.try_acquire(gap.size):
                return False
            _hold(self._load(version, gap), held)
        return True

    def let_go(self, held: set[Load]) -> None:
        """Empty *held*. What nobody else holds and is not over is cancelled. Does not yield."""
        for load in held:
            load.holders -= 1
            if not load.holders and not load.is_over:
                load.scope.cancel()
                self._drop_incomplete(load)
        held.clear()

    def may_show_part(self, extent: Extent) -> bool:
        return not self._checks.misses_only(extent.load.version, extent.span)

    def accept(self, extent: Extent) -> bool:
        return self._checks.add(extent.load.version, extent.span, extent.content, extent.crc64)

    def completed(self, extent: Extent) -> None:
        if extent in self._blocks.get((extent.load.version, extent.number), ()):
            self._memory.loaded(extent.size)

    async def _demand(self, version: Version, span: ByteRange) -> list[Extent]:
        start = span.start - span.start % GRANULE
        wanted = ByteRange(start, min(-(-span.stop // GRANULE) * GRANULE, version.size))
        while True:
            charged = sum(gap.size for gap in self._gaps(version, wanted))
            if charged:
                await self._memory.acquire(charged)
            gaps = list(self._gaps(version, wanted))
            unused = charged - sum(gap.size for gap in gaps)
            if unused >= 0:
                break
            self._memory.release(charged)  # others have dropped what was there
        for gap in gaps:
            self._load(version, gap)
        if unused:
            self._memory.release(unused)
        found = self._find(version, span)
        assert found is not None
        return found

    def _find(self, version: Version, span: ByteRange) -> list[Extent] | None:
        """The extents that cover *span*, from now on the most recently used; None if any lacks."""
        found: list[Extent] = []
        position = span.start
        for number in block_numbers(span):
            extents = self._blocks.get((version, number))
            if extents is None:
                return None
            self._blocks.move_to_end((version, number))
            for extent in extents:
                if extent.start <= position < min(extent.stop, span.stop):
                    found.append(extent)
                    position = extent.stop
        return found if position >= span.stop else None

    def _extents(self, version: Version, span: ByteRange) -> Iterator[Extent]:
        for number in block_numbers(span):
            for extent in self._blocks.get((version, number), ()):
                if extent.start < span.stop and span.start < extent.stop:
                    yield extent

    def _gaps(self, version: Version, span: ByteRange) -> Iterator[ByteRange]:
        position = span.start
        for extent in self._extents(version, span):
            if extent.start > position:
                yield ByteRange(position, extent.start)
            position = extent.stop
        if position < span.stop:
            yield ByteRange(position, span.stop)

    def _load(self, version: Version, span: ByteRange) -> Load:
        """Start to load *span*, of which nothing is there and whose memory is charged already."""
        load = Load(version, span, self)
        for extent in load.extents:
            extents = self._blocks.setdefault((version, extent.number), [])
            extents.append(extent)
            extents.sort(key=lambda extent: extent.start)
        self._memory.load(span.size)
        self._nursery.start_soon(self._run, load)
        return load

    async def _run(self, load: Load) -> None:
        error: Exception | None = None
        version = load.version
        try:
            with load.scope:
                await self._source.fill(load)
        except DamagedObject:
            error = IntegrityError(
                "CRC64 differs from COS's", operation="GET Object", key=version.key
            )
            _log.error("object damaged on its way key=%s", version.key)
            self._forget(version)
            if load.extents[0].size < version.size:  # of one in one piece nobody has read a byte
                self.on_damage(version, error)
            await self._source.forget(version)
        except Exception as caught:  # noqa: BLE001 - a bug here must fail this read, not the mount
            error = caught
            if not isinstance(error, CosfsError):
                _log.exception("block download broke key=%s", version.key)
        self._drop_incomplete(load)
        load.end(error)

    def _forget(self, version: Version) -> None:
        """Drop what is there of *version*."""
        for block_id in [block_id for block_id in self._blocks if block_id[0] == version]:
            self._memory.release(self._drop_whole(block_id))

    def _drop_incomplete(self, load: Load) -> None:
        dropped = 0
        for extent in load.extents:
            block_id = load.version, extent.number
            extents = self._blocks.get(block_id, [])
            if not extent.is_whole and extent in extents:
                extents.remove(extent)
                dropped += extent.size
                if not extents:
                    del self._blocks[block_id]
        if dropped:
            self._memory.release(dropped)
            self._memory.loaded(dropped)

    def _drop_whole(self, block_id: _BlockId) -> int:
        """Drop what nothing is added to any more of a block; returns how many bytes that were."""
        extents = self._blocks[block_id]
        loading = [extent for extent in extents if not extent.is_whole]
        if loading:
            self._blocks[block_id] = loading
        else:
            del self._blocks[block_id]
        return sum(extent.size for extent in extents if extent.is_whole)

    def _reclaim(self, size: int) -> int:
        doomed: list[_BlockId] = []
        freed = 0
        for block_id, extents in self._blocks.items():
            if freed >= size:
                break
            if whole := sum(extent.size for extent in extents if extent.is_whole):
                doomed.append(block_id)
                freed += whole
        return sum(map(self._drop_whole, doomed))


async def _arrived(extents: list[Extent], stop: int) -> bool:
    """Wait for what is to be read. False if others, who no longer want it, have cancelled it."""
    for extent in extents:
        needed = min(stop, extent.stop)
        if not extent.has(needed):
            await extent.load.wait(needed)
            if extent.load.error is not None and not extent.has(needed):
                raise extent.load.error
            if not extent.has(needed):
                return False
    return True


def _hold(load: Load, held: set[Load]) -> None:
    if load not in held:
        held.add(load)
        load.holders += 1
