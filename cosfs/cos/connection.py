"""One HTTP/1.1 connection, one exchange at a time. httptools parses heads and undoes chunks.

Invariants: nothing goes out that could be read as another request; a connection is used again
only if all that came on it was one answer. A body of known size does not pass through the parser,
which would copy each byte: it is received straight into the memory where it is wanted.
"""

import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from functools import lru_cache
from typing import Final

import httptools
import httpx

_HEAD_SIZE: Final = 64 << 10  # bytes; no head is longer, nor what comes between two chunks
_HEAD_END: Final = b"\r\n\r\n"
_PIECE_SIZE: Final = 1 << 20  # bytes received at once for those who iterate a body
_HELD_SIZE: Final = 16 << 10  # a request's head, and a small body with it, leave in one packet
_TARGET: Final = re.compile(rb"[!-~]+")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, "Tokens"
_LINE_ENDS: Final = b"\r\n\0"


class Stream(ABC):
    """A connection's bytes. What goes wrong is one of httpx's errors.

    *limit_s* is for how long nothing at all may move.
    """

    @property
    @abstractmethod
    def is_readable(self) -> bool:
        """Whether something came that was not received, or the server has closed."""

    @abstractmethod
    async def receive(self, most: int, limit_s: float | None) -> bytes:
        """What has come, up to *most* bytes; b"" at the end."""

    @abstractmethod
    async def receive_into(self, buffer: memoryview, limit_s: float | None) -> int:
        """Fill some of *buffer*, which is not empty; 0 at the end."""

    @abstractmethod
    async def send(self, data: bytes, limit_s: float | None) -> None:
        """Send all of *data*."""

    @abstractmethod
    def close(self) -> None:
        """Close without a goodbye: HTTP/1.1 bodies know their length. Does not yield."""


class Connection:
    """A connection to one server. Whoever exchanges holds it until the answer's body is closed."""

    def __init__(self, stream: Stream, *, keepalive_s: float) -> None:
        self.stream = stream
        self._keepalive_s = keepalive_s
        self._expires = math.inf

    @property
    def has_expired(self) -> bool:
        """Whether it has been idle for too long."""
        return time.monotonic() > self._expires

    @property
    def is_usable(self) -> bool:
        """Whether a request may go out: the server has neither closed nor said something."""
        return not self.has_expired and not self.stream.is_readable

    async def exchange(self, request: httpx.Request, kept: Callable[[], None]) -> httpx.Response:
        """Send *request*; its answer, with the body still to be received.

        Closing the body calls *kept* if the connection can be used again, and else closes it.
        """
        timeouts = request.extensions.get("timeout", {})
        read_s = timeouts.get("read")
        try:
            is_sent = False
            # A server that refuses a request may say why before it closes.
            with suppress(httpx.WriteError):
                await self._send(request, timeouts.get("write"))
                is_sent = True
            answer, received = await self._receive_head(read_s)
            if not is_sent and answer.status < 300:
                raise httpx.RemoteProtocolError("a success before all was sent")
            answer.keeps_connection &= is_sent
            size = answer.body_size(request.method)
            body = Body(self, answer, size, received, limit_s=read_s, kept=kept)
        except BaseException:
            self.close()
            raise
        return httpx.Response(answer.status, headers=answer.fields, stream=body)

    def rest(self) -> None:
        """The exchange is over, and another may follow."""
        self._expires = time.monotonic() + self._keepalive_s

    def close(self) -> None:
        self.stream.close()

    async def _send(self, request: httpx.Request, limit_s: float | None) -> None:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        held = _head_of(request)
        missing = int(request.headers.get("content-length", "0"))
        async for piece in request.stream:
            missing -= len(piece)
            if missing < 0:
                break
            if len(held) + len(piece) <= _HELD_SIZE:
                held += piece
            else:
                await self.stream.send(held, limit_s)
                held = piece
        if missing:
            raise httpx.LocalProtocolError("the body is not as long as Content-Length says")
        await self.stream.send(held, limit_s)

    async def _receive_head(self, limit_s: float | None) -> tuple["_Answer", bytes]:
        """The final answer, its head parsed, and what has come after that."""
        answer, received = _Answer(), b""
        while not answer.has_head:
            data = await self.stream.receive(_HEAD_SIZE, limit_s)
            if not data:
                raise httpx.RemoteProtocolError("server closed without an answer")
            received += data
            answer.parse_head(received)
            while answer.has_head and answer.status < 200:  # such as 100 Continue
                received = received[answer.head_size :]
                answer = _Answer()
                answer.parse_head(received)
        return answer, received[answer.head_size :]


def _head_of(request: httpx.Request) -> bytes:
    """The bytes of a request's head. LocalProtocolError if they could be read as another's."""
    target = request.extensions["target"]
    if not _TARGET.fullmatch(target):
        raise httpx.LocalProtocolError(f"target {target[:80]!r}")
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), target)]
    for name, value in request.headers.raw:
        if not _is_name(name) or len(value.translate(None, _LINE_ENDS)) != len(value):
            raise httpx.LocalProtocolError(f"header {name[:80]!r}: its name or value is none")
        lines.append(b"%s: %s" % (name, value))
    return b"\r\n".join(lines) + _HEAD_END


@lru_cache(maxsize=256)
def _is_name(name: bytes) -> bool:
    return bool(_NAME.fullmatch(name))


class _Events:
    """What httptools has found in an answer; it calls the on_… methods."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.pieces: list[bytes] = []  # of a chunked body
        self.is_complete = False

    def on_message_begin(self) -> None:
        if self.is_complete:
            raise httpx.RemoteProtocolError("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.has_head:  # else of a trailer, which nobody needs
            self.fields.append((name.lower(), value.strip()))

    def on_headers_complete(self) -> None:
        self.has_head = True

    def on_body(self, piece: bytes) -> None:
        self.pieces.append(piece)

    def on_message_complete(self) -> None:
        self.is_complete = True


class _Answer:
    """An answer's head, and its body if that is chunked.

    Nothing else is for the parser, which neither knows that answers to HEAD have no body nor gives
    back what it was fed too much. It refuses heads that anybody could frame in another way: with
    two lengths, a length and chunks, folded lines, lines that end in LF alone.
    """

    def __init__(self) -> None:
        self.status = 0
        self.fields: list[tuple[bytes, bytes]] = []
        self.has_head = False
        self.head_size = 0  # as far as it was parsed
        self.is_chunked = False
        self.has_more = False  # after the last chunk
        self.keeps_connection = False  # the server, as far as it says
        self._events = _Events()
        self._parser = httptools.HttpResponseParser(self._events)

    def parse_head(self, received: bytes) -> None:
        """Go on with all of *received*, which grows from call to call."""
        end = received.find(_HEAD_END, max(0, self.head_size - len(_HEAD_END)))
        size = len(received) if end < 0 else end + len(_HEAD_END)
        if size > _HEAD_SIZE:
            raise httpx.RemoteProtocolError(f"a head of over {_HEAD_SIZE} bytes")
        self._parse(received[self.head_size : size])
        self.head_size = size
        if end < 0:
            return
        self.status = self._parser.get_status_code()
        # It would take other versions, and skip empty lines: of what, if not of another answer?
        if not (self._events.has_head and received.startswith(b"HTTP/1.") and self.status >= 100):
            raise httpx.RemoteProtocolError(f"not an answer of HTTP/1.1: {received[:40]!r}")
        self.has_head = True
        self.fields = self._events.fields
        self.keeps_connection = received.startswith(b"HTTP/1.1") and (
            b"close" not in (self.said(b"connection") or b"")
        )

    def said(self, name: bytes) -> bytes | None:
        """The header called *name*, in lower case; None without one."""
        values = [value for name_of, value in self.fields if name_of == name]
        return b",".join(values).lower() if values else None

    def body_size(self, method: str) -> int | None:
        """The size of the body, which answers a *method*; None if only its end will tell."""
        coding = self.said(b"transfer-encoding")
        if coding not in (None, b"chunked"):
            raise httpx.RemoteProtocolError(f"transfer coding {coding!r}")
        if method == "HEAD" or self.status in (204, 304):
            return 0
        self.is_chunked = coding is not None
        size = self.said(b"content-length")
        return None if size is None else int(size)

    @property
    def is_complete(self) -> bool:
        """Whether the last chunk has come."""
        return self._events.is_complete

    def chunks_in(self, data: bytes) -> bytes:
        """What the chunks hold that go on with *data*."""
        try:
            self._parse(data)
        except httpx.RemoteProtocolError:
            if not self.is_complete:
                raise
            self.has_more = True
        pieces = b"".join(self._events.pieces)
        self._events.pieces.clear()
        return pieces

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise httpx.RemoteProtocolError(f"not an answer of HTTP/1.1: {error!r}") from error


class Body(httpx.AsyncByteStream):
    """An answer's body, to be received into buffers or piece by piece; not both."""

    def __init__(
        self,
        connection: Connection,
        answer: _Answer,
        size: int | None,
        received: bytes,
        *,
        limit_s: float | None,
        kept: Callable[[], None],
    ) -> None:
        """*received* is what came with the head."""
        self._connection = connection
        self._answer = answer
        self._limit_s = limit_s
        self._kept = kept
        self._is_open = True
        self._remaining = size  # None: it comes in chunks, or until the connection ends
        if answer.is_chunked:
            received = answer.chunks_in(received)
        self._has_more = size is not None and len(received) > size
        self._unread = memoryview(received)[:size]

    async def receive_into(self, buffer: memoryview) -> int:
        """Fill some of *buffer*, which is not empty; 0 when the body is complete."""
        if self._remaining is None and not self._unread:
            self._unread = memoryview(await self._next())
        if self._unread:
            size = min(len(buffer), len(self._unread))
            buffer[:size] = self._unread[:size]
            self._unread = self._unread[size:]
        elif self._remaining:
            size = await self._connection.stream.receive_into(
                buffer[: self._remaining], self._limit_s
            )
            if not size:
                raise httpx.RemoteProtocolError("peer closed before the end of the body")
        else:
            return 0
        if self._remaining is not None:
            self._remaining -= size
        return size

    async def receive(self) -> bytes:
        """What comes next, b"" when the body is complete."""
        if self._remaining is None and not self._unread:
            return await self._next()
        most = len(self._unread) or min(self._remaining or 0, _PIECE_SIZE)
        buffer = memoryview(bytearray(most))
        return bytes(buffer[: await self.receive_into(buffer)]) if most else b""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while piece := await self.receive():
            yield piece

    async def aclose(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        if self._is_read() and self._answer.keeps_connection:
            self._connection.rest()
            self._kept()
        else:
            self._connection.close()

    def _is_read(self) -> bool:
        """Whether nothing is left on the connection: neither of this answer nor after it."""
        if self._remaining is None:
            return self._answer.is_complete and not self._answer.has_more
        return not self._remaining and not self._has_more

    async def _next(self) -> bytes:
        """Some of a body whose size is not known."""
        if not self._answer.is_chunked:
            return await self._connection.stream.receive(_PIECE_SIZE, self._limit_s)
        between = 0  # two chunks: bytes that are none of the body
        while not self._answer.is_complete:
            data = await self._connection.stream.receive(_HEAD_SIZE, self._limit_s)
            if not data:
                raise httpx.RemoteProtocolError("peer closed before the last chunk")
            if piece := self._answer.chunks_in(data):
                return piece
            between += len(data)
            if between > _HEAD_SIZE:
                raise httpx.RemoteProtocolError(f"over {_HEAD_SIZE} bytes between two chunks")
        return b""


class Chunks:
    """The body of an answer that came by another transport."""

    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._chunks = aiter(stream)
        self._unread = memoryview(b"")

    async def receive_into(self, buffer: memoryview) -> int:
        """As Body's."""
        if not self._unread:
            self._unread = memoryview(await self.receive())
        size = min(len(buffer), len(self._unread))
        buffer[:size] = self._unread[:size]
        self._unread = self._unread[size:]
        return size

    async def receive(self) -> bytes:
        """As Body's."""
        async for chunk in self._chunks:
            if chunk:
                return chunk
        return b""

    async def aclose(self) -> None:
        if isinstance(self._chunks, AsyncGenerator):
            await self._chunks.aclose()
