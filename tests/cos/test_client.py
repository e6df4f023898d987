"""What operations send that the emulator does not judge."""

import base64
import hashlib
from collections.abc import Sequence

import pytest

from cosfs.config import ServiceConfig
from cosfs.cos.client import CosClient
from cosfs.cos.model import ByteRange, CopySource, ETag, Key, ObjectProperties, UploadId
from cosfs.errors import ConfigError, ProtocolError
from tests.cos.clocks import run_jumping
from tests.cos.scripted import BUCKET, Reply, ScriptedTransport, Sent, client_of

pytestmark = pytest.mark.trio(run=run_jumping)

KEY = Key("a/b c")
UPLOAD = UploadId("id")
STORED = Reply(headers={"etag": '"e"'})
COPIED = Reply(body=b"<CopyObjectResult><ETag>e</ETag></CopyObjectResult>")
INITIATED = Reply(
    body=b"<InitiateMultipartUploadResult><UploadId>id</UploadId></InitiateMultipartUploadResult>"
)
ENCRYPTED = ServiceConfig(
    bucket=BUCKET, region="ap-guangzhou", storage_class="STANDARD_IA", sse="kms:key-1"
)


async def create(client: CosClient, operation: str, properties: ObjectProperties) -> None:
    if operation == "put":
        await client.put_object(KEY, [b"x"], properties=properties)
    elif operation == "initiate":
        await client.initiate_multipart_upload(KEY, properties=properties)
    else:
        await client.copy_object(CopySource(key=KEY), Key("t"), properties=properties)


REPLIES = {"put": STORED, "initiate": INITIATED, "copy": COPIED}


@pytest.mark.parametrize("operation", REPLIES)
async def test_new_object_has_the_mounts_class_and_encryption(operation: str) -> None:
    transport = ScriptedTransport(REPLIES[operation])
    client = client_of(transport, ENCRYPTED)
    await create(client, operation, ObjectProperties())
    await create(client, operation, ObjectProperties(storage_class="ARCHIVE"))
    classes = [sent.headers["x-cos-storage-class"] for sent in transport.sent]
    kinds = {sent.headers["x-cos-server-side-encryption"] for sent in transport.sent}
    assert classes == ["STANDARD_IA", "ARCHIVE"]
    assert kinds == {"cos/kms"}


async def test_copy_that_keeps_properties_sends_class_and_encryption_all_the_same() -> None:
    transport = ScriptedTransport(COPIED)
    await client_of(transport, ENCRYPTED).copy_object(CopySource(key=KEY), Key("t"))
    headers = transport.sent[0].headers
    assert headers["x-cos-metadata-directive"] == "Copy"
    assert headers["x-cos-storage-class"] == "STANDARD_IA"
    assert headers["x-cos-server-side-encryption-cos-kms-key-id"] == "key-1"
    assert "content-type" not in headers


async def test_copy_names_its_source_by_domain_and_etag() -> None:
    transport = ScriptedTransport(COPIED)
    source = CopySource(key=KEY, if_match=ETag("e"))
    await client_of(transport).copy_object(source, Key("t"), properties=ObjectProperties())
    headers = transport.sent[0].headers
    domain = f"{BUCKET}.cos.ap-guangzhou.myqcloud.com"
    assert headers["x-cos-copy-source"] == f"{domain}/a/b%20c"
    assert headers["x-cos-copy-source-if-match"] == '"e"'
    assert headers["x-cos-metadata-directive"] == "Replaced"


async def test_part_copy_names_its_range() -> None:
    transport = ScriptedTransport(Reply(body=b"<CopyPartResult><ETag>e</ETag></CopyPartResult>"))
    source = CopySource(key=KEY, span=ByteRange(5, 10))
    part = await client_of(transport).upload_part_copy(Key("t"), UPLOAD, 7, source)
    assert transport.sent[0].headers["x-cos-copy-source-range"] == "bytes=5-9"
    assert transport.sent[0].target == "/t?partNumber=7&uploadId=id"
    assert (part.number, part.size, part.etag, part.crc64) == (7, 5, "e", None)


async def test_xml_bodies_carry_their_md5() -> None:
    transport = ScriptedTransport(Reply(body=b"<DeleteResult/>"))
    await client_of(transport).delete_objects([KEY])
    (sent,) = transport.sent
    expected = base64.b64encode(hashlib.md5(sent.body).digest()).decode()
    assert sent.headers["content-md5"] == expected
    assert sent.target == "/?delete="


def first_parameter(sent: Sent) -> str:
    return sent.target.partition("?")[2].partition("=")[0]


async def test_sub_resource_comes_first() -> None:
    uploads = Reply(body=b"<ListMultipartUploadsResult/>")
    transport = ScriptedTransport(uploads)
    await client_of(transport).list_multipart_uploads(prefix="a&b")
    assert first_parameter(transport.sent[0]) == "uploads"
    assert "prefix=a%26b" in transport.sent[0].target


async def test_empty_key_is_never_sent() -> None:
    transport = ScriptedTransport(Reply())
    client = client_of(transport)
    empty = Key("")
    with pytest.raises(ValueError, match="empty key"):
        await client.put_object(empty, [], properties=ObjectProperties())
    with pytest.raises(ValueError, match="empty key"):
        await client.delete_object(empty)
    with pytest.raises(ValueError, match="empty key"):
        await client.delete_objects([KEY, empty])
    with pytest.raises(ValueError, match="empty key"):
        await client.abort_multipart_upload(empty, UPLOAD)
    assert transport.sent == []


async def test_client_without_a_bucket_can_list_buckets_alone() -> None:
    body = b"<ListAllMyBucketsResult><Buckets/></ListAllMyBucketsResult>"
    transport = ScriptedTransport(Reply(body=body))
    client = client_of(transport, ServiceConfig(bucket=""))
    assert await client.list_buckets() == []
    assert transport.sent[0].headers["host"] == "service.cos.myqcloud.com"
    with pytest.raises(ConfigError, match="no bucket"):
        await client.head_bucket()


def listed(*keys: str, prefixes: Sequence[str] = ()) -> Reply:
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><ETag>e</ETag>"
        "<LastModified>2020-12-10T03:37:30.000Z</LastModified></Contents>"
        for key in keys
    )
    groups = "".join(
        f"<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>" for prefix in prefixes
    )
    body = f"<ListBucketResult><IsTruncated>false</IsTruncated>{groups}{contents}"
    return Reply(body=f"{body}</ListBucketResult>".encode())


@pytest.mark.parametrize(
    "reply",
    [
        listed("b/secret"),
        listed("a"),
        listed("a/1", "../a/2"),
        listed(prefixes=["b/"]),
        listed(prefixes=["a/"]),
        listed(prefixes=["a/b"]),
    ],
    ids=["other", "parent", "dots", "other prefix", "itself", "no delimiter"],
)
async def test_listing_of_what_is_not_below_the_prefix_is_refused(reply: Reply) -> None:
    with pytest.raises(ProtocolError):
        await client_of(ScriptedTransport(reply)).list_objects(prefix="a/", delimiter="/")


async def test_listing_may_show_odd_keys_below_the_prefix() -> None:
    transport = ScriptedTransport(listed("a/", "a/..", "a/%0A", prefixes=["a//", "a/../"]))
    page = await client_of(transport).list_objects(prefix="a/", delimiter="/")
    assert [entry.key for entry in page.objects] == ["a/", "a/..", "a/\n"]


@pytest.mark.parametrize("numbers", [(2, 1), (1, 1), (0,), (10_001,)])
async def test_part_numbers_that_do_not_rise_are_refused(numbers: Sequence[int]) -> None:
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><Size>1</Size><ETag>e</ETag></Part>"
        for number in numbers
    )
    transport = ScriptedTransport(
        Reply(body=f"<ListPartsResult>{parts}</ListPartsResult>".encode())
    )
    with pytest.raises(ProtocolError):
        await client_of(transport).list_parts(Key("k"), UploadId("u"))
