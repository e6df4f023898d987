"""Copies inside COS, above and below the size that one request can copy."""

import pytest

from cosfs.cos.client import CosClient
from cosfs.cos.model import Key, ObjectInfo, ObjectProperties
from cosfs.emulator.api import Api
from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied, PreconditionFailed, UploadFailed
from cosfs.transfer.copy import copy_object
from cosfs.transfer.journal import UploadJournal
from tests.support.engines import (
    MIB,
    asked,
    some_bytes,
    stored_bytes,
    stored_metadata,
    unfinished_uploads,
)
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

JOURNAL = UploadJournal(None)
SOURCE, TARGET = Key("source"), Key("target")
CONTENT = some_bytes(3 * MIB + 1)


@pytest.fixture
async def source(client: CosClient) -> ObjectInfo:
    properties = ObjectProperties(metadata={"mode": "33188"})
    await client.put_object(SOURCE, [CONTENT], properties=properties)
    return await client.head_object(SOURCE)


async def test_copy_is_one_request(api: Api, client: CosClient, source: ObjectInfo) -> None:
    api.requests.clear()

    await copy_object(client, JOURNAL, source, TARGET)

    assert asked(api) == ["CopyObject"]
    assert stored_bytes(api, TARGET) == CONTENT
    assert stored_metadata(api, TARGET) == {"mode": "33188"}


async def test_copy_takes_new_properties(api: Api, client: CosClient, source: ObjectInfo) -> None:
    await copy_object(client, JOURNAL, source, SOURCE, ObjectProperties(metadata={"uid": "7"}))

    assert stored_metadata(api, SOURCE) == {"uid": "7"}
    assert stored_bytes(api, SOURCE) == CONTENT


@pytest.fixture
async def assembled(client: CosClient) -> ObjectInfo:
    """An object made in parts: COS gives its copy another ETag."""
    upload_id = await client.initiate_multipart_upload(SOURCE, properties=ObjectProperties())
    part = await client.upload_part(SOURCE, upload_id, 1, [CONTENT])
    await client.complete_multipart_upload(SOURCE, upload_id, [part], crc64=part.crc64)
    return await client.head_object(SOURCE)


async def test_copy_onto_itself_whose_answer_is_lost_is_recognised(
    api: Api, client: CosClient, assembled: ObjectInfo
) -> None:
    api.faults.add(Fault(operation="CopyObject", nth=1, lose=True))

    stored = await copy_object(
        client, JOURNAL, assembled, SOURCE, ObjectProperties(metadata={"uid": "7"})
    )

    assert stored.etag == (await client.head_object(SOURCE)).etag
    assert stored.etag != assembled.etag
    assert stored_metadata(api, SOURCE) == {"uid": "7"}


async def test_copy_onto_itself_does_not_take_a_change_by_others_for_its_own(
    api: Api, client: CosClient, assembled: ObjectInfo
) -> None:
    await copy_object(client, JOURNAL, assembled, SOURCE, ObjectProperties(metadata={"uid": "8"}))
    api.faults.add(Fault(operation="CopyObject", nth=1, status=503))

    with pytest.raises(PreconditionFailed):
        await copy_object(
            client, JOURNAL, assembled, SOURCE, ObjectProperties(metadata={"uid": "7"})
        )


async def test_large_copy_goes_in_parts(api: Api, client: CosClient, source: ObjectInfo) -> None:
    api.requests.clear()

    await copy_object(client, JOURNAL, source, TARGET, largest=MIB)

    assert asked(api) == [
        "InitiateMultipartUpload",
        "UploadPartCopy",
        "CompleteMultipartUpload",
    ]
    assert stored_bytes(api, TARGET) == CONTENT
    assert stored_metadata(api, TARGET) == {"mode": "33188"}


@pytest.mark.parametrize("largest", [MIB, 8 * MIB])
async def test_copy_of_a_replaced_object_fails(
    api: Api, client: CosClient, source: ObjectInfo, largest: int
) -> None:
    await client.put_object(SOURCE, [b"other"], properties=ObjectProperties())

    with pytest.raises((PreconditionFailed, UploadFailed)) as caught:
        await copy_object(client, JOURNAL, source, TARGET, largest=largest)

    causes = (caught.value, caught.value.__cause__)
    assert any(isinstance(cause, PreconditionFailed) for cause in causes)
    assert stored_bytes(api, TARGET) is None
    assert unfinished_uploads(api) == []


async def test_failed_large_copy_leaves_nothing(
    api: Api, client: CosClient, source: ObjectInfo
) -> None:
    api.faults.set([Fault(operation="UploadPartCopy", status=403, code="AccessDenied")])

    with pytest.raises(UploadFailed) as caught:
        await copy_object(client, JOURNAL, source, TARGET, largest=MIB)

    assert isinstance(caught.value.__cause__, AccessDenied)
    assert unfinished_uploads(api) == []
