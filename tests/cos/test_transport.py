"""Connections on real sockets."""

from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import httpx
import pytest
import trio

from cosfs.config import ServiceConfig
from cosfs.cos.model import Key, ObjectProperties
from cosfs.cos.transport import Transport, open_transport
from cosfs.errors import AccessDenied, ConfigError, DeadlineExceeded, TransportError
from tests.cos.scripted import BUCKET, client_of
from tests.cos.servers import CERTIFICATE, Connection, Server, serving

BIG = bytes(range(256)) * (3 << 12)  # 3 MiB
TRUSTING = ServiceConfig(bucket=BUCKET, ca_bundle=CERTIFICATE)
TIMEOUT = {"connect": 5.0, "read": 5.0, "write": 5.0, "pool": None}

pytestmark = pytest.mark.timeout(20)


class Chunks(httpx.AsyncByteStream):
    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


async def exchange(
    transport: httpx.AsyncBaseTransport,
    url: str,
    body: bytes = b"",
    *,
    read_s: float = 5.0,
    method: str = "PUT",
) -> bytes:
    halves = Chunks(body[: len(body) // 2], body[len(body) // 2 :])
    host = httpx.URL(url).netloc.decode()
    request = httpx.Request(
        method,
        url,
        headers={"host": host, "content-length": str(len(body))},
        stream=halves,
        extensions={"timeout": TIMEOUT | {"read": read_s}, "target": b"/a%20b"},
    )
    response = await transport.handle_async_request(request)
    assert isinstance(response.stream, httpx.AsyncByteStream)
    try:
        return b"".join([chunk async for chunk in response.stream])
    finally:
        await response.stream.aclose()


async def echo(connection: Connection) -> None:
    while (body := await connection.request()) is not None:
        await connection.answer(body)


def transport_to(server: Server) -> httpx.AsyncBaseTransport:
    return open_transport(TRUSTING, server.url)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("body", [b"", b"small", BIG], ids=["empty", "small", "big"])
async def test_bytes_come_through_in_both_directions(tls: bool, body: bytes) -> None:  # noqa: FBT001 - a parameter of the test
    async with serving(echo, tls=tls) as server, transport_to(server) as transport:
        for _ in range(3):
            assert await exchange(transport, server.url, body) == body
        assert len(server.connections) == 1


async def test_connections_are_shared_by_nobody() -> None:
    async with serving(echo) as server, transport_to(server) as transport:
        answers: dict[bytes, bytes] = {}

        async def ask(body: bytes) -> None:
            answers[body] = await exchange(transport, server.url, body)

        async with trio.open_nursery() as nursery:
            for number in range(8):
                nursery.start_soon(ask, b"%d" % number * 1000)
        assert all(body == answer for body, answer in answers.items())
        assert len(server.connections) == 8


@pytest.mark.parametrize("tls", [False, True])
async def test_connection_that_the_server_closed_is_not_used_again(tls: bool) -> None:  # noqa: FBT001 - a parameter of the test
    closed = trio.Event()

    async def answer_once(connection: Connection) -> None:
        body = await connection.request()
        await connection.answer(body or b"")
        await trio.aclose_forcefully(connection.stream)
        closed.set()

    async with serving(answer_once, tls=tls) as server, transport_to(server) as transport:
        await exchange(transport, server.url, b"1")
        await closed.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert await exchange(transport, server.url, b"2") == b"2"
        assert len(server.connections) == 2


async def test_connection_with_an_unread_answer_is_not_used_again() -> None:
    async def interrupt(connection: Connection) -> None:
        await connection.request()
        await connection.stream.send_all(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n1")
        await connection.request()

    async with serving(interrupt) as server, transport_to(server) as transport:
        with pytest.raises(httpx.TimeoutException):
            await exchange(transport, server.url, read_s=0.05)
        with pytest.raises(httpx.TimeoutException):
            await exchange(transport, server.url, read_s=0.05)
        assert len(server.connections) == 2


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize(("method", "size"), [("PUT", 5), ("PUT", 1 << 20), ("HEAD", 0)])
async def test_second_answer_to_one_request_is_not_taken_for_the_next(
    method: str,
    size: int,
    tls: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """The first answer's body may end in the middle of what TLS has decrypted."""
    wrong = b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\nwrong"

    async def answer_twice(connection: Connection) -> None:
        while await connection.request() is not None:
            head = f"HTTP/1.1 200 X\r\nContent-Length: {size}\r\n\r\n"
            await connection.stream.send_all(head.encode() + bytes(size) + wrong)

    async with serving(answer_twice, tls=tls) as server, transport_to(server) as transport:
        for _ in range(3):
            assert await exchange(transport, server.url, method=method) == bytes(size)
        assert len(server.connections) == 3


@pytest.mark.parametrize("tls", [False, True])
async def test_refusal_before_the_body_was_read_is_heard(tls: bool) -> None:  # noqa: FBT001 - a parameter of the test
    async def refuse(connection: Connection) -> None:
        await connection.stream.receive_some(1000)
        await connection.answer(status=403)

    async with serving(refuse, tls=tls) as server:
        config = ServiceConfig(bucket=BUCKET, endpoint=server.url, ca_bundle=CERTIFICATE)
        async with client_of(open_transport(config, server.url), config) as client:
            with pytest.raises((AccessDenied, TransportError)) as caught:
                await client.put_object(Key("k"), [b"small"], properties=ObjectProperties())
            assert isinstance(caught.value, AccessDenied)


async def test_success_before_the_body_was_read_is_none() -> None:
    async def praise(connection: Connection) -> None:
        await connection.stream.receive_some(1000)
        await connection.stream.send_all(
            b'HTTP/1.1 200 X\r\nETag: "e"\r\nContent-Length: 0\r\n\r\n'
        )

    async with serving(praise) as server:
        config = ServiceConfig(bucket=BUCKET, endpoint=server.url, timeout_s=0.5)
        async with client_of(open_transport(config, server.url), config) as client:
            with pytest.raises((TransportError, DeadlineExceeded)):
                await client.put_object(Key("k"), [BIG] * 8, properties=ObjectProperties())


async def test_cut_answer_is_a_transport_error() -> None:
    async def cut(connection: Connection) -> None:
        await connection.request()
        await connection.stream.send_all(b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\n1")

    async with serving(cut) as server, transport_to(server) as transport:
        with pytest.raises(httpx.TransportError, match=r"peer closed|incomplete|cut"):
            await exchange(transport, server.url)


async def test_nobody_listening_is_a_transport_error() -> None:
    transport = Transport(None)
    with pytest.raises(httpx.TransportError, match="connect"):
        await exchange(transport, "http://127.0.0.1:1")


async def test_unknown_certificate_is_refused_at_once_and_named() -> None:
    async with serving(echo, tls=True) as server:
        config = ServiceConfig(bucket=BUCKET, endpoint=server.url)
        async with client_of(open_transport(config, server.url), config) as client:
            with pytest.raises(TransportError, match="certificate") as caught:
                await client.head_bucket()
            assert caught.value.attempts == 1


async def test_unknown_certificate_is_taken_when_told_so() -> None:
    async with serving(echo, tls=True) as server:
        config = ServiceConfig(bucket=BUCKET, endpoint=server.url, verify_tls=False)
        async with open_transport(config, server.url) as transport:
            assert await exchange(transport, server.url, b"x") == b"x"


def test_bundle_that_is_none_is_a_config_error(tmp_path_factory: pytest.TempPathFactory) -> None:
    missing = tmp_path_factory.mktemp("tls") / "missing.pem"
    with pytest.raises(ConfigError, match=str(missing)):
        open_transport(ServiceConfig(bucket=BUCKET, ca_bundle=missing), "https://example.com")


@pytest.mark.parametrize(
    ("environ", "goes_by_proxy"),
    [
        ({}, False),
        ({"http_proxy": "http://127.0.0.1:1"}, True),
        ({"https_proxy": "http://127.0.0.1:1"}, False),
        ({"http_proxy": "http://127.0.0.1:1", "no_proxy": "example.com"}, False),
    ],
)
def test_proxy_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
    environ: dict[str, str],
    goes_by_proxy: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    set_variable: Callable[[str, str], None] = monkeypatch.setenv
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environ.items():
        set_variable(name, value)
    transport = open_transport(ServiceConfig(bucket=BUCKET), "http://example.com")
    assert isinstance(transport, httpx.AsyncHTTPTransport) is goes_by_proxy


@pytest.mark.parametrize(
    ("scheme", "asked"),
    [
        ("http", b"PUT http://example.com/a%20b HTTP/1.1"),
        ("https", b"CONNECT example.com:443 HTTP/1.1"),
    ],
)
async def test_proxy_is_asked_for_what_it_has_to_reach(
    monkeypatch: pytest.MonkeyPatch, scheme: str, asked: bytes
) -> None:
    heads: list[bytes] = []

    async def refuse(connection: Connection) -> None:
        heads.append(bytes(await connection.stream.receive_some(1 << 16)))
        await connection.answer(status=403)

    async with serving(refuse) as server:
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.setenv(f"{scheme}_proxy", server.url)
        url = f"{scheme}://example.com"
        async with open_transport(ServiceConfig(bucket=BUCKET), url) as transport:
            with suppress(httpx.ProxyError):
                await exchange(transport, url)
    assert heads[0].startswith(asked + b"\r\n")
