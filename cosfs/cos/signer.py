"""What authorizes a request right now, by COS's clock.

Owns the key that requests are signed with, which is good for a while, and how far this machine's
clock is off, learnt from what COS refuses. Invariant: no signature is made with a key of other
credentials or of a clock that was corrected since. Sends nothing, and does not decide when a
request is to be signed again; how one is signed is signing.py's.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final

from cosfs.cos.credentials import Credentials
from cosfs.cos.exchange import Request
from cosfs.cos.signing import SigningKey, Window, sign, signing_key
from cosfs.cos.wire import Malformed, parse_time

_EARLY_S: Final = 60  # the clocks of client and server differ; so does Tencent's SDK
_WINDOW_S: Final = 3600
_REUSE_S: Final = 600  # a signing key is made once in ten minutes, not for every request
_MAX_SKEW_S: Final = 900  # COS, "RequestTimeTooSkewed": 15 minutes

log = logging.getLogger(__name__)


class Signer:
    """Signs with one key for ten minutes, by a clock that can be set."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.offset_s = 0.0  # the server's clock minus ours
        self._key: SigningKey | None = None
        self._credentials: Credentials | None = None

    def is_off(self, date: str, offset_s: float) -> bool:
        """Whether an answer's Date header tells that *offset_s* was too wrong for COS."""
        true_s = self._offset_of(date)
        return true_s is not None and abs(true_s - offset_s) > _MAX_SKEW_S

    def set_clock(self, date: str) -> None:
        """Take the time from an answer's Date header. Without a usable one nothing changes."""
        offset_s = self._offset_of(date)
        if offset_s is None:
            return
        self.offset_s = offset_s
        self._key = None
        log.warning("clock corrected offset_s=%.0f; set the clock of this machine", self.offset_s)

    def _offset_of(self, date: str) -> float | None:
        try:
            return parse_time(date) / 1e9 - self._now()
        except Malformed:
            return None

    def authorization(
        self, request: Request, headers: Mapping[str, str], credentials: Credentials
    ) -> dict[str, str]:
        """The headers that authorize *request*."""
        token = {} if credentials.token is None else {"x-cos-security-token": credentials.token}
        authorization = sign(
            request.method,
            request.endpoint.path(request.key),
            query=request.query,
            headers={**headers, **token},
            key=self._current_key(credentials),
        )
        return {**token, "authorization": authorization}

    def _current_key(self, credentials: Credentials) -> SigningKey:
        now = int(self._now() + self.offset_s)
        key = self._key
        if key is not None and credentials == self._credentials:
            age_s = now - key.window.start - _EARLY_S
            if 0 <= age_s < _REUSE_S:
                return key
        window = Window(now - _EARLY_S, now + _WINDOW_S)
        self._key = signing_key(credentials.secret_id, credentials.secret_key, window)
        self._credentials = credentials
        return self._key
