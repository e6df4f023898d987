"""Reading ahead of a sequential reader: a window that grows with what it has read."""

from collections.abc import Callable
from typing import Final

from cosfs.cos.model import ByteRange
from cosfs.transfer.blocks import BlockCache
from cosfs.transfer.loads import Load
from cosfs.transfer.version import BLOCK_SIZE, Version

_MOST_PER_REQUEST: Final = 8 * BLOCK_SIZE  # 0.1 s at 100 MB/s, three times its latency
_REQUESTS_PER_WINDOW: Final = 4
_GROWTH: Final = 4  # a reader that stops has cost no more than this many times what it has read
_PROVEN: Final = 8 * BLOCK_SIZE  # in sequence; less may be one large read in the middle of a file
_MOST_SKIPPED: Final = 4 * BLOCK_SIZE  # read through another handle: more is a seek
_BEHIND: Final = 16  # blocks behind a reader that others may still be reading at the same time
# What such a run has passed is dropped: the kernel keeps it too, and taking new memory for each
# block costs a fifth of all CPU. Shorter files stay, for those who open them to write as well.
_LONG: Final = 64 * BLOCK_SIZE


class Prefetcher:
    """Follows one handle's reads and keeps up to *most()* bytes ahead of them on their way.

    A *run* is what was read in sequence: ``[start, stop)``. A first read is one only at the start
    of the object; elsewhere it takes a second one. Every other read ends the run, and what was
    asked for and is not there yet is cancelled, unless somebody else wants it.
    """

    def __init__(self, cache: BlockCache, *, most: Callable[[], int]) -> None:
        self._cache = cache
        self._most = most
        self._version: Version | None = None
        self._start = self._stop = 0
        self._ahead = 0  # the run has asked for everything before
        self._held: set[Load] = set()

    def follow(self, version: Version, span: ByteRange) -> None:
        """Note a read of *span* and ask for what comes next. Does not yield."""
        if version != self._version:
            self._version = version
            self._seek(0, 0)
        if span.start < self._start or not self._leads_to(version, span.start):
            self._seek(span.start, span.stop)
        elif span.stop > self._stop:
            self._go_on(version, span)

    def close(self) -> None:
        """Nothing more will be read. Does not yield."""
        self._cache.let_go(self._held)

    def _seek(self, start: int, stop: int) -> None:
        self._cache.let_go(self._held)
        self._start = self._ahead = start
        self._stop = stop

    def _leads_to(self, version: Version, start: int) -> bool:
        """Whether the run leads up to *start*.

        What lies between may have been read through another handle: the kernel keeps the pages
        of all. And its own read-ahead may ask out of order.
        """
        gap = start - self._stop
        if gap <= 0:
            return True
        if not self._stop or gap > _MOST_SKIPPED:
            return False
        return self._cache.first_gap(version, ByteRange(self._stop, start)) == start

    def _go_on(self, version: Version, span: ByteRange) -> None:
        is_long = self._stop - self._start >= _LONG
        for number in range(self._stop // BLOCK_SIZE - 1, span.start // BLOCK_SIZE):
            self._cache.used_up(version, number, drop=False)
            if is_long:
                self._cache.used_up(version, number - _BEHIND, drop=True)
        self._stop = span.stop
        # Less if something was dropped before it was read.
        self._ahead = min(self._ahead, self._cache.first_gap(version, span))
        run = self._stop - self._start
        growth = _GROWTH if self._start == 0 or run >= _PROVEN else 1
        most = self._most()
        if most:
            self._ask(version, min(most, max(BLOCK_SIZE, growth * run)))

    def _ask(self, version: Version, window: int) -> None:
        """Keep *window* bytes ahead. Whole blocks: only those count for the object's checksum."""
        target = min(-(-(self._stop + window) // BLOCK_SIZE) * BLOCK_SIZE, version.size)
        if self._ahead >= target:
            return
        step = min(_MOST_PER_REQUEST, window // _REQUESTS_PER_WINDOW)
        if self._stop <= self._ahead and self._ahead + step > target != version.size:
            return  # not worth a request yet
        self._held = {load for load in self._held if not load.is_over}
        # What others have asked for is held too: they may lose interest first.
        self._ask_up_to(version, self._cache.first_gap(version, ByteRange(self._ahead, target)))
        if self._ahead < self._stop or self._ahead + step <= target or target == version.size:
            self._ask_up_to(version, target)

    def _ask_up_to(self, version: Version, target: int) -> None:
        while self._ahead < target:
            stop = min(self._ahead + _MOST_PER_REQUEST, target)
            if not self._cache.prefetch(version, ByteRange(self._ahead, stop), self._held):
                self._start = self._stop  # memory is short: begin with a small window again
                return
            self._ahead = stop
