from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest
import trio

from cosfs.emulator.faults import Fault, parse_faults
from tests.support.emulated import RunningServer, make_api, running_server


@pytest.fixture
async def server() -> AsyncIterator[RunningServer]:
    async with running_server(make_api(anonymous=True)) as server:
        yield server


@pytest.fixture
async def client(server: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.url) as client:
        yield client


@asynccontextmanager
async def connection(server: RunningServer) -> AsyncIterator[trio.SocketStream]:
    """A socket to write HTTP on, with ten seconds to do it."""
    with trio.fail_after(10):
        stream = await trio.open_tcp_stream("127.0.0.1", int(server.url.rpartition(":")[2]))
        async with stream:
            yield stream


async def read_until(stream: trio.SocketStream, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        received = await stream.receive_some(4096)
        assert received, data
        data += received
    return data


async def test_server_keeps_a_connection_for_many_requests(server: RunningServer) -> None:
    async with connection(server) as stream:
        for _ in range(3):
            await stream.send_all(b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok")
            assert b" 200 " in await read_until(stream, b"\r\n\r\n")


async def test_server_answers_requests_sent_ahead(server: RunningServer) -> None:
    put = b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"
    get = b"GET /k HTTP/1.1\r\nHost: x\r\n\r\n"
    async with connection(server) as stream:
        await stream.send_all(put + get)

        assert await read_until(stream, b"\r\n\r\nok")


async def test_server_takes_chunked_bodies(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one,"
        yield b"two"

    await client.put("/k", content=chunks())

    assert (await client.get("/k")).content == b"one,two"


async def test_server_asks_a_waiting_client_for_its_body(server: RunningServer) -> None:
    head = b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    async with connection(server) as stream:
        await stream.send_all(head)
        assert (await read_until(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await stream.send_all(b"ok")

        assert b" 200 " in await read_until(stream, b"\r\n\r\n")


async def test_server_refuses_a_waiting_client_before_its_body(server: RunningServer) -> None:
    server.faults.add(Fault(status=403))
    head = b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    async with connection(server) as stream:
        await stream.send_all(head)

        assert (await read_until(stream, b"</Error>")).startswith(b"HTTP/1.1 403 ")
        assert await stream.receive_some(1) == b""


async def test_body_that_ends_early_leaves_nothing(server: RunningServer) -> None:
    async with connection(server) as stream:
        await stream.send_all(b"PUT /k HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nshort")
        await stream.send_eof()

        assert b"<Code>IncompleteBody</Code>" in await read_until(stream, b"</Error>")

    assert repr(server.api.service.store.bodies) == "<MemoryBodies files=0>"


async def test_refused_upload_is_read_to_its_end_and_answered(client: httpx.AsyncClient) -> None:
    body = b"x" * (8 << 20)

    answer = await client.put("/k", content=body, headers={"content-md5": "bad"})
    after = await client.put("/k", content=b"good")

    assert (answer.status_code, after.status_code) == (400, 200)


async def test_large_bodies_come_back_whole(client: httpx.AsyncClient) -> None:
    body = bytes(range(256)) * (40 << 10)

    await client.put("/k", content=body)

    assert (await client.get("/k")).content == body
    part = await client.get("/k", headers={"range": "bytes=3000001-7000000"})
    assert part.content == body[3000001:7000001]


async def test_reset_breaks_the_connection(
    server: RunningServer, client: httpx.AsyncClient
) -> None:
    server.faults.add(Fault(reset=True))

    with pytest.raises(httpx.ReadError):
        await client.get("/k")


async def test_lost_answer_ends_the_connection(
    server: RunningServer, client: httpx.AsyncClient
) -> None:
    server.faults.add(Fault(operation="PutObject", lose=True))

    with pytest.raises(httpx.RemoteProtocolError):
        await client.put("/k", content=b"x")

    assert (await client.get("/k")).content == b"x"


async def test_cut_answer_is_shorter_than_its_length(
    server: RunningServer, client: httpx.AsyncClient
) -> None:
    await client.put("/k", content=b"x" * 100)
    server.faults.add(Fault(operation="GetObject", cut=10))

    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/k")


async def test_head_has_the_length_and_no_body(client: httpx.AsyncClient) -> None:
    await client.put("/k", content=b"12345")

    answer = await client.head("/k")
    again = await client.head("/k")

    assert (answer.headers["content-length"], answer.content) == ("5", b"")
    assert again.status_code == 200


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("examplebucket-1250000000.cos.ap-guangzhou.myqcloud.com", "/dir/k"),
        ("examplebucket-1250000000.cos-internal.ap-guangzhou.tencentcos.cn:9000", "/dir/k"),
        ("examplebucket-1250000000.localhost:9000", "/dir%2Fk"),
        ("127.0.0.1:9000", "/examplebucket-1250000000/dir/k"),
        ("cos.ap-guangzhou.myqcloud.com", "/examplebucket-1250000000/dir/k"),
        ("files.example.com", "/dir/k"),
    ],
)
async def test_bucket_is_found_in_host_or_path(
    client: httpx.AsyncClient, host: str, path: str
) -> None:
    put = await client.put(path, content=b"x", headers={"host": host})

    listed = await client.get("/?prefix=dir/")
    assert put.status_code == 200
    assert "<Key>dir/k</Key>" in listed.text


async def test_unknown_bucket_is_reported(client: httpx.AsyncClient) -> None:
    host = "other-1250000000.cos.ap-guangzhou.myqcloud.com"

    answer = await client.get("/k", headers={"host": host})

    assert answer.status_code == 404
    assert "<Code>NoSuchBucket</Code>" in answer.text


async def test_buckets_are_made_listed_and_removed(client: httpx.AsyncClient) -> None:
    made = await client.put("/other-1250000000")
    again = await client.put("/other-1250000000")
    await client.put("/other-1250000000/k", content=b"x")
    full = await client.delete("/other-1250000000/")
    listed = await client.get("/")
    await client.delete("/other-1250000000/k")
    removed = await client.delete("/other-1250000000")

    statuses = [each.status_code for each in (made, again, full, removed)]
    assert statuses == [200, 409, 409, 204]
    assert "<Name>other-1250000000</Name>" in listed.text


async def test_head_without_sense_is_refused_by_name(server: RunningServer) -> None:
    async with connection(server) as stream:
        await stream.send_all(b"what is this?\r\n\r\n")

        assert b"HTTP/1.1 400 " in await read_until(stream, b"\r\n\r\n")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
async def test_server_outlives_every_fault(server: RunningServer, method: str) -> None:
    rules = [
        *("body=page", "body=", "padding=9", "status=204", "status=304 body=page"),
        *("wrong_crc64", "cut=1", "cut=0", "corrupt", "lose", "reset", "error_in_200"),
        *("no_request_id", "status=599 code=Odd", "bandwidth=100", "status=200 body=page"),
    ]
    for rule in rules:
        server.faults.set(parse_faults(rule))
        async with connection(server) as stream:
            head = f"{method} /k HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"
            with suppress(trio.BrokenResourceError):  # a reset may come at any moment
                await stream.send_all(head.encode())
                await stream.send_eof()
                while await stream.receive_some(4096):
                    pass
    server.faults.set([])
    async with httpx.AsyncClient(base_url=server.url) as client:
        assert (await client.put("/k", content=b"x")).status_code == 200
