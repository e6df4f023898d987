"""The mount's one byte budget: what is written and not yet stored, and what is read.

Invariants: ``leaving <= used``; a waiter waits only while bytes are leaving or being loaded.
Knows neither files nor COS: those who hold bytes register how they can let go of them.
"""

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Final

import trio

Patience = Callable[[], AbstractContextManager[None]]

_KEPT_SHARE: Final = 8
_LEAST_SHARE: Final = 4  # of the limit is for content, whatever is reserved


@dataclass(slots=True, eq=False)
class _Waiter:
    size: int
    granted: trio.Event = field(default_factory=trio.Event)


class MemoryLimiter:
    """Grants bytes of one budget in order of arrival.

    *leaving* is the share of *used* that is on its way to COS and returns by itself. When a writer
    has to wait and too little is leaving, the *press* hook sends some of what is only buffered. If
    nothing at all is leaving then, nor being loaded, the first waiter is let through: over the
    budget by one write or block, never stuck.
    """

    def __init__(self, limit: int, patience: Patience = nullcontext) -> None:
        """*patience* ends waits that have become vain, by its own error."""
        self.limit = limit
        self._patience = patience
        self.used = 0
        self.leaving = 0
        self._kept = 0
        self._reserved = 0
        self._loading = 0  # of what is used: on its way from COS, and not to be dropped before
        self._waiters: deque[_Waiter] = deque()
        self._serving = False
        self._reclaim: Callable[[int], int] = lambda _size: 0
        self._press: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return (
            f"<MemoryLimiter used={self.used} leaving={self.leaving} limit={self.limit}"
            f" waiting={len(self._waiters)}>"
        )

    def on_shortage(
        self,
        *,
        reclaim: Callable[[int], int] | None = None,
        press: Callable[[], None] | None = None,
    ) -> None:
        """Register what to do when bytes run short. Both hooks are called synchronously.

        *reclaim(size)* drops cached bytes, about *size* of them, and returns how many it dropped;
        *press()* makes buffered bytes leave.
        """
        self._reclaim = reclaim or self._reclaim
        self._press = press or self._press

    @property
    def wants_more_leaving(self) -> bool:
        """Whether *press* should send more: a quarter of the budget on its way keeps COS busy."""
        return self.leaving < self.limit // 4

    @property
    def waiting(self) -> int:
        """How many wait for bytes."""
        return len(self._waiters)

    def try_acquire(self, size: int) -> bool:
        """Take *size* bytes if they are free and nobody waits. Does not yield."""
        if self._waiters:
            return False
        return self._take(size)

    def reserve(self, size: int) -> None:
        """Leave *size* bytes to what is no content: a write that waits has its bytes twice.

        A share of the budget is for content all the same. Does not yield.
        """
        self._reserved += size

    def unreserve(self, size: int) -> None:
        """Take ``reserve`` back. Does not yield."""
        self._reserved -= size
        self._serve()

    async def acquire(self, size: int) -> None:
        """Wait until *size* bytes fit the budget, in order of arrival. Cancel to give up.

        Raises what the limiter's patience raises.
        """
        if self.try_acquire(size):
            return
        waiter = _Waiter(size)
        self._waiters.append(waiter)
        self._serve()
        try:
            with self._patience():
                await waiter.granted.wait()
        except BaseException:
            self._abandon(waiter)
            raise

    def try_keep(self, size: int) -> bool:
        """Take *size* bytes for as long as their holder likes: an eighth of the budget in all.

        Return them with ``release_kept``. Does not yield.
        """
        if self._kept + size > self.limit // _KEPT_SHARE or not self.try_acquire(size):
            return False
        self._kept += size
        return True

    def release_kept(self, size: int) -> None:
        """Return *size* bytes that were kept. Does not yield."""
        self._kept -= size
        self.release(size)

    def release(self, size: int) -> None:
        """Return *size* bytes and serve the first waiters. Does not yield."""
        self.used -= size
        assert self.leaving <= self.used, self
        self._serve()

    def depart(self, size: int) -> None:
        """Mark *size* of the used bytes as on their way to COS. Does not yield."""
        self.leaving += size

    def arrive(self, size: int) -> None:
        """Release *size* bytes that had departed, stored or given up. Does not yield."""
        self.leaving -= size
        self.release(size)

    def load(self, size: int) -> None:
        """Mark *size* of the used bytes as on their way from COS. Does not yield."""
        self._loading += size

    def loaded(self, size: int) -> None:
        """Take ``load`` back: these bytes can be dropped now, or have been released."""
        self._loading -= size
        self._serve()

    def stay(self, size: int) -> None:
        """Take ``depart`` back: *size* bytes were not stored, and are still held."""
        self.leaving -= size
        self._serve()

    def _take(self, size: int) -> bool:
        limit = max(self.limit - self._reserved, self.limit // _LEAST_SHARE)
        if self.used + size > limit:
            self.used -= self._reclaim(self.used + size - limit)
        if self.used + size > limit:
            return False
        self.used += size
        return True

    def _serve(self) -> None:
        if self._serving:
            return  # press() may release what it could not send; the loop below goes on with it
        self._serving = True
        try:
            while self._waiters and self._admit(self._waiters[0]):
                self._waiters.popleft().granted.set()
        finally:
            self._serving = False

    def _admit(self, waiter: _Waiter) -> bool:
        if self._take(waiter.size):
            return True
        self._press()
        if self._take(waiter.size):
            return True
        if self.leaving or self._loading:
            return False
        self.used += waiter.size
        return True

    def _abandon(self, waiter: _Waiter) -> None:
        if waiter.granted.is_set():
            self.release(waiter.size)
        else:
            self._waiters.remove(waiter)
            self._serve()  # those behind it may be smaller
