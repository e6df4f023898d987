"""Where loads get their bytes: from the cache on disk, if there is one that has them, or COS."""

import contextlib
from collections.abc import Sequence
from itertools import groupby
from typing import Final

import trio

from cosfs.cos.client import CosClient
from cosfs.cos.model import ByteRange
from cosfs.transfer.diskcache import DiskCache
from cosfs.transfer.loads import Extent, Load
from cosfs.transfer.version import Version

_MOST_UNWRITTEN: Final = 32  # extents that wait for the disk; usually memory has them as well
_WRITERS: Final = 2


class Source:
    """Fills loads. Nobody waits for the disk to be written: it is left out if it is too slow."""

    def __init__(self, client: CosClient, disk: DiskCache | None, nursery: trio.Nursery) -> None:
        self._client = client
        self._disk = disk
        self._damaged: set[Version] = set()
        self._unwritten, taken = trio.open_memory_channel[tuple[Version, Extent]](_MOST_UNWRITTEN)
        if disk is not None:
            for _ in range(_WRITERS):
                nursery.start_soon(self._write_all, disk, taken)

    async def fill(self, load: Load) -> None:
        """Fill *load*. Raises what the download raised, or DamagedObject."""
        if self._disk is None or load.version in self._damaged:
            await self._download(load, load.extents)
            return
        extents = load.extents
        # In one thread: for the usual 8 MiB, eight hops would cost as much as the disk.
        found = await trio.to_thread.run_sync(
            _read, self._disk, load.version, extents, abandon_on_cancel=True
        )
        for is_found, run in groupby(extents, key=found.__contains__):
            if is_found:
                for extent in run:
                    load.filled(extent.size)
            else:
                await self._fetch(load, list(run))

    async def forget(self, version: Version) -> None:
        """*version* was damaged on its way: what the disk has of it may be, too."""
        if self._disk is not None:
            self._damaged.add(version)
            await trio.to_thread.run_sync(self._disk.forget, version)

    async def _fetch(self, load: Load, run: Sequence[Extent]) -> None:
        await self._download(load, run)
        with contextlib.suppress(trio.WouldBlock):
            for extent in run:
                self._unwritten.send_nowait((load.version, extent))

    async def _download(self, load: Load, run: Sequence[Extent]) -> None:
        span = ByteRange(run[0].start, run[-1].stop)
        version = load.version
        await self._client.get_object(version.key, span, if_match=version.etag, sink=load)

    async def _write_all(
        self, disk: DiskCache, taken: trio.MemoryReceiveChannel[tuple[Version, Extent]]
    ) -> None:
        async for version, extent in taken:
            if version not in self._damaged:
                await trio.to_thread.run_sync(
                    disk.write, version, extent.span, extent.content, extent.crc64
                )
            if version in self._damaged:
                await trio.to_thread.run_sync(disk.forget, version)


def _read(disk: DiskCache, version: Version, extents: Sequence[Extent]) -> set[Extent]:
    """Those of *extents* that the disk had."""
    return {extent for extent in extents if disk.read(version, extent.span, extent.content)}
