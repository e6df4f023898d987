"""One REST operation from request to result: its turn, its deadline, its attempts.

Invariants: every request is signed anew for every attempt; an operation holds its place in its
lane from its first attempt to its last, and lanes never wait for each other; no operation outlives
its deadline. Knows no operation by name: those are client.py's. How a body moves is bodies.py's,
what authorizes a request signer.py's.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Final, TypeVar

import httpx
import trio

from cosfs import __version__
from cosfs.config import ServiceConfig
from cosfs.cos.bodies import RequestBody, read_into, read_whole
from cosfs.cos.credentials import Credentials, CredentialsProvider
from cosfs.cos.download import Download, Truncated
from cosfs.cos.endpoint import Endpoint
from cosfs.cos.exchange import Answer, Lane, Request
from cosfs.cos.failures import (
    CLOCK_SKEWED,
    REQUEST_EXPIRED,
    REQUEST_ID,
    is_busy,
    service_error,
)
from cosfs.cos.headers import header_fields
from cosfs.cos.health import ServiceHealth
from cosfs.cos.patience import INACTIVITY_S, MERGE_S, OperationTime, body_allowance_s
from cosfs.cos.retry import Attempts, Remedy
from cosfs.cos.signer import Signer
from cosfs.cos.signing import encode
from cosfs.cos.turns import Turn, Turns
from cosfs.cos.wire import Malformed, error_of
from cosfs.errors import CosError, DeadlineExceeded, ProtocolError, ServiceError, TransportError

METADATA_REQUESTS: Final = 64  # in flight; `ls -l` at 30 ms is bound by the CPU then
MERGE_REQUESTS: Final = 16  # in flight; COS works on them, we only wait
SHORTEST_TRY_S: Final = 0.5  # with less time left, another attempt would hardly be answered

log = logging.getLogger(__name__)
T = TypeVar("T")


class Sender:
    """Sends requests until they succeed or there is no sense in sending them again."""

    def __init__(
        self,
        config: ServiceConfig,
        credentials: CredentialsProvider,
        transport: httpx.AsyncBaseTransport,
        *,
        url: str,
        now: Callable[[], float],
    ) -> None:
        """*url* is what the service is called in messages, *now* the clock of signatures."""
        self._timeout_s = config.timeout_s
        self._connect_timeout_s = config.connect_timeout_s
        self._credentials = credentials
        self._transport = transport
        self._signer = Signer(now)
        self._names_itself = False  # the service, in its answers
        self.health = ServiceHealth(url, timeout_s=config.timeout_s, now=now)
        limits = {
            Lane.METADATA: METADATA_REQUESTS,
            Lane.SMALL: config.connections,
            Lane.DATA: config.connections,
            Lane.MERGE: MERGE_REQUESTS,
        }
        self._turns = Turns(self.health, limits)

    @property
    def in_flight(self) -> dict[str, int]:
        """How many operations each lane has at work; others may wait for a place."""
        return self._turns.taken

    def patience(self) -> AbstractContextManager[None]:
        """Around a wait for memory that others' requests are to free. Raises ServiceAway."""
        return self.health.endured(2 * self._timeout_s, operation="waiting for memory")

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def send(self, request: Request, read: Callable[[Answer], T]) -> T:
        """What *read* makes of the answer. Its errors count as the attempt's.

        Raises what the last attempt raised, or DeadlineExceeded from it.
        """

        async def receive(
            response: httpx.Response, headers: Mapping[str, str], time: OperationTime
        ) -> T:
            body = await read_whole(response, time.received)
            answer = Answer(status=response.status_code, headers=headers, body=body)
            return _understood(answer, request, read)

        async def attempt(time: OperationTime) -> T:
            return await self._exchange(request, request.headers, time, receive)

        return await self._persist(request, attempt)

    async def download(self, request: Request, download: Download) -> None:
        """Run *download*, which adds to *request*'s headers what it misses."""

        async def receive(
            response: httpx.Response, headers: Mapping[str, str], time: OperationTime
        ) -> None:
            time.allow(download.begin(response.status_code, headers))
            await read_into(response, download, time.moved)
            download.end()

        async def attempt(time: OperationTime) -> None:
            if not download.is_complete:
                wanted = {**request.headers, **download.headers()}
                await self._exchange(request, wanted, time, receive)

        await self._persist(request, attempt)

    async def _persist(
        self, request: Request, attempt: Callable[[OperationTime], Awaitable[T]]
    ) -> T:
        attempts = Attempts()
        turn = await self._turns.take(request, self._patience_s(request))
        try:
            time = self._time_of(request, turn)
            with time.scope:
                while True:
                    time.attempt()
                    try:
                        return await attempt(time)
                    except CosError as error:
                        if isinstance(error, TransportError):
                            self.health.unanswered(time.silent_since, error.detail)
                        delay_s = self._delay_after(error, attempts)
                        if delay_s is None:
                            raise
                    left_s = time.scope.deadline - trio.current_time()
                    if left_s < SHORTEST_TRY_S:
                        break
                    # Rather too early than not at all: the server may be back within what is left.
                    await trio.sleep(delay_s if delay_s < left_s else left_s / 2)
            if not isinstance(attempts.error, ServiceError):
                self.health.unanswered(time.silent_since, _detail_of(attempts.error))
        finally:
            self._turns.give_back(request)
        spent_s = trio.current_time() - turn.since
        raise DeadlineExceeded(
            f"gave up after {spent_s:.0f} s, {attempts.count} failed attempts: "
            f"{_detail_of(attempts.error)}",
            operation=request.operation,
            key=request.key,
        ) from attempts.error

    def _patience_s(self, request: Request) -> float:
        return self._timeout_s * (2 if request.is_patient else 1)

    def _silence_s(self, request: Request) -> float:
        """For how long an attempt may be silent: there must be time left for another one."""
        half_s = self._patience_s(request) / 2
        return half_s if request.lane is Lane.MERGE else min(half_s, INACTIVITY_S)

    def _time_of(self, request: Request, turn: Turn) -> OperationTime:
        time = OperationTime(
            since=turn.since,
            patience_s=self._patience_s(request),
            most_s=MERGE_S if request.lane is Lane.MERGE else body_allowance_s(request.size),
        )
        if not request.is_patient:
            time.end_before_caller()
        if turn.probe_s is not None:
            time.hurry(turn.probe_s)
        return time

    def _delay_after(self, error: CosError, attempts: Attempts) -> float | None:
        """Count a failed attempt and do what may help the next; None: there will be none."""
        retry = attempts.after(error)
        error.attempts = attempts.count
        if retry is None:
            return None
        log.debug(
            "request failed operation=%s key=%r attempt=%d remedy=%r delay_s=%.2f error=%s",
            error.operation,
            error.key,
            attempts.count,
            retry.remedy.value,
            retry.delay_s,
            error.detail,
        )
        if retry.remedy is Remedy.RELOAD_CREDENTIALS:
            self._credentials.expire()
        return retry.delay_s

    async def _exchange(
        self,
        request: Request,
        wanted: Mapping[str, str],
        time: OperationTime,
        receive: Callable[[httpx.Response, Mapping[str, str], OperationTime], Awaitable[T]],
    ) -> T:
        """Send *request* once, with the headers *wanted*.

        Returns what *receive* makes of a 2xx answer and its headers; raises the error of another.
        """
        started = trio.current_time()
        credentials = await self._credentials.get()
        offset_s = self._signer.offset_s
        outgoing = self._outgoing(request, wanted, credentials, time.sent)
        try:
            response = await self._transport.handle_async_request(outgoing)
            assert isinstance(response.stream, httpx.AsyncByteStream)
            try:
                headers = header_fields(response.headers.raw)
                self._require_cos(response.status_code, headers)
                self.health.answered()
                time.answered()
                if not 200 <= response.status_code < 300:
                    body = await read_whole(response)
                    answer = Answer(status=response.status_code, headers=headers, body=body)
                    raise self._refused(answer, request, offset_s)
                received = await receive(response, headers, time)
            finally:
                await response.stream.aclose()
        except (httpx.LocalProtocolError, httpx.InvalidURL, Malformed) as error:
            raise ProtocolError(
                str(error), operation=request.operation, key=request.key
            ) from error
        except (httpx.TransportError, Truncated) as error:
            raise TransportError(
                str(error) or type(error).__name__, operation=request.operation, key=request.key
            ) from error
        log.debug(
            "request answered operation=%s key=%r status=%d ms=%.1f",
            request.operation,
            request.key,
            response.status_code,
            (trio.current_time() - started) * 1e3,
        )
        return received

    def _require_cos(self, status: int, headers: Mapping[str, str]) -> None:
        """Refuse what a proxy or a portal on the way says of objects that it does not have.

        COS names itself in every answer. Another 404 would be taken for an object that is gone,
        another 200 for one that is stored. Servers that never name themselves are believed.
        """
        if REQUEST_ID in headers:
            self._names_itself = True
        elif self._names_itself and not is_busy(status):
            location = headers.get("location", "")
            detail = f", to {location[:200]!r}" if location else ""
            raise httpx.RemoteProtocolError(f"answered {status}{detail}, but not by COS")

    def _refused(self, answer: Answer, request: Request, offset_s: float) -> ServiceError:
        """The error of an answer to what was signed with the clock set forward by *offset_s*."""
        error = _error_of(answer, request)
        date = answer.headers.get("date", "")
        if (
            request.method == "HEAD"
            and error.status == 403
            and self._signer.is_off(date, offset_s)
        ):
            error.code = CLOCK_SKEWED  # HEAD has no body to say so
        if error.code in (CLOCK_SKEWED, REQUEST_EXPIRED):
            self._signer.set_clock(date)
        return error

    def _outgoing(
        self,
        request: Request,
        wanted: Mapping[str, str],
        credentials: Credentials | None,
        sent: Callable[[int], None],
    ) -> httpx.Request:
        endpoint = request.endpoint
        headers = {
            "host": endpoint.authority,
            "user-agent": f"cosfs/{__version__}",
            "accept-encoding": "identity",  # sizes and checksums are those of what is stored
            **wanted,
        }
        # COS, "Common request headers": required on PUT and POST, absent from the others.
        if request.method in ("PUT", "POST"):
            headers["content-length"] = str(request.size)
        if credentials is not None:
            headers |= self._signer.authorization(request, headers, credentials)
        target = endpoint.quoted_path(request.key)
        if request.query:
            target += "?" + "&".join(f"{name}={encode(value)}" for name, value in request.query)
        silence_s = self._silence_s(request)
        connect_s = min(self._connect_timeout_s, silence_s)
        timeout = {"connect": connect_s, "read": silence_s, "write": silence_s, "pool": None}
        return httpx.Request(
            request.method,
            _base_url(endpoint),
            headers=headers,
            stream=RequestBody(request.body, sent),
            # Not in the URL: httpx would take that apart for every request.
            extensions={"timeout": timeout, "target": target.encode()},
        )


@lru_cache(maxsize=8)
def _base_url(endpoint: Endpoint) -> httpx.URL:
    return httpx.URL(endpoint.url)  # 50 µs, for every request otherwise


def _understood(answer: Answer, request: Request, read: Callable[[Answer], T]) -> T:
    """What *read* makes of *answer*. Copies and completions may hide an error in a 200."""
    try:
        return read(answer)
    except Malformed:
        if error_of(answer.body) is None:
            raise
    raise _error_of(answer, request)


def _error_of(answer: Answer, request: Request) -> ServiceError:
    return service_error(
        answer.status, answer.headers, answer.body, operation=request.operation, key=request.key
    )


def _detail_of(error: CosError | None) -> str:
    return "no answer came" if error is None else error.detail
