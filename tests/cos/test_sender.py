"""Attempts, deadlines, limits and signatures, against a script."""

import httpx
import pytest
import trio

from cosfs.config import ServiceConfig
from cosfs.cos.credentials import AnonymousCredentials, Credentials
from cosfs.cos.download import Collected
from cosfs.cos.exchange import SMALL_SIZE
from cosfs.cos.model import ByteRange, ETag, Key, ObjectProperties
from cosfs.cos.retry import MAX_TOLD_S
from cosfs.cos.sender import METADATA_REQUESTS
from cosfs.errors import (
    AccessDenied,
    BadCredentials,
    DeadlineExceeded,
    NotFound,
    ProtocolError,
    ServiceBusy,
    TransportError,
)
from tests.cos.clocks import run_jumping
from tests.cos.scripted import (
    BUCKET,
    KEYS,
    Reply,
    ScriptedTransport,
    client_of,
    error_reply,
)

pytestmark = pytest.mark.trio(run=run_jumping)

KEY = Key("a/b")
PLAIN = ObjectProperties()
STORED = Reply(headers={"etag": '"e"'})
BUSY = error_reply(503, "SlowDown")


class Refreshing:
    """A provider that gives new credentials each time the old ones are refused."""

    def __init__(self) -> None:
        self.generation = 0

    async def get(self) -> Credentials:
        return Credentials(secret_id=f"id{self.generation}", secret_key="k", token="t")

    def expire(self) -> None:
        self.generation += 1


def configured(*, timeout_s: float = 60.0, connections: int = 32) -> ServiceConfig:
    return ServiceConfig(
        bucket=BUCKET, region="ap-guangzhou", timeout_s=timeout_s, connections=connections
    )


async def test_request_is_signed_and_names_itself() -> None:
    transport = ScriptedTransport(Reply())
    await client_of(transport).head_bucket()
    (sent,) = transport.sent
    assert (sent.method, sent.target) == ("HEAD", "/")
    assert sent.headers["host"] == f"{BUCKET}.cos.ap-guangzhou.myqcloud.com"
    assert sent.headers["accept-encoding"] == "identity"
    assert sent.headers["user-agent"].startswith("cosfs/")
    assert f"q-ak={KEYS.secret_id}&" in sent.headers["authorization"]
    assert "q-sign-time=1699999940;1700003600&" in sent.headers["authorization"]
    assert "content-length" not in sent.headers


async def test_anonymous_request_is_not_signed() -> None:
    transport = ScriptedTransport(Reply())
    await client_of(transport, credentials=AnonymousCredentials()).head_bucket()
    assert "authorization" not in transport.sent[0].headers


async def test_temporary_token_is_sent_and_signed() -> None:
    transport = ScriptedTransport(Reply())
    await client_of(transport, credentials=Refreshing()).head_bucket()
    headers = transport.sent[0].headers
    assert headers["x-cos-security-token"] == "t"
    assert "q-header-list=host;x-cos-security-token&" in headers["authorization"]


async def test_busy_service_is_asked_until_the_deadline() -> None:
    transport = ScriptedTransport(BUSY)
    with pytest.raises(DeadlineExceeded, match="gave up after") as caught:
        await client_of(transport, configured(timeout_s=5)).head_object(KEY)
    assert isinstance(caught.value.__cause__, ServiceBusy)
    assert trio.current_time() <= 5
    assert len(transport.sent) > 3


async def test_deadline_ends_an_attempt_that_hangs() -> None:
    transport = ScriptedTransport(Reply(wait_s=1e6))
    started = trio.current_time()
    with pytest.raises(DeadlineExceeded):
        await client_of(transport, configured(timeout_s=5)).head_object(KEY)
    assert trio.current_time() - started == pytest.approx(5)


async def test_deadline_counts_from_the_operations_turn() -> None:
    transport = ScriptedTransport(Reply(wait_s=4, headers={"etag": '"e"'}))
    client = client_of(transport, configured(timeout_s=5, connections=1))

    async def put() -> None:
        await client.put_object(KEY, [], properties=PLAIN)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(put)
    assert trio.current_time() == pytest.approx(12)


async def test_retry_after_is_obeyed() -> None:
    transport = ScriptedTransport(error_reply(503, "SlowDown", retry_after="17"), Reply())
    started = trio.current_time()
    await client_of(transport).head_bucket()
    assert trio.current_time() - started >= 17


async def test_retry_after_of_an_hour_is_not_waited_for() -> None:
    transport = ScriptedTransport(error_reply(503, "SlowDown", retry_after="3600"), Reply())
    started = trio.current_time()
    await client_of(transport).head_bucket()
    assert trio.current_time() - started == pytest.approx(MAX_TOLD_S)


async def test_error_tells_its_attempts() -> None:
    transport = ScriptedTransport(BUSY, BUSY, error_reply(404, "NoSuchKey"))
    with pytest.raises(NotFound) as caught:
        await client_of(transport).get_object(KEY, sink=Collected())
    assert caught.value.attempts == 3


@pytest.mark.parametrize("status", [403, 404, 412, 400, 501, 302])
async def test_refusal_is_not_repeated(status: int) -> None:
    transport = ScriptedTransport(Reply(status=status))
    with pytest.raises(Exception, match="HEAD Object"):
        await client_of(transport).head_object(KEY)
    assert len(transport.sent) == 1


async def test_body_is_sent_whole_with_every_attempt() -> None:
    transport = ScriptedTransport(httpx.ConnectError("refused"), BUSY, STORED)
    await client_of(transport).put_object(KEY, [b"ab", b"", b"c"], properties=PLAIN)
    assert [sent.body for sent in transport.sent] == [b"abc"] * 3
    assert {sent.headers["content-length"] for sent in transport.sent} == {"3"}


async def test_refused_credentials_are_renewed_once() -> None:
    refused = error_reply(403, "InvalidAccessKeyId")
    provider = Refreshing()
    transport = ScriptedTransport(refused, Reply())
    await client_of(transport, credentials=provider).head_bucket()
    assert "q-ak=id1&" in transport.sent[1].headers["authorization"]
    with pytest.raises(BadCredentials):
        await client_of(ScriptedTransport(refused), credentials=provider).head_bucket()
    assert provider.generation == 2


async def test_wrong_clock_is_set_from_the_answer_once() -> None:
    skewed = error_reply(
        403, "AccessDenied", "Request has expired", date="Tue, 14 Nov 2023 23:13:20 GMT"
    )
    transport = ScriptedTransport(skewed, Reply())
    client = client_of(transport)
    await client.head_bucket()
    assert "q-sign-time=1700003540;" in transport.sent[1].headers["authorization"]
    with pytest.raises(AccessDenied):
        await client_of(ScriptedTransport(skewed)).head_bucket()


async def test_wrong_clock_is_seen_although_head_has_no_body() -> None:
    refused = Reply(status=403, headers={"date": "Tue, 14 Nov 2023 23:13:20 GMT"})
    transport = ScriptedTransport(refused, Reply())
    await client_of(transport).head_bucket()
    assert "q-sign-time=1700003540;" in transport.sent[1].headers["authorization"]


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"<html/>"),
        Reply(body=b""),
        Reply(body=b"x" * (17 << 20)),
        Reply(body=b"<!DOCTYPE a><ListBucketResult/>"),
        Reply(
            body=b"<ListBucketResult><IsTruncated>true</IsTruncated><NextMarker>a</NextMarker>"
            b"</ListBucketResult>"
        ),
    ],
    ids=["html", "empty", "endless", "doctype", "marker"],
)
async def test_answer_without_sense_is_asked_for_again_thrice(reply: Reply) -> None:
    transport = ScriptedTransport(reply)
    with pytest.raises(ProtocolError, match="GET Bucket"):
        await client_of(transport).list_objects(marker="b")
    assert len(transport.sent) == 4


async def test_cut_answer_is_asked_for_again() -> None:
    page = b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
    transport = ScriptedTransport(Reply(body=page[:20], cut=True), Reply(body=page))
    assert (await client_of(transport).list_objects()).objects == []


async def test_connection_that_cannot_be_made_is_told_with_its_cause() -> None:
    transport = ScriptedTransport(httpx.ConnectError("no route to host"))
    with pytest.raises(DeadlineExceeded, match="no route to host") as caught:
        await client_of(transport).head_bucket()
    assert isinstance(caught.value.__cause__, TransportError)


async def test_cut_download_asks_for_the_rest_of_the_same_object() -> None:
    first = Reply(
        status=206,
        headers={"etag": '"e"', "content-range": "bytes 10-19/50"},
        body=b"0123",
        cut=True,
    )
    rest = Reply(
        status=206, headers={"etag": '"e"', "content-range": "bytes 14-19/50"}, body=b"456789"
    )
    transport = ScriptedTransport(first, rest)
    got = Collected()
    await client_of(transport).get_object(KEY, ByteRange(10, 20), sink=got)
    assert b"".join(got.chunks) == b"0123456789"
    asked = [(sent.headers["range"], sent.headers.get("if-match")) for sent in transport.sent]
    assert asked == [("bytes=10-19", None), ("bytes=14-19", '"e"')]


async def test_download_whose_answer_is_short_asks_for_the_rest() -> None:
    headers = {"etag": '"e"', "content-range": "bytes 0-9/50", "content-length": "10"}
    rest = {"etag": '"e"', "content-range": "bytes 4-9/50"}
    transport = ScriptedTransport(
        Reply(status=206, headers=headers, body=b"0123"),
        Reply(status=206, headers=rest, body=b"456789"),
    )
    got = Collected()
    await client_of(transport).get_object(KEY, ByteRange(0, 10), if_match=ETag("e"), sink=got)
    assert b"".join(got.chunks) == b"0123456789"


async def test_download_that_gets_another_object_is_refused() -> None:
    other = Reply(status=206, headers={"etag": '"f"', "content-range": "bytes 0-0/1"}, body=b"x")
    got = Collected()
    with pytest.raises(ProtocolError):
        await client_of(ScriptedTransport(other)).get_object(
            KEY, ByteRange(0, 1), if_match=ETag("e"), sink=got
        )
    assert got.chunks == []


async def test_parts_small_files_and_metadata_do_not_wait_for_each_other() -> None:
    transport = ScriptedTransport(Reply(wait_s=1, headers={"etag": '"e"'}))
    client = client_of(transport, configured(connections=3))

    async def put(size: int) -> None:
        await client.put_object(KEY, [bytes(size)], properties=PLAIN)

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(put, SMALL_SIZE + 1)
            nursery.start_soon(put, SMALL_SIZE)
            nursery.start_soon(client.head_bucket)
    assert transport.most_at_once == 3 + 3 + 10
    transport.most_at_once = 0
    async with trio.open_nursery() as nursery:
        for _ in range(METADATA_REQUESTS + 8):
            nursery.start_soon(client.head_bucket)
    assert transport.most_at_once == METADATA_REQUESTS


async def test_log_shows_requests_and_no_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="cosfs.cos")
    transport = ScriptedTransport(BUSY, Reply())
    await client_of(transport, credentials=Refreshing()).head_bucket()
    assert "request failed operation=HEAD Bucket key='' attempt=1" in caplog.text
    assert "request answered operation=HEAD Bucket key='' status=200" in caplog.text
    assert "q-sign" not in caplog.text
    assert "x-cos-security-token" not in caplog.text


async def test_sink_that_raises_ends_the_download() -> None:
    class Refusing(Collected):
        def filled(self, size: int) -> None:  # noqa: ARG002 - of a Sink
            raise MemoryError

    transport = ScriptedTransport(Reply(headers={"etag": '"e"'}, body=b"0123"))
    with pytest.raises(MemoryError):
        await client_of(transport).get_object(KEY, sink=Refusing())
    assert len(transport.sent) == 1
