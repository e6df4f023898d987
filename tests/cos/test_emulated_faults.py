"""The client when the emulator misbehaves: what gets through, and what is told."""

import pytest
import trio

from cosfs.cos.checksum import crc64
from cosfs.cos.client import CosClient
from cosfs.cos.download import Collected
from cosfs.cos.model import ByteRange, CopySource, Key
from cosfs.errors import (
    DeadlineExceeded,
    IntegrityError,
    NoSuchUpload,
    NotFound,
    PreconditionFailed,
    ProtocolError,
    ServiceError,
)
from tests.cos.clocks import run_jumping
from tests.cos.emulation import KEY, PART, PLAIN, content_of, operations, plan, upload_two
from tests.support.emulated import EmulatedTransport

pytestmark = pytest.mark.trio(run=run_jumping)


@pytest.mark.parametrize(
    "rule",
    [
        "operation=PutObject status=503 times=3",
        "operation=PutObject status=429 retry_after=5 times=1",
        "operation=PutObject reset times=2",
        "operation=PutObject lose times=1",
        "operation=PutObject cut=3 times=1",
        "operation=PutObject status=400 code=RequestTimeout times=2",
        "operation=PutObject status=409 code=PathConflict times=2",
        "operation=PutObject corrupt times=1",
        "operation=PutObject delay=50 times=1",
        "operation=PutObject stall=0 times=1",
        "operation=PutObject stall=3 times=2",
        "operation=PutObject body= times=1",
        "operation=PutObject body=<html> times=2",
        "operation=PutObject wrong_crc64 times=1",
        "operation=PutObject status=200 body=ok no_request_id times=3",
        "operation=PutObject status=404 body=<html> no_request_id times=3",
        "operation=PutObject status=302 no_request_id times=1",
        "operation=PutObject status=502 body='bad gateway' no_request_id times=3",
    ],
)
async def test_put_object_gets_through(
    client: CosClient, transport: EmulatedTransport, rule: str
) -> None:
    await client.head_bucket()  # COS names itself
    plan(transport, rule)
    await client.put_object(KEY, [b"hello ", b"cos"], properties=PLAIN)
    assert operations(transport).count("PutObject") > 1
    assert await content_of(client, KEY) == b"hello cos"


async def test_put_object_corrupted_for_good_is_told(
    client: CosClient, transport: EmulatedTransport
) -> None:
    plan(transport, "operation=PutObject corrupt")
    with pytest.raises(IntegrityError) as caught:
        await client.put_object(KEY, [b"hello cos"], properties=PLAIN)
    assert caught.value.attempts == 4


async def test_put_object_that_may_not_overwrite_recognises_itself(
    client: CosClient, transport: EmulatedTransport
) -> None:
    plan(transport, "operation=PutObject lose times=1")
    stored = await client.put_object(KEY, [b"x"], properties=PLAIN, forbid_overwrite=True)
    assert stored.crc64 == crc64([b"x"])


async def test_put_object_that_may_not_overwrite_replaces_its_own_damaged_body(
    client: CosClient, transport: EmulatedTransport
) -> None:
    plan(transport, "operation=PutObject corrupt times=1")
    await client.put_object(KEY, [b"x"], properties=PLAIN, forbid_overwrite=True)
    assert await content_of(client, KEY) == b"x"


@pytest.mark.parametrize(
    "rule",
    [
        "operation=GetObject cut=3 times=1",
        "operation=GetObject cut=0 times=2",
        "operation=GetObject reset times=1",
        "operation=GetObject status=500 times=2",
        "operation=GetObject stall=0 times=1",
        "operation=GetObject stall=3 times=1",
        "operation=GetObject body=<html> times=1",
        "operation=GetObject status=404 no_request_id times=2",
        "operation=GetObject status=416 no_request_id times=1",
    ],
)
@pytest.mark.parametrize("span", [None, ByteRange(2, 9)])
async def test_get_object_asks_for_the_rest_alone(
    client: CosClient, transport: EmulatedTransport, rule: str, span: ByteRange | None
) -> None:
    await client.put_object(KEY, [b"0123456789"], properties=PLAIN)
    plan(transport, rule)
    expected = b"0123456789" if span is None else b"2345678"
    assert await content_of(client, KEY, span) == expected


async def test_get_object_corrupted_on_the_way_is_told(
    client: CosClient, transport: EmulatedTransport
) -> None:
    await client.put_object(KEY, [b"0123456789"], properties=PLAIN)
    plan(transport, "operation=GetObject corrupt")
    with pytest.raises(IntegrityError):
        await content_of(client, KEY)


async def test_get_object_replaced_on_the_way_mixes_nothing(
    client: CosClient, transport: EmulatedTransport
) -> None:
    await client.put_object(KEY, [b"0123456789"], properties=PLAIN)
    plan(transport, "operation=GetObject cut=3 times=1")
    begun = trio.Event()

    class Telling(Collected):
        def filled(self, size: int) -> None:  # noqa: ARG002 - of a Sink
            begun.set()

    async def replace() -> None:
        await begun.wait()
        await client.put_object(KEY, [b"abcdefghij"], properties=PLAIN)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(replace)
        with pytest.raises(PreconditionFailed):
            await client.get_object(KEY, sink=Telling())


@pytest.mark.parametrize(
    "rule",
    [
        "operation=CopyObject error_in_200 code=InternalError times=1",
        "operation=CopyObject lose times=1",
        "operation=CopyObject padding=100",
        "operation=CopyObject body= times=1",
        "operation=CopyObject body='   ' times=1",
        "operation=CopyObject body=<html/> times=1",
        "operation=CopyObject error_in_200 padding=100 times=1",
        "operation=CopyObject stall=0 times=1",
        "operation=CopyObject stall=40 times=1",
        "operation=CopyObject cut=40 times=1",
        "operation=CopyObject status=404 no_request_id times=1",
    ],
)
async def test_copy_object_gets_through(
    client: CosClient, transport: EmulatedTransport, rule: str
) -> None:
    await client.put_object(KEY, [b"x"], properties=PLAIN)
    plan(transport, rule)
    await client.copy_object(CopySource(key=KEY), Key("copy"))
    assert await content_of(client, Key("copy")) == b"x"


async def test_copy_object_tells_an_error_hidden_in_a_200(
    client: CosClient, transport: EmulatedTransport
) -> None:
    await client.put_object(KEY, [b"x"], properties=PLAIN)
    plan(transport, "operation=CopyObject error_in_200 code=InvalidCopySource")
    with pytest.raises(ServiceError, match="InvalidCopySource"):
        await client.copy_object(CopySource(key=KEY), Key("copy"))


@pytest.mark.parametrize(
    "rule",
    [
        "operation=CompleteMultipartUpload lose times=1",
        "operation=CompleteMultipartUpload error_in_200 code=InternalError times=1",
        "operation=CompleteMultipartUpload status=503 times=2",
        "operation=CompleteMultipartUpload padding=1000",
        "operation=CompleteMultipartUpload delay=600 times=1",
        "operation=CompleteMultipartUpload body= times=1",
        "operation=CompleteMultipartUpload body=<html/>",
        "operation=CompleteMultipartUpload stall=0 times=1",
        "operation=CompleteMultipartUpload stall=40",
        "operation=CompleteMultipartUpload cut=40",
        "operation=CompleteMultipartUpload cut=0",
        "operation=CompleteMultipartUpload wrong_crc64",
        "operation=CompleteMultipartUpload error_in_200 padding=100 times=1",
        "operation=CompleteMultipartUpload status=404 no_request_id times=1",
        "operation=UploadPart stall=9 times=1",
        "operation=UploadPart wrong_crc64 times=1",
        "operation=UploadPart body= times=1",
        "operation=InitiateMultipartUpload body= times=1",
        "operation=InitiateMultipartUpload stall=0 times=1",
        "operation=UploadPart corrupt times=1",
        "operation=UploadPart lose times=1",
        "operation=InitiateMultipartUpload lose times=1",
    ],
)
async def test_multipart_upload_gets_through(
    client: CosClient, transport: EmulatedTransport, rule: str
) -> None:
    plan(transport, rule)
    upload_id, parts = await upload_two(client)
    whole = crc64([PART, b"tail"])
    stored = await client.complete_multipart_upload(KEY, upload_id, parts, crc64=whole)
    assert stored.crc64 == whole
    assert (await client.head_object(KEY)).etag == stored.etag


async def test_complete_whose_answer_is_lost_needs_the_checksum_as_proof(
    client: CosClient, transport: EmulatedTransport
) -> None:
    upload_id, parts = await upload_two(client)
    plan(transport, "operation=CompleteMultipartUpload lose times=1")
    with pytest.raises(NoSuchUpload):
        await client.complete_multipart_upload(KEY, upload_id, parts, crc64=None)


async def test_complete_whose_upload_is_gone_does_not_take_another_object_for_its_own(
    client: CosClient,
) -> None:
    upload_id, parts = await upload_two(client)
    whole = crc64([PART, b"tail"])
    await client.complete_multipart_upload(KEY, upload_id, parts, crc64=whole)
    with pytest.raises(NoSuchUpload):
        await client.complete_multipart_upload(KEY, upload_id, parts, crc64=whole)


async def test_complete_with_another_checksum_is_told(client: CosClient) -> None:
    upload_id, parts = await upload_two(client)
    with pytest.raises(IntegrityError):
        await client.complete_multipart_upload(KEY, upload_id, parts, crc64=1)


@pytest.mark.parametrize(
    "rule",
    [
        "operation=DeleteObject lose times=2",
        "operation=DeleteObject stall=0 times=1",
        "operation=DeleteObject status=200 body=deleted no_request_id times=2",
        "operation=DeleteObject reset times=1",
    ],
)
async def test_delete_object_gets_through(
    client: CosClient, transport: EmulatedTransport, rule: str
) -> None:
    await client.put_object(KEY, [b"x"], properties=PLAIN)
    plan(transport, rule)
    await client.delete_object(KEY)
    assert (await client.list_objects()).objects == []


async def test_nothing_but_what_was_asked_for_is_called_not_deleted(
    client: CosClient, transport: EmulatedTransport
) -> None:
    foreign = "<Error><Key>victim</Key><Code>InternalError</Code></Error>"
    plan(
        transport, f"operation=DeleteMultipleObjects body='<DeleteResult>{foreign}</DeleteResult>'"
    )
    with pytest.raises(ProtocolError, match="victim"):
        await client.delete_objects([KEY, Key("other")])


async def test_upload_that_somebody_aborted_is_told(client: CosClient) -> None:
    upload_id, _parts = await upload_two(client)
    await client.abort_multipart_upload(KEY, upload_id)
    with pytest.raises(NoSuchUpload):
        await client.upload_part(KEY, upload_id, 3, [b"x"])


async def test_answers_of_a_service_that_never_names_itself_are_believed(
    client: CosClient, transport: EmulatedTransport
) -> None:
    plan(transport, "no_request_id")
    await client.put_object(KEY, [b"x"], properties=PLAIN)
    assert await content_of(client, KEY) == b"x"
    with pytest.raises(NotFound):
        await client.head_object(Key("missing"))


async def test_portal_that_answers_for_the_service_is_named(
    client: CosClient, transport: EmulatedTransport
) -> None:
    await client.head_bucket()
    plan(transport, "status=404 no_request_id")
    with pytest.raises(DeadlineExceeded, match="answered 404, but not by COS"):
        await client.head_object(KEY)
