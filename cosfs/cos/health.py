"""Whether COS answers at all: a circuit breaker, and what is known for whoever asks.

========= ========= =========================================================================
state     becomes   when
========= ========= =========================================================================
ANSWERING AWAY      an attempt fails without an answer, and nothing at all was answered for
                    half the timeout although this operation asked all the time
AWAY      ANSWERING anything is answered
========= ========= =========================================================================

An error is an answer, also a 5xx: it may be about one key, and it tells itself when to come again.
"""

import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import trio

from cosfs.errors import ServiceAway

FIRST_PAUSE_S: Final = 2.0
MAX_PAUSE_S: Final = 10.0
PROBE_S: Final = 5.0  # whoever tries whether COS is back does not wait longer

log = logging.getLogger(__name__)


class HealthState(StrEnum):
    """See the module."""

    ANSWERING = "answering"
    AWAY = "away"


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """What a status command shows. Times are Unix seconds.

    *last_error* is the last failure without an answer, "" if there was none; *next_try* is when a
    call is let through again while COS is away.
    """

    url: str
    state: HealthState
    since: float
    last_error: str
    next_try: float | None


@dataclass(slots=True, eq=False)
class _Wait:
    """*patience_s* None: none at all."""

    patience_s: float | None
    began: float = field(default_factory=trio.current_time)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class ServiceHealth:
    """Watches the answers of the service at *url*; *now* is the clock of reports."""

    def __init__(self, url: str, *, timeout_s: float, now: Callable[[], float]) -> None:
        self.is_away = False
        self.silent_since = -math.inf  # trio's time; while away
        self._waits: set[_Wait] = set()
        self._url = url
        self._now = now
        self._after_s = timeout_s / 2
        self._probe_s = min(PROBE_S, self._after_s)
        self._answered_at = -math.inf
        self._since = now()
        self._last_error = ""
        self._pause_s = 0.0
        self._next_try = math.inf

    def report(self) -> HealthReport:
        return HealthReport(
            url=self._url,
            state=HealthState.AWAY if self.is_away else HealthState.ANSWERING,
            since=self._since,
            last_error=self._last_error,
            next_try=self._clock(self._next_try) if self.is_away else None,
        )

    def answered(self) -> None:
        """Something was answered. Does not yield."""
        self._answered_at = trio.current_time()
        if not self.is_away:
            return
        self.is_away = False
        log.warning(
            "service back url=%s away_s=%.0f", self._url, self._answered_at - self.silent_since
        )
        self._since = self._now()
        self._reconsider()

    def unanswered(self, since: float, error: str) -> None:
        """An attempt had no answer; its operation has moved nothing since *since*."""
        now = trio.current_time()
        self._last_error = error
        silent_since = max(since, self._answered_at)
        if self.is_away or now - silent_since < self._after_s:
            return
        self.is_away = True
        self.silent_since = silent_since
        self._pause_s = FIRST_PAUSE_S
        self._next_try = now + self._pause_s
        self._since = self._clock(silent_since)
        log.warning(
            "service away url=%s silent_s=%.0f error=%s", self._url, now - silent_since, error
        )
        self._reconsider()

    def probe_s(self) -> float | None:
        """For how long a new call may try whether COS is back; None: another one has just."""
        now = trio.current_time()
        if now < self._next_try:
            return None
        self._pause_s = min(self._pause_s * 2, MAX_PAUSE_S)
        self._next_try = now + self._probe_s + self._pause_s
        return self._probe_s

    @contextmanager
    def endured(
        self, patience_s: float | None, *, operation: str, key: str = ""
    ) -> Iterator[None]:
        """Around a wait for what only COS can end, such as others' requests.

        Raises ServiceAway when COS has been away for *patience_s* of it; None: as soon as it is.
        """
        wait = _Wait(patience_s)
        wait.scope.deadline = self._end_of(wait)
        self._waits.add(wait)
        try:
            with wait.scope:
                yield
        finally:
            self._waits.remove(wait)
        if wait.scope.cancelled_caught:
            raise self.refusal(operation, key)

    def refusal(self, operation: str, key: str) -> ServiceAway:
        """What a call is told that is not even tried."""
        return ServiceAway(
            f"{self._url} has not answered since {_time_of_day(self._since)}: {self._last_error}; "
            f"tried again at {_time_of_day(self._clock(self._next_try))}",
            operation=operation,
            key=key,
        )

    def _reconsider(self) -> None:
        """The service has gone or come back."""
        for wait in self._waits:
            wait.scope.deadline = self._end_of(wait)

    def _end_of(self, wait: _Wait) -> float:
        if not self.is_away:
            return math.inf
        if wait.patience_s is None:
            return -math.inf
        return max(wait.began, self.silent_since) + wait.patience_s

    def _clock(self, moment: float) -> float:
        """Unix seconds of one of trio's times."""
        return self._now() + moment - trio.current_time()


def _time_of_day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%H:%M:%S")
