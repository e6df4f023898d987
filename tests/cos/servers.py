"""A small HTTP/1.1 server on a real socket, with or without TLS."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

# Valid for 127.0.0.1 and localhost for a hundred years, and worth nothing elsewhere.
CERTIFICATE: Final = Path(__file__).parent.parent / "support" / "localhost.pem"

Handler = Callable[["Connection"], Awaitable[None]]


@dataclass(slots=True)
class Connection:
    """The server's end of a connection."""

    stream: trio.abc.Stream
    buffered: bytes = b""

    async def request(self) -> bytes | None:
        """The body of the next request; None when the client has closed."""
        while b"\r\n\r\n" not in self.buffered:
            if not await self._receive():
                return None
        head, _, self.buffered = self.buffered.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        size = int(fields.get(b"content-length", b"0"))
        while len(self.buffered) < size:
            if not await self._receive():
                return None
        body, self.buffered = self.buffered[:size], self.buffered[size:]
        return body

    async def answer(self, body: bytes = b"", *, status: int = 200) -> None:
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n\r\n"
        await self.stream.send_all(head.encode() + body)

    async def _receive(self) -> bool:
        received = await self.stream.receive_some(1 << 20)
        self.buffered += received
        return bool(received)


@dataclass(slots=True)
class Server:
    url: str = ""
    connections: list[Connection] = field(default_factory=list)


@asynccontextmanager
async def serving(handle: Handler, *, tls: bool = False) -> AsyncIterator[Server]:
    """Run *handle* for each connection until the block ends."""
    server = Server()

    async def accept(stream: trio.SocketStream) -> None:
        secured: trio.abc.Stream = stream
        if tls:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(CERTIFICATE)
            secured = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        connection = Connection(secured)
        server.connections.append(connection)
        try:
            await handle(connection)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # a client may refuse us, or go
        finally:
            await trio.aclose_forcefully(secured)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, accept, listeners)
        scheme = "https" if tls else "http"
        server.url = f"{scheme}://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        yield server
        nursery.cancel_scope.cancel()
