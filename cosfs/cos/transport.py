"""HTTP/1.1 connections made for moving large bodies and for many small requests.

httpx's own transport reads 64 KiB at a time, takes one 16 KiB record out of TLS a call, and its
pool polls every idle connection twice a request. Here a read takes what the kernel has, up to
1 MiB, and drains TLS; the newest idle connection is used next. How many connections there are is
for the caller to limit: one request in flight holds one.
"""

import math
import ssl
import urllib.request
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import httpcore
import httpx
import trio

from cosfs.config import ServiceConfig
from cosfs.errors import ConfigError

STEP: Final = 1 << 20  # bytes; what one read or write moves at most
KEEPALIVE_S: Final = 30.0  # below the idle time after which load balancers drop a connection


def open_transport(config: ServiceConfig, url: str) -> httpx.AsyncBaseTransport:
    """The transport for *url*, through the proxy that the environment names for it, if any."""
    tls = _tls_context(config) if url.startswith("https:") else None
    target = httpx.URL(url)
    proxy = urllib.request.getproxies().get(target.scheme)
    if proxy and not urllib.request.proxy_bypass(target.host):
        return httpx.AsyncHTTPTransport(verify=tls or True, proxy=proxy, trust_env=False)
    return Transport(tls)


class Transport(httpx.AsyncBaseTransport):
    """Connections to any origin, kept while they are idle and fresh."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._backend = _Network()
        self._idle: dict[httpcore.Origin, list[httpcore.AsyncHTTPConnection]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        url = request.url
        outgoing = httpcore.Request(
            request.method,
            httpcore.URL(
                scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        connection = await self._take(outgoing.url.origin)
        with _errors_of_httpx():
            response = await connection.handle_async_request(outgoing)
        assert isinstance(response.stream, AsyncIterable)
        return httpx.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response.stream, connection, self._idle[outgoing.url.origin]),
        )

    async def aclose(self) -> None:
        idle = [connection for kept in self._idle.values() for connection in kept]
        self._idle.clear()
        for connection in idle:
            await connection.aclose()

    async def _take(self, origin: httpcore.Origin) -> httpcore.AsyncHTTPConnection:
        """The newest idle connection, else a new one. Those that have expired are closed."""
        kept = self._idle.setdefault(origin, [])
        # The oldest first: they expire first. Nothing else closes what a burst has left over.
        while kept and kept[0].has_expired():
            await kept.pop(0).aclose()
        while kept:
            connection = kept.pop()
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return httpcore.AsyncHTTPConnection(
            origin,
            ssl_context=self._tls,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=self._backend,
        )


class _Body(httpx.AsyncByteStream):
    """An answer's body; closing it keeps the connection if the answer was read to its end."""

    def __init__(
        self,
        stream: AsyncIterable[bytes],
        connection: httpcore.AsyncHTTPConnection,
        kept: list[httpcore.AsyncHTTPConnection],
    ) -> None:
        self._stream = stream
        self._connection = connection
        self._kept = kept
        self._is_open = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _errors_of_httpx():
            async for chunk in self._stream:
                yield chunk

    async def aclose(self) -> None:
        if not self._is_open:
            return
        self._is_open = False
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            with trio.CancelScope(shield=True):
                await close()
        if self._connection.is_idle():
            self._kept.append(self._connection)


class _Network(httpcore.AsyncNetworkBackend):
    """Connects with TCP_NODELAY, which is trio's default."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 - same
    ) -> httpcore.AsyncNetworkStream:
        with _time_limit(timeout, httpcore.ConnectTimeout), _broken_as(httpcore.ConnectError):
            stream = await trio.open_tcp_stream(host, port, local_address=local_address)
        return _TcpStream(stream)


class _TcpStream(httpcore.AsyncNetworkStream):
    """A TCP connection; a read takes what has come, up to STEP."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109 - httpcore's signature
        with _time_limit(timeout, httpcore.ReadTimeout), _broken_as(httpcore.ReadError):
            return bytes(await self._stream.receive_some(STEP))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's signature
        view = memoryview(buffer)
        # A limit for each step makes it one of inactivity: a large body may take longer.
        for start in range(0, len(view), STEP):
            with _time_limit(timeout, httpcore.WriteTimeout), _broken_as(httpcore.WriteError):
                await self._stream.send_all(view[start : start + STEP])

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        secured = _TlsStream(self._stream, ssl_context, server_hostname)
        try:
            with _time_limit(timeout, httpcore.ConnectTimeout), _broken_as(httpcore.ConnectError):
                await secured.handshake()
        except BaseException:
            await trio.aclose_forcefully(self._stream)
            raise
        return secured

    def get_extra_info(self, info: str) -> object:
        return self._stream.socket.is_readable() if info == "is_readable" else None


class _TlsStream(httpcore.AsyncNetworkStream):
    """TLS over a TCP connection; a read takes all records that have come.

    HTTP/1.1 never reads and writes at once, so neither do the two buffers need a lock.
    """

    def __init__(
        self, stream: trio.SocketStream, context: ssl.SSLContext, hostname: str | None
    ) -> None:
        self._stream = stream
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
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

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002, ASYNC109 - httpcore's signature
        with _time_limit(timeout, httpcore.ReadTimeout), _broken_as(httpcore.ReadError):
            while True:
                records, is_ended = self._drain()
                if records or is_ended:
                    return b"".join(records)
                await self._flush()  # a key update may have to be answered
                await self._fill()

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's signature
        view = memoryview(buffer)
        # In steps, also so that a large body is not in memory a second time, encrypted.
        for start in range(0, len(view), STEP):
            with _time_limit(timeout, httpcore.WriteTimeout), _broken_as(httpcore.WriteError):
                self._tls.write(view[start : start + STEP])
                await self._flush()

    async def aclose(self) -> None:
        # No goodbye: HTTP/1.1 bodies know their length, and the server need not wait for us.
        await trio.aclose_forcefully(self._stream)

    def get_extra_info(self, info: str) -> object:
        if info == "ssl_object":
            return self._tls
        return self._stream.socket.is_readable() if info == "is_readable" else None

    def _drain(self) -> tuple[list[bytes], bool]:
        """All that can be decrypted now, and whether the server has closed its side."""
        records: list[bytes] = []
        while True:
            try:
                record = self._tls.read(STEP)
            except ssl.SSLWantReadError:
                return records, False
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return records, True
            if not record:
                return records, True
            records.append(record)

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


@contextmanager
def _time_limit(seconds: float | None, error: type[httpcore.TimeoutException]) -> Iterator[None]:
    with trio.move_on_after(math.inf if seconds is None else seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise error(f"nothing moved for {seconds:g} s")


@contextmanager
def _broken_as(error: type[httpcore.NetworkError]) -> Iterator[None]:
    try:
        yield
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as cause:
        raise error(str(cause.__cause__ or cause)) from cause


@contextmanager
def _errors_of_httpx() -> Iterator[None]:
    """What httpcore raises as what httpx promises its callers."""
    try:
        yield
    except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol) as error:
        raise httpx.LocalProtocolError(str(error)) from error
    except httpcore.TimeoutException as error:
        raise httpx.TimeoutException(str(error)) from error
    except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ProxyError) as error:
        raise httpx.TransportError(str(error)) from error
