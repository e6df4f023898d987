"""The Api on sockets: HTTP/1.1 with h11 for heads and chunks.

A request body of known length is read from the socket past h11, in large pieces; that is why each
request gets an h11 connection of its own, which starts with what the last one left unread.
"""

import socket
import struct
from abc import abstractmethod
from collections.abc import AsyncIterator, Sequence
from ssl import SSLContext
from typing import Final

import h11
import trio

from cosfs.emulator.api import Api
from cosfs.emulator.messages import Disconnect, Request, Response
from cosfs.emulator.refusals import Refusal
from cosfs.emulator.streams import Buffer

_HEAD_RECEIVE_SIZE: Final = 64 << 10
_RECEIVE_SIZE: Final = 1 << 20
_JOINED_SIZE: Final = 64 << 10  # a smaller answer goes out in one call
_DRAIN_SIZE: Final = 64 << 20  # of an unread body: a client that is still sending sees the answer
_BACKLOG: Final = 512


async def listen(host: str, port: int) -> list[trio.SocketListener]:
    """Sockets that take connections from now on; port 0 takes a free one. Raises OSError."""
    return await trio.open_tcp_listeners(port, host=host, backlog=_BACKLOG)


def port_of(listeners: Sequence[trio.SocketListener]) -> int:
    """The port of the first of *listeners*."""
    port: int = listeners[0].socket.getsockname()[1]
    return port


async def serve(
    api: Api, listeners: list[trio.SocketListener], tls: SSLContext | None = None
) -> None:
    """Answer on *listeners* until cancelled."""

    async def handler(stream: trio.SocketStream) -> None:
        await _Connection(api, stream, tls).run()

    await trio.serve_listeners(handler, listeners)


class _Connection:
    """One client's connection: requests one after the other."""

    def __init__(self, api: Api, stream: trio.SocketStream, tls: SSLContext | None) -> None:
        self._api = api
        self._socket = stream.socket
        self._stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = (
            stream
            if tls is None
            else trio.SSLStream(stream, tls, server_side=True, https_compatible=True)
        )
        self.unread = b""  # received, but not part of a request yet

    async def run(self) -> None:
        """Serve until either side ends it. A client's misbehaviour ends its connection only."""
        try:
            while await self._exchange():
                pass
        except Disconnect as error:
            if error.reset:
                linger = struct.pack("ii", 1, 0)  # close() then sends RST
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
            pass
        except OSError:
            pass  # the disk failed within a body: the client sees it cut, as with any server
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _exchange(self) -> bool:
        """Answer one request; False if it was the last."""
        http = h11.Connection(h11.SERVER)
        head = await self._receive_head(http)
        if head is None:
            return False
        body = _body(self, http, head)
        response = await self._api.handle(_request(head, body))
        try:
            await body.drain()
            await self._respond(http, response)
        finally:
            response.close()
        return http.our_state is h11.DONE and body.is_over

    async def _receive_head(self, http: h11.Connection) -> h11.Request | None:
        if self.unread:
            http.receive_data(self.unread)
        try:
            while (event := http.next_event()) is h11.NEED_DATA:
                http.receive_data(await self.receive(_HEAD_RECEIVE_SIZE))
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
            head = h11.Response(status_code=status, headers=[("Connection", "close")])
            await self.send([http.send(head) or b""])
            raise
        return event if isinstance(event, h11.Request) else None

    async def receive(self, size: int) -> bytes:
        """At most *size* bytes as soon as there are any; empty at the end."""
        return bytes(await self._stream.receive_some(size))

    async def send(self, buffers: Sequence[Buffer]) -> None:
        """Send small *buffers* in one call, large ones without a copy."""
        if sum(map(len, buffers)) <= _JOINED_SIZE:
            buffers = [b"".join(buffers)]
        for buffer in filter(len, buffers):
            await self._stream.send_all(buffer)

    async def _respond(self, http: h11.Connection, response: Response) -> None:
        headers = [(name.encode(), _to_bytes(value)) for name, value in response.headers.items()]
        head = h11.Response(status_code=response.status, headers=headers)
        # The head goes out with the first buffer of the body: one packet for a small answer.
        pending = http.send_with_data_passthrough(head) or []
        async for chunk in response.body:
            # h11 passes any buffer through, but its types know only bytes.
            pending += http.send_with_data_passthrough(h11.Data(data=chunk)) or []  # type: ignore[arg-type]
            await self.send(pending)
            pending = []
        pending += http.send_with_data_passthrough(h11.EndOfMessage()) or []
        await self.send(pending)


class _RequestBody(AsyncIterator[Buffer]):
    """A body as it arrives. Asks a client that waits for it with 100 to go on."""

    is_over = False

    def __init__(self, connection: _Connection, http: h11.Connection) -> None:
        self._connection = connection
        self._http = http

    async def __anext__(self) -> Buffer:
        if self.is_over:
            raise StopAsyncIteration
        if self._http.they_are_waiting_for_100_continue:
            go_on = h11.InformationalResponse(status_code=100, headers=[])
            await self._connection.send([self._http.send(go_on) or b""])
        return await self._receive()

    async def drain(self) -> None:
        """Read what nobody wanted, so that the client reads the answer; not more than 64 MiB."""
        size = 0
        while not self.is_over and size < _DRAIN_SIZE:
            if self._http.they_are_waiting_for_100_continue:
                return
            try:
                size += len(await anext(self))
            except (StopAsyncIteration, Refusal):
                return

    @abstractmethod
    async def _receive(self) -> Buffer: ...


class _SizedBody(_RequestBody):
    """A body with Content-Length, read past h11."""

    def __init__(self, connection: _Connection, http: h11.Connection, size: int) -> None:
        super().__init__(connection, http)
        self._remaining = size
        self.is_over = size == 0
        connection.unread = http.trailing_data[0]

    async def _receive(self) -> Buffer:
        connection, size = self._connection, min(self._remaining, _RECEIVE_SIZE)
        if connection.unread:
            data, connection.unread = connection.unread[:size], connection.unread[size:]
        else:
            data = await connection.receive(size)
        if not data:
            raise Refusal("IncompleteBody")
        self._remaining -= len(data)
        self.is_over = self._remaining == 0
        return data


class _ChunkedBody(_RequestBody):
    """A body in chunks, read through h11."""

    async def _receive(self) -> Buffer:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._connection.receive(_HEAD_RECEIVE_SIZE))
        except h11.RemoteProtocolError as error:
            raise Refusal("IncompleteBody") from error
        if isinstance(event, h11.Data):
            return bytes(event.data)
        self.is_over = True
        self._connection.unread = self._http.trailing_data[0]
        raise StopAsyncIteration


def _body(connection: _Connection, http: h11.Connection, head: h11.Request) -> _RequestBody:
    headers = dict(head.headers)
    if b"transfer-encoding" in headers:
        return _ChunkedBody(connection, http)
    return _SizedBody(connection, http, int(headers.get(b"content-length", b"0")))


def _request(head: h11.Request, body: _RequestBody) -> Request:
    return Request(
        method=head.method.decode(),
        target=head.target.decode("ascii"),
        headers=[(name.decode(), _to_text(value)) for name, value in head.headers],
        body=body,
    )


def _to_text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _to_bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")
