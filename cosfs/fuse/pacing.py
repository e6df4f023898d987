"""When the answer to a write is given, so that the kernel's queue stays short.

The queue is first in, first out: a stat stands behind every write that programs have made before.
Knows handles by their numbers only.
"""

from collections.abc import Callable
from typing import Final

import trio

_MOST_BYTES: Final = 8 << 20  # some 2 ms of work, in writes of 1 MiB, for a stat to wait for
_SMALL: Final = 32 << 10  # bytes; writes whose number makes the queue long, not their size
_WAITING_WRITE: Final = 1 << 20  # bytes of a write that waits for memory, at most
_MOST_HELD_BACK: Final = 64  # as each holds one of pyfuse3's workers
_PAUSE_S: Final = 0.001
_LONGEST_S: Final = 10.0  # whoever takes longer to serve 64 writers is not slowed down by this


class WritePacer:
    """Holds answers to writes back while enough writers are on their way.

    A writer that is answered comes with its next write at once. So no more than _MOST_BYTES at a
    time are in writes of those who are answered and not yet back, or wait for memory; the others
    wait for their answer, in order. Who does not come back is not waited for once the queue is
    seen empty. With 64 writers of 1 MiB blocks an `ls` beside them took 12 ms, 65 without this,
    and they were served up to 5 % slower.
    """

    def __init__(self, *, has_request: Callable[[], bool], waiting: Callable[[], int]) -> None:
        """*has_request*: whether the kernel's queue has any; *waiting*: calls, for memory."""
        self._has_request = has_request
        self._waiting = waiting
        self._answered: dict[int, int] = {}  # sizes, by the handles of writers not yet back
        self._bytes = 0  # their sum
        self._held_back = 0
        self._turn = trio.Lock()

    def arrived(self, handle: int) -> None:
        """A program is back with a write to *handle*. Does not yield."""
        self._bytes -= self._answered.pop(handle, 0)

    async def before_answer(self, handle: int, size: int) -> None:
        """Wait until one more writer may come, whose last write had *size* bytes."""
        if size < _SMALL:
            return
        if (self._held_back or self._is_crowded()) and self._held_back < _MOST_HELD_BACK:
            await self._hold_back()
        self._bytes += size - self._answered.get(handle, 0)
        self._answered[handle] = size

    async def _hold_back(self) -> None:
        self._held_back += 1
        try:
            with trio.move_on_after(_LONGEST_S):
                async with self._turn:
                    while self._is_crowded():  # noqa: ASYNC110 - the device can only be polled
                        await trio.sleep(_PAUSE_S)
        finally:
            self._held_back -= 1

    def _is_crowded(self) -> bool:
        waiting = self._waiting() * _WAITING_WRITE
        if self._bytes + waiting < _MOST_BYTES:
            return False
        if self._answered and not self._has_request():
            self._answered.clear()
            self._bytes = 0
        return self._bytes + waiting >= _MOST_BYTES
