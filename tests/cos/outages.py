"""A transport to a service that is away for a while, for tests under a mock clock."""

import math
from enum import StrEnum

import httpx
import trio

from tests.support.emulated import EmulatedTransport


class Away(StrEnum):
    """What a service does that is away."""

    REFUSING = "refusing"
    SILENT = "silent"  # takes what fits a socket's buffer, and answers nothing


class Outage(httpx.AsyncBaseTransport):
    """*behind* until *start* and from *stop* on; in between nothing is answered.

    *swallows* bytes of a body go into a buffer at every attempt.
    """

    def __init__(
        self,
        behind: httpx.AsyncBaseTransport | None = None,
        *,
        kind: Away = Away.SILENT,
        start: float = 0.0,
        stop: float = math.inf,
        swallows: int = 0,
    ) -> None:
        self._behind = behind or EmulatedTransport()
        self.kind = kind
        self.start = start
        self.stop = stop
        self._swallows = swallows
        self.attempts = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.attempts += 1
        if not self.start <= trio.current_time() < self.stop:
            return await self._behind.handle_async_request(request)
        if self.kind is Away.REFUSING:
            await trio.lowlevel.checkpoint()
            raise httpx.ConnectError("connection refused", request=request)
        await self._swallow(request)
        with trio.move_on_after(request.extensions["timeout"]["read"]):
            await trio.sleep_forever()
        raise httpx.ReadTimeout("nothing moved", request=request)

    async def _swallow(self, request: httpx.Request) -> None:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        size = 0
        async for chunk in request.stream:
            size += len(chunk)
            if size > self._swallows:
                return
