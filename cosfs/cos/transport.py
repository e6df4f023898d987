"""HTTP/1.1 connections made for moving large bodies and for many small requests.

httpx's own transport reads 64 KiB at a time, takes one 16 KiB record out of TLS a call, and its
pool polls every idle connection twice a request. Here a read takes what the kernel has, up to
1 MiB, and drains TLS; the newest idle connection is used next. How many connections there are is
for the caller to limit: one request in flight holds one.
"""

import math
import select
import socket
import ssl
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar

import httpx
import trio

from cosfs.config import ServiceConfig
from cosfs.cos.connection import Connection, Stream
from cosfs.errors import ConfigError

STEP: Final = 1 << 20  # bytes; what one read or write moves at most
_SMALL_SIZE: Final = 16 << 10  # bytes; a write of more lets others run
# COS may be silent for minutes while it merges; a server that is gone is noticed within one.
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
KEEPALIVE_S: Final = 30.0  # below the idle time after which load balancers drop a connection


T = TypeVar("T")
U = TypeVar("U")


def open_transport(config: ServiceConfig, url: str) -> httpx.AsyncBaseTransport:
    """The transport for *url*, through the proxy that the environment names for it, if any."""
    tls = _tls_context(config) if url.startswith("https:") else None
    target = httpx.URL(url)
    proxy = urllib.request.getproxies().get(target.scheme)
    if proxy and not urllib.request.proxy_bypass(target.host):
        return _ProxyTransport(verify=tls or True, proxy=proxy, trust_env=False)
    return Transport(tls)


_Origin = tuple[str, str, int]
"""Scheme, host and port."""


class _ProxyTransport(httpx.AsyncHTTPTransport):
    """httpx's own, for proxies; it would ask a proxy for the target that was meant for COS."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.url = request.url.copy_with(raw_path=request.extensions.pop("target"))
        return await super().handle_async_request(request)


class Transport(httpx.AsyncBaseTransport):
    """Connections to any origin, kept while they are idle and fresh."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._idle: list[tuple[_Origin, Connection]] = []  # the newest last

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        origin = (url.scheme, url.host, url.port or _PORTS[url.scheme])
        connection = await self._take(origin, request)
        return await connection.exchange(
            request, kept=lambda: self._idle.append((origin, connection))
        )

    async def aclose(self) -> None:
        while self._idle:
            self._idle.pop()[1].close()

    async def _take(self, origin: _Origin, request: httpx.Request) -> Connection:
        """The newest idle connection, else a new one. Those that have expired are closed."""
        # The oldest first: they expire first, and nothing else closes what a burst has left over.
        while self._idle and self._idle[0][1].has_expired:
            self._idle.pop(0)[1].close()
        for index in reversed(range(len(self._idle))):
            if self._idle[index][0] == origin:
                _, connection = self._idle.pop(index)
                if connection.is_usable:
                    return connection
                connection.close()
                break
        limit_s = request.extensions.get("timeout", {}).get("connect")
        stream = await _connect(origin, self._tls, limit_s)
        return Connection(stream, keepalive_s=KEEPALIVE_S)


async def _connect(origin: _Origin, tls: ssl.SSLContext | None, limit_s: float | None) -> Stream:
    """Connect with TCP_NODELAY, which is trio's default, and with keepalive."""
    scheme, host, port = origin
    with _errors_of_connecting(limit_s):
        opened = await trio.open_tcp_stream(host, port)
        for level, option, value in _KEEPALIVE:
            opened.setsockopt(level, option, value)
    stream = _TcpStream(socket.socket(fileno=opened.socket.detach()))
    if scheme != "https":
        return stream
    assert tls is not None
    secured = _TlsStream(stream, tls, host)
    try:
        with _errors_of_connecting(limit_s):
            await secured.handshake()
    except BaseException:
        stream.close()
        raise
    return secured


@contextmanager
def _errors_of_connecting(limit_s: float | None) -> Iterator[None]:
    try:
        with trio.fail_after(math.inf if limit_s is None else limit_s):
            yield
    except trio.TooSlowError as error:
        raise httpx.ConnectTimeout(f"no connection within {limit_s:g} s") from error
    except (OSError, httpx.TransportError) as error:
        raise httpx.ConnectError(str(error.__cause__ or error)) from error


class _TcpStream(Stream):
    """A TCP connection; a read takes what has come.

    trio's own sockets let others run in every call. Here they run while something is waited for,
    and after a call that has moved much; and only what waits has a deadline, which costs as much
    as a small request's system calls.
    """

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)

    @property
    def is_readable(self) -> bool:
        return bool(self._poll.poll(0))

    async def receive(self, most: int, limit_s: float | None) -> bytes:
        return await self._received(self._socket.recv, most, limit_s)

    async def receive_into(self, buffer: memoryview, limit_s: float | None) -> int:
        return await self._received(self._socket.recv_into, buffer, limit_s)

    async def send(self, data: bytes, limit_s: float | None) -> None:
        rest = memoryview(data)
        while rest:
            try:
                sent = self._socket.send(rest[:STEP])
            except BlockingIOError:
                if not await self._waited(trio.lowlevel.wait_writable, limit_s):
                    raise httpx.WriteTimeout(f"nothing sent for {limit_s:g} s") from None
            except OSError as error:
                raise httpx.WriteError(str(error)) from error
            else:
                rest = rest[sent:]
                if sent > _SMALL_SIZE:
                    await trio.lowlevel.checkpoint()

    def close(self) -> None:
        trio.lowlevel.notify_closing(self._socket)
        self._socket.close()

    async def _received(self, call: Callable[[U], T], argument: U, limit_s: float | None) -> T:
        has_waited = False
        while True:
            try:
                received = call(argument)
            except BlockingIOError:
                if not await self._waited(trio.lowlevel.wait_readable, limit_s):
                    raise httpx.ReadTimeout(f"nothing came for {limit_s:g} s") from None
                has_waited = True
            except OSError as error:
                raise httpx.ReadError(str(error)) from error
            else:
                if not has_waited:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                return received

    async def _waited(
        self, wait: Callable[[socket.socket], Awaitable[None]], limit_s: float | None
    ) -> bool:
        """Whether *wait* ended within *limit_s*."""
        deadline = math.inf if limit_s is None else trio.current_time() + limit_s
        with trio.CancelScope(deadline=deadline):
            await wait(self._socket)
            return True
        return False


class _TlsStream(Stream):
    """TLS over a TCP connection; a read takes all records that have come.

    HTTP/1.1 does not read and write at once, so the two buffers need no lock.
    """

    def __init__(self, stream: _TcpStream, context: ssl.SSLContext, hostname: str) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)

    async def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush(None)
                await self._fill(None)
            else:
                await self._flush(None)
                return

    @property
    def is_readable(self) -> bool:
        return bool(self._tls.pending() or self._incoming.pending) or self._stream.is_readable

    async def receive(self, most: int, limit_s: float | None) -> bytes:
        buffer = memoryview(bytearray(most))
        return bytes(buffer[: await self.receive_into(buffer, limit_s)])

    async def receive_into(self, buffer: memoryview, limit_s: float | None) -> int:
        while (size := self._decrypt(buffer)) is None:
            await self._fill(limit_s)
        return size

    async def send(self, data: bytes, limit_s: float | None) -> None:
        view = memoryview(data)
        # In steps, so that a large body is not in memory a second time, encrypted.
        for start in range(0, len(view), STEP):
            try:
                self._tls.write(view[start : start + STEP])
            except ssl.SSLError as error:
                raise httpx.WriteError(str(error)) from error
            await self._flush(limit_s)

    def close(self) -> None:
        self._stream.close()

    def _decrypt(self, buffer: memoryview) -> int | None:
        """Put into *buffer* what can be decrypted now; None: nothing, 0: nothing more will be."""
        size = 0
        while size < len(buffer):
            try:
                # A record a call, 16 KiB at most.
                got = self._read_record(buffer[size:])
            except ssl.SSLWantReadError:
                return size or None
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                break
            except ssl.SSLError as error:
                raise httpx.ReadError(str(error)) from error
            if not got:
                break
            size += got
        return size

    def _read_record(self, buffer: memoryview) -> int:
        # typeshed knows the form without a buffer only.
        return self._tls.read(len(buffer), buffer)  # type: ignore[return-value]

    async def _fill(self, limit_s: float | None) -> None:
        received = await self._stream.receive(STEP, limit_s)
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()

    async def _flush(self, limit_s: float | None) -> None:
        if self._outgoing.pending:
            await self._stream.send(self._outgoing.read(), limit_s)


def _tls_context(config: ServiceConfig) -> ssl.SSLContext:
    if not config.verify_tls:
        return httpx.create_ssl_context(verify=False)
    if config.ca_bundle is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=str(config.ca_bundle))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"CA bundle {config.ca_bundle}: {error}; use a PEM file") from error
