"""Bounded time: what a service that is away, silent or slow costs, and what outlives it."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
import trio

from cosfs.config import ServiceConfig
from cosfs.cos.checksum import crc64
from cosfs.cos.client import CosClient
from cosfs.cos.credentials import Credentials, StaticCredentials
from cosfs.cos.download import Collected
from cosfs.cos.health import FIRST_PAUSE_S, MAX_PAUSE_S, HealthState
from cosfs.cos.model import ByteRange, CopySource, ETag, Key, ObjectProperties, Part, UploadId
from cosfs.cos.patience import SLOWEST_BYTES_PER_S
from cosfs.emulator.service import Limits
from cosfs.errors import CosError, DeadlineExceeded, ServiceAway
from tests.cos.clocks import run_jumping
from tests.cos.emulation import MIN_PART, PART, content_of
from tests.cos.outages import Away, Outage
from tests.cos.scripted import Reply, ScriptedTransport, error_reply
from tests.support.emulated import BUCKET, SECRET_ID, SECRET_KEY, EmulatedTransport, make_api

pytestmark = pytest.mark.trio(run=run_jumping)

Operation = Callable[[CosClient], Awaitable[object]]

MIB = 1 << 20
KEY = Key("a/b")
OTHER = Key("c")
PLAIN = ObjectProperties()
UPLOAD = UploadId("1700000000abc")
ONE_PART = [Part(number=1, size=1, etag=ETag("e"), crc64=1)]
LARGE = [bytes(MIB)] * 8
TIMEOUT_S = 10.0


NAMES: dict[str, Operation] = {
    "head": lambda client: client.head_object(KEY),
    "list": lambda client: client.list_objects(),
    "bucket": lambda client: client.head_bucket(),
    "service": lambda client: client.list_buckets(),
    "delete": lambda client: client.delete_object(KEY),
    "delete many": lambda client: client.delete_objects([KEY, OTHER]),
    "parts": lambda client: client.list_parts(KEY, UPLOAD),
    "uploads": lambda client: client.list_multipart_uploads(),
}
FILES: dict[str, Operation] = {
    "get": lambda client: client.get_object(KEY, sink=Collected()),
    "range": lambda client: client.get_object(KEY, ByteRange(0, 8 * MIB), sink=Collected()),
    "put": lambda client: client.put_object(KEY, LARGE, properties=PLAIN),
    "small put": lambda client: client.put_object(KEY, [b"x"], properties=PLAIN),
    "part": lambda client: client.upload_part(KEY, UPLOAD, 1, LARGE),
    "initiate": lambda client: client.initiate_multipart_upload(KEY, properties=PLAIN),
    "abort": lambda client: client.abort_multipart_upload(KEY, UPLOAD),
    "copy": lambda client: client.copy_object(CopySource(key=KEY), OTHER),
    "part copy": lambda client: client.upload_part_copy(
        KEY, UPLOAD, 1, CopySource(key=OTHER, span=ByteRange(0, 1))
    ),
    "complete": lambda client: client.complete_multipart_upload(KEY, UPLOAD, ONE_PART, crc64=None),
}


def client_on(
    transport: httpx.AsyncBaseTransport, *, timeout_s: float = TIMEOUT_S, connections: int = 32
) -> CosClient:
    config = ServiceConfig(
        bucket=BUCKET,
        endpoint="http://127.0.0.1:9000",
        timeout_s=timeout_s,
        connections=connections,
    )
    credentials = StaticCredentials(Credentials(secret_id=SECRET_ID, secret_key=SECRET_KEY))
    return CosClient(config, credentials, transport=transport)


def is_away(client: CosClient) -> bool:
    return client.health.state is HealthState.AWAY


async def seconds_to_fail(client: CosClient, operation: Operation) -> float:
    """For how long *operation* tries before it says that nobody answers."""
    began = trio.current_time()
    with pytest.raises(DeadlineExceeded):
        await operation(client)
    return trio.current_time() - began


@pytest.mark.parametrize("kind", list(Away))
@pytest.mark.parametrize("name", list(NAMES))
async def test_names_are_given_up_within_the_timeout(name: str, kind: Away) -> None:
    client = client_on(Outage(kind=kind))
    assert await seconds_to_fail(client, NAMES[name]) <= TIMEOUT_S


@pytest.mark.parametrize("swallows", [0, 3 * MIB])
@pytest.mark.parametrize("kind", list(Away))
@pytest.mark.parametrize("name", list(FILES))
async def test_files_are_given_up_after_twice_the_timeout(
    name: str, kind: Away, swallows: int
) -> None:
    client = client_on(Outage(kind=kind, swallows=swallows))
    assert TIMEOUT_S <= await seconds_to_fail(client, FILES[name]) <= 2 * TIMEOUT_S


async def test_completion_without_an_answer_is_looked_for_once_more() -> None:
    client = client_on(Outage())
    took_s = await seconds_to_fail(
        client,
        lambda client: client.complete_multipart_upload(KEY, UPLOAD, ONE_PART, crc64=1),
    )
    assert took_s <= 3 * TIMEOUT_S


async def test_several_attempts_fit_into_the_timeout() -> None:
    transport = Outage(kind=Away.SILENT)
    await seconds_to_fail(client_on(transport), NAMES["head"])
    assert transport.attempts == 2
    transport = Outage(kind=Away.SILENT)
    await seconds_to_fail(client_on(transport, timeout_s=60), FILES["put"])
    assert transport.attempts == 4


async def test_caller_in_a_hurry_hears_what_was_wrong() -> None:
    client = client_on(Outage(kind=Away.REFUSING))
    with trio.fail_after(3), pytest.raises(DeadlineExceeded, match="connection refused"):
        await client.head_object(KEY)


@pytest.fixture
def emulated() -> EmulatedTransport:
    return EmulatedTransport(make_api(limits=Limits(min_part=MIN_PART)))


@pytest.mark.parametrize("kind", list(Away))
async def test_upload_outlives_an_outage_of_a_minute_at_any_step(
    emulated: EmulatedTransport, kind: Away
) -> None:
    outage = Outage(emulated, kind=kind, stop=0)
    client = client_on(outage, timeout_s=60)

    async def lose_a_minute() -> None:
        outage.start = trio.current_time()
        outage.stop = outage.start + 60

    await lose_a_minute()
    upload_id = await client.initiate_multipart_upload(KEY, properties=PLAIN)
    await lose_a_minute()
    parts = [await client.upload_part(KEY, upload_id, 1, [PART])]
    await lose_a_minute()
    parts.append(await client.upload_part(KEY, upload_id, 2, [b"tail"]))
    await lose_a_minute()
    whole = crc64([PART, b"tail"])
    await client.complete_multipart_upload(KEY, upload_id, parts, crc64=whole)
    await lose_a_minute()
    await client.put_object(OTHER, [b"x"], properties=PLAIN)
    await lose_a_minute()
    await client.copy_object(CopySource(key=KEY), OTHER)
    await lose_a_minute()
    assert await content_of(client, OTHER) == PART + b"tail"
    assert client.health.state is HealthState.ANSWERING


class Slow(ScriptedTransport):
    """Takes a chunk of a body each *pause_s*, and then answers."""

    def __init__(self, *, pause_s: float) -> None:
        super().__init__(Reply(headers={"etag": '"e"'}))
        self._pause_s = pause_s

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async for _chunk in request.stream:
            await trio.sleep(self._pause_s)
        return await super().handle_async_request(request)


async def test_body_that_moves_slowly_is_not_given_up() -> None:
    client = client_on(Slow(pause_s=15))
    await client.put_object(KEY, LARGE, properties=PLAIN)
    assert trio.current_time() > 5 * TIMEOUT_S


async def test_download_that_moves_slowly_is_not_given_up() -> None:
    reply = Reply(headers={"etag": '"e"', "content-length": str(MIB)}, body=bytes(MIB))
    client = client_on(Dripping(reply, pause_s=3.5, drop=MIB // 8))
    received = Collected()
    await client.get_object(KEY, sink=received)
    assert sum(map(len, received.chunks)) == MIB
    assert trio.current_time() > 2 * TIMEOUT_S


@pytest.mark.parametrize("name", ["put", "part"])
async def test_body_that_crawls_is_given_up_in_the_end(name: str) -> None:
    almost_still = Slow(pause_s=2 * TIMEOUT_S - 1)
    took_s = await seconds_to_fail(client_on(almost_still), FILES[name])
    assert took_s == pytest.approx(2 * TIMEOUT_S + 8 * MIB / SLOWEST_BYTES_PER_S)


class Dripping(ScriptedTransport):
    """Answers at once, and then with *drop* bytes of the answer each *pause_s*."""

    def __init__(self, reply: Reply, *, pause_s: float, drop: int = 1) -> None:
        super().__init__(reply)
        self._pause_s = pause_s
        self._drop = drop

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx.AsyncByteStream)
        content = b"".join([chunk async for chunk in response.stream])
        return httpx.Response(
            response.status_code,
            headers=response.headers,
            stream=_Drops(content, self._pause_s, self._drop),
        )


class _Drops(httpx.AsyncByteStream):
    def __init__(self, content: bytes, pause_s: float, drop: int) -> None:
        self._content = content
        self._pause_s = pause_s
        self._drop = drop

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._content), self._drop):
            await trio.sleep(self._pause_s)
            yield self._content[start : start + self._drop]


async def test_completion_takes_its_time_while_white_space_comes() -> None:
    done = b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
    client = client_on(Dripping(Reply(body=b" " * 20 + done), pause_s=8))
    stored = await client.complete_multipart_upload(KEY, UPLOAD, ONE_PART, crc64=None)
    assert stored.etag == "e"
    assert trio.current_time() > 20 * TIMEOUT_S


async def test_listing_that_drips_is_given_up_within_the_timeout() -> None:
    client = client_on(Dripping(Reply(body=b" " * 1000), pause_s=1))
    assert await seconds_to_fail(client, NAMES["list"]) == pytest.approx(TIMEOUT_S)


@pytest.mark.parametrize(
    "reply", [error_reply(503, "SlowDown"), error_reply(200, "InternalError")]
)
async def test_completion_that_is_only_refused_is_given_up(reply: Reply) -> None:
    client = client_on(ScriptedTransport(reply))
    assert await seconds_to_fail(client, FILES["complete"]) <= 2 * TIMEOUT_S


async def silent_for_a_while(client: CosClient) -> None:
    await seconds_to_fail(client, NAMES["head"])


@pytest.mark.parametrize("kind", list(Away))
async def test_calls_fail_fast_once_the_service_is_away(kind: Away) -> None:
    transport = Outage(kind=kind)
    client = client_on(transport)
    await silent_for_a_while(client)
    await trio.sleep(MAX_PAUSE_S)
    asked = transport.attempts
    with pytest.raises(DeadlineExceeded):  # let through, to try
        await client.head_object(KEY)
    tried = transport.attempts
    began = trio.current_time()
    with pytest.raises(
        ServiceAway, match=r"http://127.0.0.1:9000 has not answered since "
    ) as told:
        await client.list_objects()
    assert "tried again at " in str(told.value)
    assert trio.current_time() == began
    assert asked < tried == transport.attempts


async def test_one_call_in_a_while_tries_whether_the_service_is_back() -> None:
    transport = Outage(kind=Away.REFUSING)
    client = client_on(transport)
    await silent_for_a_while(client)
    tries: list[float] = []
    until = trio.current_time() + 100
    while trio.current_time() < until:
        asked = transport.attempts
        with pytest.raises(DeadlineExceeded):
            await client.head_object(KEY)
        if transport.attempts > asked:
            tries.append(trio.current_time())
        await trio.sleep(0.5)
    assert 100 / (MAX_PAUSE_S + 6) < len(tries) < 100 / FIRST_PAUSE_S / 2


@pytest.mark.parametrize("kind", list(Away))
async def test_service_that_is_back_is_used_at_once(
    emulated: EmulatedTransport, kind: Away
) -> None:
    outage = Outage(emulated, kind=kind)
    client = client_on(outage)
    await silent_for_a_while(client)
    assert is_away(client)
    outage.stop = trio.current_time()
    await trio.sleep(MAX_PAUSE_S)

    await client.list_objects()

    assert not is_away(client)
    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(client.list_objects)


async def test_health_tells_since_when_and_why_and_when_it_is_tried_again() -> None:
    client = client_on(Outage(kind=Away.REFUSING))
    assert client.health.state is HealthState.ANSWERING
    assert client.health.last_error == ""
    await silent_for_a_while(client)
    health = client.health
    assert health.state is HealthState.AWAY
    assert health.last_error == "connection refused"
    assert health.url == "http://127.0.0.1:9000"
    assert health.next_try is not None
    assert health.next_try > health.since


@pytest.mark.parametrize("kind", list(Away))
async def test_queue_of_uploads_ends_as_soon_as_a_single_one(kind: Away) -> None:
    client = client_on(Outage(kind=kind), connections=1)
    ended: list[float] = []

    async def put() -> None:
        ended.append(await seconds_to_fail(client, FILES["put"]))

    async with trio.open_nursery() as nursery:
        for _ in range(30):
            nursery.start_soon(put)
    assert max(ended) <= 2 * TIMEOUT_S + TIMEOUT_S / 2


async def test_queue_of_uploads_outlives_an_outage(emulated: EmulatedTransport) -> None:
    client = client_on(Outage(emulated, stop=60), timeout_s=60, connections=2)
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(put_small, client, Key(f"k{number}"))
    assert len((await client.list_objects()).objects) == 20


async def put_small(client: CosClient, key: Key) -> None:
    await client.put_object(key, [b"x"], properties=PLAIN)


async def test_queue_of_names_is_refused_when_the_service_goes() -> None:
    client = client_on(Outage())
    ended: list[float] = []

    async def ask() -> None:
        ended.append(await seconds_to_fail(client, NAMES["head"]))

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(ask)
    assert max(ended) <= TIMEOUT_S


async def test_errors_are_answers_and_open_nothing() -> None:
    client = client_on(ScriptedTransport(error_reply(503, "SlowDown")))
    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            await client.head_object(KEY)
    assert client.health.state is HealthState.ANSWERING


async def test_one_stuck_upload_opens_nothing_while_others_are_answered(
    emulated: EmulatedTransport,
) -> None:
    class StuckKey(Outage):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            self.start = 0.0 if b"stuck" in request.extensions["target"] else float("inf")
            return await super().handle_async_request(request)

    client = client_on(StuckKey(emulated))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(seconds_to_fail, client, lambda client: put_small(client, Key("stuck")))
        for _ in range(10):
            await trio.sleep(2)
            await client.list_objects()
            assert client.health.state is HealthState.ANSWERING


async def test_nothing_is_left_in_any_lane(emulated: EmulatedTransport) -> None:
    outage = Outage(emulated)
    client = client_on(outage, connections=1)
    for operation in [*NAMES.values(), *FILES.values()]:
        with pytest.raises(CosError):
            await operation(client)
    outage.stop = trio.current_time()
    await trio.sleep(MAX_PAUSE_S)
    await client.list_objects()
    await put_small(client, KEY)
    await client.copy_object(CopySource(key=KEY), OTHER)


async def test_pause_that_the_service_asked_for_is_no_silence() -> None:
    busy = error_reply(503, "SlowDown", retry_after="6")
    client = client_on(ScriptedTransport(busy, httpx.ConnectError("refused"), busy))
    with pytest.raises(DeadlineExceeded):
        await client.head_object(KEY)
    assert not is_away(client)
    assert client.health.last_error == "refused"
