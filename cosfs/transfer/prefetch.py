"""Reading ahead of a sequential reader: a window that grows while it is right."""

from collections.abc import Callable
from typing import Final

from cosfs.cos.model import ByteRange
from cosfs.transfer.blocks import BLOCK_SIZE, BlockCache, Version

_RANGES_PER_WINDOW: Final = 4  # requests in flight for one reader
_SLACK: Final = BLOCK_SIZE  # the kernel's own read-ahead may ask out of order by this much


class Prefetcher:
    """Follows one handle's reads; the window doubles from 1 MiB up to *most()* bytes.

    The first read and every seek close the window: only a second read in sequence opens it.
    """

    def __init__(self, cache: BlockCache, *, most: Callable[[], int]) -> None:
        self._cache = cache
        self._most = most
        self._window = 0
        self._expected: int | None = None
        self._ahead = 0  # everything before has been asked for

    def follow(self, version: Version, span: ByteRange) -> None:
        """Note a read of *span* and ask for what comes next. Does not yield."""
        if self._expected is None or abs(span.start - self._expected) > _SLACK:
            self._window = 0
            self._ahead = self._expected = span.stop
            return
        self._expected = max(self._expected, span.stop)
        self._window = min(max(BLOCK_SIZE, self._window * 2), self._most())
        self._extend(version, span.stop)

    def _extend(self, version: Version, position: int) -> None:
        target = min(position + self._window, version.size)
        step = max(BLOCK_SIZE, self._window // _RANGES_PER_WINDOW)
        start = max(self._ahead, position)
        while start < target and (target - start >= step or target == version.size):
            stop = min(start + step, target)
            if not self._cache.prefetch(version, ByteRange(start, stop)):
                self._window //= 2
                break
            start = stop
        self._ahead = max(self._ahead, start)
