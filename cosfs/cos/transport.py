"""HTTP/1.1 connections made for moving large bodies and for many small requests.

httpx's own transport reads 64 KiB at a time, takes one 16 KiB record out of TLS a call, and its
pool polls every idle connection twice a request. Here a read takes what the kernel has, up to
1 MiB, and drains TLS; the newest idle connection is used next. How many connections there are is
for the caller to limit: one request in flight holds one.
"""

import math
import socket
import ssl
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final

import httpcore
import httpx
import trio

from cosfs.config import ServiceConfig
from cosfs.cos.connection import Connection, Stream, errors_of_httpx
from cosfs.errors import ConfigError

STEP: Final = 1 << 20  # bytes; what one read or write moves at most
_HELD_SIZE: Final = 16 << 10  # a short write: a request's head, and a small body with it
# COS may be silent for minutes while it merges; a server that is gone is noticed within one.
_KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3),
)
_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}
KEEPALIVE_S: Final = 30.0  # below the idle time after which load balancers drop a connection


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
            await self._idle.pop()[1].aclose()

    async def _take(self, origin: _Origin, request: httpx.Request) -> Connection:
        """The newest idle connection, else a new one. Those that have expired are closed."""
        # The oldest first: they expire first, and nothing else closes what a burst has left over.
        while self._idle and self._idle[0][1].has_expired:
            await self._idle.pop(0)[1].aclose()
        for index in reversed(range(len(self._idle))):
            if self._idle[index][0] == origin:
                _, connection = self._idle.pop(index)
                if not connection.has_expired:
                    return connection
                await connection.aclose()
                break
        timeout_s = request.extensions.get("timeout", {}).get("connect")
        with errors_of_httpx():
            stream = await _connect(origin, self._tls, timeout_s)
        return Connection(stream, keepalive_s=KEEPALIVE_S)


async def _connect(origin: _Origin, tls: ssl.SSLContext | None, timeout_s: float | None) -> Stream:
    """Connect with TCP_NODELAY, which is trio's default, and with keepalive."""
    scheme, host, port = origin
    with _Step(timeout_s, httpcore.ConnectTimeout, httpcore.ConnectError):
        stream = await trio.open_tcp_stream(host, port)
        for level, option, value in _KEEPALIVE:
            stream.setsockopt(level, option, value)
    if scheme != "https":
        return _TcpStream(stream)
    assert tls is not None
    secured = _TlsStream(stream, tls, host)
    try:
        with _Step(timeout_s, httpcore.ConnectTimeout, httpcore.ConnectError):
            await secured.handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


class _TcpStream(Stream):
    """A TCP connection; a read takes what has come, up to STEP.

    A short write waits for the next write or read, so that the head and the body of a small
    request leave together: one system call and one packet, not two of each.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._held = b""

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's signature
        with _Step(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            if self._held:
                # A server that has refused the request and closed may have said why.
                with suppress(trio.BrokenResourceError):
                    await self._send(b"")
            return bytes(await self._stream.receive_some(max_bytes))

    async def receive_into(self, buffer: memoryview, timeout: float | None) -> int:  # noqa: ASYNC109 - as httpcore's read
        with _Step(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            return await self._stream.socket.recv_into(buffer)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's signature
        if len(self._held) + len(buffer) <= _HELD_SIZE:
            self._held += buffer
            return
        view = memoryview(buffer)
        # A limit for each step makes it one of inactivity: a large body may take longer.
        for start in range(0, len(view), STEP):
            with _Step(timeout, httpcore.WriteTimeout, httpcore.WriteError):
                await self._send(view[start : start + STEP])

    async def _send(self, data: bytes | memoryview) -> None:
        if self._held:
            held, self._held = self._held, b""
            await self._stream.send_all(held)
        if data:
            await self._stream.send_all(data)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> object:
        return self._stream.socket.is_readable() if info == "is_readable" else None


class _TlsStream(Stream):
    """TLS over a TCP connection; a read takes all records that have come.

    HTTP/1.1 does not read and write at once, so the two buffers need no lock. Short writes are
    held back as in _TcpStream: in the buffer of what is to be sent, encrypted already.
    """

    def __init__(
        self, stream: trio.SocketStream, context: ssl.SSLContext, hostname: str | None
    ) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._is_ended = False  # by the server
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)

    async def handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            else:
                await self._flush()
                return

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's signature
        buffer = bytearray(max_bytes)
        size = await self.receive_into(memoryview(buffer), timeout)
        return bytes(buffer[:size])

    async def receive_into(self, buffer: memoryview, timeout: float | None) -> int:  # noqa: ASYNC109 - as httpcore's read
        with _Step(timeout, httpcore.ReadTimeout, httpcore.ReadError):
            # A server that has refused the request and closed may have said why.
            with suppress(trio.BrokenResourceError):
                await self._flush()
            while not (size := self._decrypt(buffer)) and not self._is_ended:
                await self._fill()
            return size

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's signature
        view = memoryview(buffer)
        # In steps, so that a large body is not in memory a second time, encrypted.
        for start in range(0, len(view), STEP):
            with _Step(timeout, httpcore.WriteTimeout, httpcore.WriteError):
                self._tls.write(view[start : start + STEP])
                if self._outgoing.pending > _HELD_SIZE:
                    await self._flush()

    async def aclose(self) -> None:
        # No goodbye: HTTP/1.1 bodies know their length, and the server need not wait for us.
        await trio.aclose_forcefully(self._stream)

    def get_extra_info(self, info: str) -> object:
        if info == "ssl_object":
            return self._tls
        if info != "is_readable":
            return None
        is_left = self._tls.pending() or self._incoming.pending
        return bool(is_left) or self._stream.socket.is_readable()

    def _decrypt(self, buffer: memoryview) -> int:
        """Put into *buffer* what can be decrypted now."""
        size = 0
        while size < len(buffer):
            try:
                # A record a call, 16 KiB at most.
                got = self._read_record(buffer[size:])
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                got = 0
            if not got:
                self._is_ended = True
                break
            size += got
        return size

    def _read_record(self, buffer: memoryview) -> int:
        # typeshed knows the form without a buffer only.
        return self._tls.read(len(buffer), buffer)  # type: ignore[return-value]

    async def _fill(self) -> None:
        received = await self._stream.receive_some(STEP)
        if received:
            self._incoming.write(received)
        else:
            self._incoming.write_eof()

    async def _flush(self) -> None:
        if self._outgoing.pending:
            await self._stream.send_all(self._outgoing.read())


def _tls_context(config: ServiceConfig) -> ssl.SSLContext:
    if not config.verify_tls:
        return httpx.create_ssl_context(verify=False)
    if config.ca_bundle is None:
        return httpx.create_ssl_context()
    try:
        return ssl.create_default_context(cafile=str(config.ca_bundle))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"CA bundle {config.ca_bundle}: {error}; use a PEM file") from error


class _Step:
    """A part of an exchange that must make progress within *seconds*, with httpcore's errors.

    A class, because this is entered for every read and write, and a generator costs twice as much.
    """

    __slots__ = ("_error", "_scope", "_seconds", "_timeout")

    def __init__(
        self,
        seconds: float | None,
        timeout: type[httpcore.TimeoutException],
        error: type[httpcore.NetworkError],
    ) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self._timeout = timeout
        self._error = error
        self._scope = trio.move_on_after(self._seconds)

    def __enter__(self) -> None:
        self._scope.__enter__()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._scope.__exit__(exc_type, exc, traceback)
        if self._scope.cancelled_caught:
            raise self._timeout(f"nothing moved for {self._seconds:g} s") from exc
        if isinstance(exc, (trio.BrokenResourceError, trio.ClosedResourceError, OSError)):
            raise self._error(str(exc.__cause__ or exc)) from exc
