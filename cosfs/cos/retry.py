"""Which errors deserve another attempt, and after how long. Pure.

COS, "Error codes"; the advice for each is Tencent's SDKs' where they agree: they retry what has no
answer and 5xx. Beyond them: bodies that were cut, writers that collided on one key, and what a
single correction (credentials, clock, a corrupted body) can mend.
"""

import random
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cosfs.cos.failures import CLOCK_SKEWED, REQUEST_EXPIRED
from cosfs.errors import (
    BadCredentials,
    CosError,
    IntegrityError,
    ProtocolError,
    ServiceBusy,
    ServiceError,
    TransportError,
)

BASE_DELAY_S: Final = 0.1
MAX_DELAY_S: Final = 10.0
MAX_TOLD_S: Final = 30.0  # a Retry-After of more would be the end of most operations
_AGAIN: Final = frozenset(
    {
        "EntitySizeNotMatch",
        "IncompleteBody",
        "RequestTimeout",
        "UserNetworkTooSlow",
        "PathConflict",
        "UploadConflict",
    }
)


class Remedy(StrEnum):
    """What to do before another attempt; all but the first help soon or never."""

    BACK_OFF = "back off"
    SEND_AGAIN = "send again"
    RELOAD_CREDENTIALS = "reload credentials"
    SET_CLOCK = "set clock"


# A damaged body is chance, and may happen again; the rest is mended at once or never.
_MOST_TRIES: Final = {
    Remedy.SEND_AGAIN: 3,
    Remedy.RELOAD_CREDENTIALS: 1,
    Remedy.SET_CLOCK: 1,
}


@dataclass(frozen=True, slots=True)
class Retry:
    """Another attempt, after *delay_s* seconds and *remedy*."""

    delay_s: float
    remedy: Remedy


class Attempts:
    """The attempts of one operation so far: *count* of them, and the last one's *error*."""

    def __init__(self, jitter: Callable[[], float] = random.random) -> None:
        self.count = 0
        self.error: CosError | None = None
        self._jitter = jitter  # uniform in [0, 1)
        self._tried: Counter[Remedy] = Counter()

    def after(self, error: CosError) -> Retry | None:
        """Count a failed attempt. None: give up and raise *error*."""
        self.count += 1
        self.error = error
        remedy = remedy_for(error)
        if remedy is None:
            return None
        if remedy is not Remedy.BACK_OFF:
            self._tried[remedy] += 1
            return None if self._tried[remedy] > _MOST_TRIES[remedy] else Retry(0.0, remedy)
        told = error.retry_after_s if isinstance(error, ServiceBusy) else None
        told_s = min(told or 0.0, MAX_TOLD_S)
        return Retry(max(backoff_s(self.count, self._jitter()), told_s), remedy)


def remedy_for(error: CosError) -> Remedy | None:
    """What may turn *error* into success; None if nothing here can."""
    if isinstance(error, TransportError):
        return None if _is_untrusted(error) else Remedy.BACK_OFF
    if isinstance(error, ServiceBusy):
        return Remedy.BACK_OFF
    if isinstance(error, (IntegrityError, ProtocolError)):
        return Remedy.SEND_AGAIN
    return _remedy_for_code(error) if isinstance(error, ServiceError) else None


def backoff_s(attempt: int, jitter: float) -> float:
    """Full jitter: uniform up to a bound that doubles with each failed attempt, the first is 1."""
    return jitter * min(MAX_DELAY_S, BASE_DELAY_S * 2.0 ** min(attempt - 1, 16))


def _remedy_for_code(error: ServiceError) -> Remedy | None:
    if error.code in _AGAIN:
        return Remedy.BACK_OFF
    if error.code == "BadDigest":
        return Remedy.SEND_AGAIN
    if error.code in (CLOCK_SKEWED, REQUEST_EXPIRED):
        return Remedy.SET_CLOCK
    if isinstance(error, BadCredentials) and error.code != "SignatureDoesNotMatch":
        return Remedy.RELOAD_CREDENTIALS
    return None


def _is_untrusted(error: BaseException) -> bool:
    """Whether TLS refused the server's certificate, which no repetition mends."""
    cause: BaseException | None = error
    seen: set[int] = set()  # an error raised again from what it led to is its own cause
    while cause is not None and id(cause) not in seen:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    return False
