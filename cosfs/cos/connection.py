"""One HTTP/1.1 connection, one exchange at a time. h11 frames requests and parses heads.

A body of known size does not pass through h11, where each byte would be copied three times: it is
received straight into the memory where it is wanted.
"""

import math
import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import h11
import httpcore
import httpx

_HEAD_SIZE: Final = 64 << 10  # bytes received at once while the head is not complete
_PIECE_SIZE: Final = 1 << 20  # bytes received at once for those who iterate a body


class Stream(httpcore.AsyncNetworkStream):
    """A connection's bytes, which can be received into a buffer."""

    @abstractmethod
    async def receive_into(self, buffer: memoryview, timeout: float | None) -> int:  # noqa: ASYNC109 - as httpcore's read
        """Fill some of *buffer*, which is not empty; 0 at the end."""


class Connection:
    """A connection to one server. Whoever exchanges holds it until the answer's body is closed."""

    def __init__(self, stream: Stream, *, keepalive_s: float) -> None:
        self._stream = stream
        self._keepalive_s = keepalive_s
        self._expires = math.inf

    @property
    def has_expired(self) -> bool:
        """Whether it has been idle for too long, or the server has closed it or said something."""
        return time.monotonic() > self._expires or bool(self._stream.get_extra_info("is_readable"))

    async def exchange(self, request: httpx.Request, kept: Callable[[], None]) -> httpx.Response:
        """Send *request*; its answer, with the body still to be received.

        Closing the body calls *kept* if the connection can be used again, and else closes it.
        """
        http = h11.Connection(h11.CLIENT)
        timeouts = request.extensions.get("timeout", {})
        try:
            with errors_of_httpx():
                is_sent = False
                # A server that refuses a request may say why before it closes.
                with suppress(httpcore.WriteError):
                    await self._send(http, request, timeouts.get("write"))
                    is_sent = True
                head = await self._receive_head(http, timeouts.get("read"))
                if not is_sent and head.status_code < 300:
                    raise httpcore.RemoteProtocolError("a success before all was sent")
        except BaseException:
            await self.aclose()
            raise
        body = Body(self, http, request.method, head, timeouts.get("read"), kept)
        return httpx.Response(head.status_code, headers=head.headers.raw_items(), stream=body)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def receive(self, http: h11.Connection, timeout: float | None) -> None:  # noqa: ASYNC109 - as httpcore's read
        """Let h11 have what has come."""
        http.receive_data(await self._stream.read(_HEAD_SIZE, timeout))

    async def receive_into(self, buffer: memoryview, timeout: float | None) -> int:  # noqa: ASYNC109 - as httpcore's read
        return await self._stream.receive_into(buffer, timeout)

    def rest(self) -> None:
        """The exchange is over, and another may follow."""
        self._expires = time.monotonic() + self._keepalive_s

    async def _send(self, http: h11.Connection, request: httpx.Request, write_s: float) -> None:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        target = request.extensions["target"]
        head = h11.Request(method=request.method, target=target, headers=request.headers.raw)
        await self._stream.write(http.send(head) or b"", write_s)
        async for chunk in request.stream:
            for data in http.send_with_data_passthrough(h11.Data(data=chunk)) or ():
                await self._stream.write(data, write_s)
        for data in http.send_with_data_passthrough(h11.EndOfMessage()) or ():
            await self._stream.write(data, write_s)

    async def _receive_head(self, http: h11.Connection, read_s: float) -> h11.Response:
        while not isinstance(event := http.next_event(), h11.Response):
            if event is h11.NEED_DATA:
                await self.receive(http, read_s)
            elif not isinstance(event, h11.InformationalResponse):
                raise httpcore.RemoteProtocolError("server closed without an answer")
        return event


class Body(httpx.AsyncByteStream):
    """An answer's body, to be received into buffers or iterated; not both."""

    def __init__(
        self,
        connection: Connection,
        http: h11.Connection,
        method: str,
        head: h11.Response,
        read_s: float | None,
        kept: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._http = http
        self._read_s = read_s
        self._kept = kept
        self._is_open = True
        self._remaining = _size_of(method, head)  # None: h11 finds the end
        self._unread = memoryview(b"")
        self._has_more = False  # than its size: that would be taken for the next answer
        if self._remaining is not None:
            received = http.trailing_data[0]
            self._has_more = len(received) > self._remaining
            self._unread = memoryview(received)[: self._remaining]

    async def receive_into(self, buffer: memoryview) -> int:
        """Fill some of *buffer*, which is not empty; 0 when the body is complete."""
        with errors_of_httpx():
            if self._remaining is None and not self._unread:
                self._unread = await self._next_of_h11()
            if self._unread:
                size = min(len(buffer), len(self._unread))
                buffer[:size] = self._unread[:size]
                self._unread = self._unread[size:]
            elif self._remaining:
                size = await self._connection.receive_into(buffer[: self._remaining], self._read_s)
                if not size:
                    raise httpcore.RemoteProtocolError("peer closed before the end of the body")
            else:
                return 0
        if self._remaining is not None:
            self._remaining -= size
        return size

    async def __aiter__(self) -> AsyncIterator[bytes]:
        most = _PIECE_SIZE if self._remaining is None else min(self._remaining, _PIECE_SIZE)
        buffer = memoryview(bytearray(most))
        while size := await self.receive_into(buffer):
            yield bytes(buffer[:size])

    async def aclose(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        # h11 gives another state to a connection that either side wants to have closed.
        if self._is_read() and self._http.our_state is h11.DONE:
            self._connection.rest()
            self._kept()
        else:
            await self._connection.aclose()

    def _is_read(self) -> bool:
        """Whether nothing is left on the connection: neither of this answer nor after it."""
        if self._remaining is None:
            return self._http.their_state is h11.DONE and not self._http.trailing_data[0]
        return not self._remaining and not self._has_more

    async def _next_of_h11(self) -> memoryview:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            await self._connection.receive(self._http, self._read_s)
        return memoryview(event.data if isinstance(event, h11.Data) else b"")


class Chunks:
    """The body of an answer that came by another transport."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._chunks = aiter(stream)
        self._unread = memoryview(b"")

    async def receive_into(self, buffer: memoryview) -> int:
        """As Body's."""
        while not self._unread:
            try:
                self._unread = memoryview(await anext(self._chunks))
            except StopAsyncIteration:
                return 0
        size = min(len(buffer), len(self._unread))
        buffer[:size] = self._unread[:size]
        self._unread = self._unread[size:]
        return size

    async def aclose(self) -> None:
        if isinstance(self._chunks, AsyncGenerator):
            await self._chunks.aclose()


def _size_of(method: str, head: h11.Response) -> int | None:
    """The size of the body that follows *head*; None if h11 had better find out."""
    if method == "HEAD" or head.status_code in (204, 304):
        return 0
    headers = dict(head.headers)
    if b"transfer-encoding" in headers:
        return None
    size = headers.get(b"content-length")
    return None if size is None else int(size)


@contextmanager
def errors_of_httpx() -> Iterator[None]:
    """What httpcore and h11 raise as what httpx promises its callers."""
    try:
        yield
    except (
        httpcore.LocalProtocolError,
        httpcore.UnsupportedProtocol,
        h11.LocalProtocolError,
    ) as error:
        raise httpx.LocalProtocolError(str(error)) from error
    except httpcore.TimeoutException as error:
        raise httpx.TimeoutException(str(error)) from error
    except (
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        h11.RemoteProtocolError,
    ) as error:
        raise httpx.TransportError(str(error)) from error
