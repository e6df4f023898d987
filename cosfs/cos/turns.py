"""Whose turn it is: how many requests of each lane are in flight, and who waits for how long.

Invariant: nobody waits for ever for a server that does not answer. While it is away, requests
about names are refused at once, but for one in a while that tries whether it is back; the others
wait for their turn, for as long as they would try.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import trio

from cosfs.cos.exchange import Lane, Request
from cosfs.cos.health import ServiceHealth


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Since when the operation's time counts, and for how long it may be silent as a probe."""

    since: float
    probe_s: float | None = None


class Turns:
    """Hands out places in lanes; lanes never wait for each other."""

    def __init__(self, health: ServiceHealth, limits: Mapping[Lane, int]) -> None:
        self._health = health
        self._limiters = {lane: trio.CapacityLimiter(limit) for lane, limit in limits.items()}

    @property
    def taken(self) -> dict[str, int]:
        """How many places of each lane are taken."""
        return {lane.value: taken.borrowed_tokens for lane, taken in self._limiters.items()}

    async def take(self, request: Request, patience_s: float) -> Turn:
        """A place in *request*'s lane, to be given back. Raises ServiceAway."""
        probe_s = self._admit(request)
        queued = trio.current_time()
        limiter = self._limiters[request.lane]
        try:
            limiter.acquire_nowait()
        except trio.WouldBlock:
            patience = patience_s if request.is_patient else None
            with self._health.endured(patience, operation=request.operation, key=request.key):
                await limiter.acquire()
        # Where nothing is answered, waiting and trying are the same to whoever called.
        began = queued if self._health.is_away else trio.current_time()
        return Turn(since=max(began, self._silent_since()), probe_s=probe_s)

    def give_back(self, request: Request) -> None:
        """*request* is over. By the task that took its turn. Does not yield."""
        self._limiters[request.lane].release()

    def _admit(self, request: Request) -> float | None:
        if not self._health.is_away or request.is_patient:
            return None
        probe_s = self._health.probe_s()
        if probe_s is None:
            raise self._health.refusal(request.operation, request.key)
        return probe_s

    def _silent_since(self) -> float:
        return self._health.silent_since if self._health.is_away else -inf
