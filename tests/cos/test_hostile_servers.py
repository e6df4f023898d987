"""Bytes on a socket that are no answer: each request ends in time, with its error."""

import pytest
import trio

from cosfs.config import ServiceConfig
from cosfs.cos.client import CosClient
from cosfs.cos.download import Collected
from cosfs.cos.model import ByteRange, Key, ObjectProperties
from cosfs.cos.transport import open_transport
from cosfs.errors import CosError, DeadlineExceeded
from tests.cos.scripted import BUCKET, client_of
from tests.cos.servers import Connection, Server, serving

pytestmark = pytest.mark.timeout(30)

KEY = Key("k")
TIMEOUT_S = 0.3
OK = b'HTTP/1.1 200 OK\r\nx-cos-request-id: i\r\nETag: "e"\r\n'

ANSWERS = {
    "nothing": b"",
    "noise": bytes(range(256)),
    "tls": b"\x15\x03\x01\x00\x02\x02\x28",
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "odd status": b"HTTP/1.1 99999 what\r\nContent-Length: 0\r\n\r\n",
    "half a head": OK,
    "huge header": OK + b"a: " + b"b" * (1 << 20) + b"\r\n\r\n",
    "many headers": OK + b"a: b\r\n" * 100_000 + b"\r\n",
    "negative length": OK + b"Content-Length: -1\r\n\r\n",
    "absurd length": OK + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length past the end": OK + b"Content-Length: 100\r\n\r\nabc",
    "chunked noise": OK + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\nabc\r\n",
    "chunk without end": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "absurd chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc",
    "gzip": OK + b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
    "html": OK + b"Content-Length: 20\r\n\r\n<!DOCTYPE html><html",
    "json": OK + b'Content-Length: 8\r\n\r\n{"a": 1}',
    "continue for ever": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    "switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "redirect to itself": b"HTTP/1.1 301 Moved\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    "header with a line break": OK + b"Content-Length: 0\r\n a\r\n\r\n",
    "header that is no text": OK + b"ETag: \xff\xfe\r\nContent-Length: 0\r\n\r\n",
}


def client_to(server: Server) -> CosClient:
    config = ServiceConfig(
        bucket=BUCKET, endpoint=server.url, timeout_s=TIMEOUT_S, connect_timeout_s=TIMEOUT_S
    )
    return client_of(open_transport(config, server.url), config)


@pytest.mark.parametrize("name", list(ANSWERS))
async def test_what_is_no_answer_ends_each_request_in_time(name: str) -> None:
    async def answer(connection: Connection) -> None:
        await connection.request()
        await connection.stream.send_all(ANSWERS[name])
        if name != "nothing":
            await trio.sleep_forever()  # a half of something may be all that comes

    async with serving(answer) as server, client_to(server) as client:
        with trio.fail_after(4 * TIMEOUT_S + 2):
            with pytest.raises(CosError):
                await client.list_objects()
            with pytest.raises(CosError):
                await client.get_object(KEY, ByteRange(0, 10), sink=Collected())


async def test_handshake_that_stalls_is_given_up() -> None:
    async def say_nothing(_: Connection) -> None:
        await trio.sleep_forever()

    async with serving(say_nothing) as server:
        server.url = server.url.replace("http:", "https:")
        async with client_to(server) as client:
            with trio.fail_after(2 * TIMEOUT_S + 2), pytest.raises(DeadlineExceeded):
                await client.head_bucket()


async def test_name_that_cannot_be_resolved_is_told() -> None:
    server = Server(url="http://cos.invalid")
    async with client_to(server) as client:
        with trio.fail_after(10), pytest.raises(DeadlineExceeded):
            await client.head_bucket()


async def test_body_that_nobody_reads_is_given_up() -> None:
    """A socket's buffer swallows the first megabytes of every attempt."""

    async def never_read(_: Connection) -> None:
        await trio.sleep_forever()

    async with serving(never_read) as server, client_to(server) as client:
        with trio.fail_after(2 * TIMEOUT_S + 2), pytest.raises(DeadlineExceeded):
            await client.put_object(KEY, [bytes(1 << 20)] * 16, properties=ObjectProperties())
