"""Every operation of the client against the emulator, which is judged by Tencent's own SDK."""

import pytest

from cosfs.cos.checksum import combine, crc64
from cosfs.cos.client import CosClient
from cosfs.cos.download import Collected
from cosfs.cos.model import (
    BucketInfo,
    ByteRange,
    CopySource,
    ETag,
    Key,
    ListingPage,
    ObjectProperties,
    UploadId,
)
from cosfs.errors import (
    AccessDenied,
    AlreadyExists,
    BadCredentials,
    InvalidRange,
    KeyTooLong,
    NoSuchBucket,
    NoSuchUpload,
    NotFound,
    PreconditionFailed,
    ProtocolError,
)
from tests.cos.emulation import (
    KEY,
    MIN_PART,
    PART,
    PLAIN,
    content_of,
    emulated_client,
    operations,
    upload_two,
)
from tests.support.emulated import BUCKET, EmulatedTransport

ODD_KEYS = [
    "a//b",
    "//",
    "/a",
    "./x",
    "a/./b",
    "..",
    "a/..",
    "a b+c%",
    "a%2Fb",
    "\U0001f600",
    "tab\tnewline\n",
    "<&>'\"",
    "?a=b#c",
    "x" * 850,
]


async def test_put_object_keeps_bytes_and_properties(client: CosClient) -> None:
    properties = ObjectProperties(
        content_type="text/x-ü",
        metadata={"mode": "33188", "note": "ü"},
        entity={"cache-control": "no-cache"},
        storage_class="STANDARD_IA",
    )
    stored = await client.put_object(KEY, [b"hello ", b"cos"], properties=properties)
    info = await client.head_object(KEY)
    assert await content_of(client, KEY) == b"hello cos"
    assert (info.size, info.etag, info.crc64) == (9, stored.etag, 13242225731321912570)
    assert info.properties == ObjectProperties(
        content_type="text/x-%C3%BC",
        metadata={"mode": "33188", "note": "%C3%BC"},
        entity={"cache-control": "no-cache"},
        storage_class="STANDARD_IA",
    )


@pytest.mark.parametrize("key", ODD_KEYS)
async def test_odd_key_is_stored_listed_copied_and_deleted(client: CosClient, key: str) -> None:
    odd = Key(key)
    await client.put_object(odd, [b"x"], properties=PLAIN)
    assert await content_of(client, odd) == b"x"
    page = await client.list_objects()
    assert [listed.key for listed in page.objects] == [odd]
    await client.copy_object(CopySource(key=odd), Key("copy"))
    await client.delete_object(odd)
    assert await client.delete_objects([Key("copy")]) == []
    assert (await client.list_objects()).objects == []


async def test_put_object_of_nothing_makes_an_empty_object(client: CosClient) -> None:
    await client.put_object(KEY, [], properties=PLAIN)
    assert (await client.head_object(KEY)).size == 0
    assert await content_of(client, KEY) == b""


async def test_put_object_can_forbid_to_overwrite(client: CosClient) -> None:
    await client.put_object(KEY, [b"old"], properties=PLAIN, forbid_overwrite=True)
    with pytest.raises(AlreadyExists):
        await client.put_object(KEY, [b"new"], properties=PLAIN, forbid_overwrite=True)
    assert await content_of(client, KEY) == b"old"


async def test_get_object_of_a_range_gives_its_bytes(client: CosClient) -> None:
    await client.put_object(KEY, [b"0123456789"], properties=PLAIN)
    assert await content_of(client, KEY, ByteRange(3, 7)) == b"3456"


async def test_get_object_past_the_end_is_refused(client: CosClient) -> None:
    await client.put_object(KEY, [b"0123456789"], properties=PLAIN)
    with pytest.raises(InvalidRange):
        await content_of(client, KEY, ByteRange(10, 11))
    with pytest.raises(ProtocolError):
        await content_of(client, KEY, ByteRange(8, 12))


async def test_get_object_of_another_etag_fails_its_precondition(client: CosClient) -> None:
    await client.put_object(KEY, [b"x"], properties=PLAIN)
    with pytest.raises(PreconditionFailed):
        await client.get_object(KEY, if_match=ETag("other"), sink=Collected())


async def test_missing_things_are_named(client: CosClient, transport: EmulatedTransport) -> None:
    with pytest.raises(NotFound, match="HEAD Object"):
        await client.head_object(KEY)
    with pytest.raises(NotFound, match="GET Object"):
        await content_of(client, KEY)
    with pytest.raises(NoSuchUpload):
        await client.upload_part(KEY, UploadId("none"), 1, [b"x"])
    with pytest.raises(NoSuchBucket):
        await emulated_client(transport, "other-1250000000").head_bucket()


async def test_wrong_secret_is_a_matter_of_credentials(transport: EmulatedTransport) -> None:
    stranger = emulated_client(transport, secret_key="wrong")
    with pytest.raises(BadCredentials):
        await stranger.list_objects()
    with pytest.raises(AccessDenied):
        await stranger.head_bucket()


async def test_key_over_the_limit_is_refused(client: CosClient) -> None:
    with pytest.raises(KeyTooLong):
        await client.put_object(Key("x" * 851), [b""], properties=PLAIN)


async def test_head_bucket_and_list_buckets_know_the_bucket(client: CosClient) -> None:
    await client.head_bucket()
    assert [bucket.name for bucket in await client.list_buckets()] == [BUCKET]
    assert isinstance((await client.list_buckets())[0], BucketInfo)


async def pages_of(client: CosClient, *, delimiter: str, max_keys: int) -> list[ListingPage]:
    pages: list[ListingPage] = []
    marker: str | None = ""
    while marker is not None:
        page = await client.list_objects(
            prefix="p/", delimiter=delimiter, marker=marker, max_keys=max_keys
        )
        pages.append(page)
        marker = page.next_marker
    return pages


async def test_listing_goes_on_after_each_marker(client: CosClient) -> None:
    keys = [Key(f"p/{name}") for name in ("a", "b/1", "b/2", "c +%", "ü")]
    for key in [*keys, Key("q")]:
        await client.put_object(key, [b""], properties=PLAIN)
    flat = await pages_of(client, delimiter="", max_keys=2)
    tree = await pages_of(client, delimiter="/", max_keys=1)
    assert [listed.key for page in flat for listed in page.objects] == keys
    assert [len(page.objects) for page in flat] == [2, 2, 1]
    assert [prefix for page in tree for prefix in page.prefixes] == ["p/b/"]
    assert [listed.key for page in tree for listed in page.objects] == [keys[0], *keys[3:]]


async def test_delete_objects_takes_any_keys(client: CosClient) -> None:
    keys = [Key("a"), Key("b\x01"), Key("<&>"), Key("ü\r\n")]
    for key in keys:
        await client.put_object(key, [b""], properties=PLAIN)
    assert await client.delete_objects([*keys, Key("never there")]) == []
    assert (await client.list_objects()).objects == []


async def test_delete_objects_goes_in_batches(
    client: CosClient, transport: EmulatedTransport
) -> None:
    assert await client.delete_objects([Key(f"k{n}") for n in range(1001)]) == []
    assert len(operations(transport)) == 2


async def test_copy_object_keeps_or_replaces_the_properties(client: CosClient) -> None:
    original = ObjectProperties(content_type="text/plain", metadata={"mode": "33188"})
    await client.put_object(KEY, [b"x"], properties=original)
    copied = await client.copy_object(CopySource(key=KEY), Key("copy"))
    changed = ObjectProperties(content_type="text/html", metadata={"mode": "33152"})
    await client.copy_object(CopySource(key=KEY), KEY, properties=changed)
    copy, same = await client.head_object(Key("copy")), await client.head_object(KEY)
    assert (copy.etag, copy.crc64) == (copied.etag, crc64([b"x"]))
    assert copy.properties.metadata == {"mode": "33188"}
    assert copy.properties.content_type == "text/plain"
    assert same.properties.metadata == {"mode": "33152"}
    assert same.properties.content_type == "text/html"


async def test_copy_object_of_another_etag_fails_its_precondition(client: CosClient) -> None:
    await client.put_object(KEY, [b"x"], properties=PLAIN)
    with pytest.raises(PreconditionFailed):
        await client.copy_object(CopySource(key=KEY, if_match=ETag("other")), Key("copy"))


async def test_copy_object_can_forbid_to_overwrite(client: CosClient) -> None:
    target = Key("target")
    await client.put_object(target, [b"old"], properties=PLAIN)
    await client.put_object(KEY, [b"x"], properties=PLAIN)
    with pytest.raises(AlreadyExists):
        await client.copy_object(CopySource(key=KEY), target, forbid_overwrite=True)


async def test_multipart_upload_makes_one_object(client: CosClient) -> None:
    properties = ObjectProperties(metadata={"mode": "33188"})
    upload_id = await client.initiate_multipart_upload(KEY, properties=properties)
    parts = [
        await client.upload_part(KEY, upload_id, 1, [PART]),
        await client.upload_part(KEY, upload_id, 2, [b"ta", b"il"]),
    ]
    listed = await client.list_parts(KEY, upload_id)
    assert parts[0].crc64 is not None
    whole = combine(parts[0].crc64, crc64([b"tail"]), 4)
    stored = await client.complete_multipart_upload(KEY, upload_id, parts, crc64=whole)
    info = await client.head_object(KEY)
    assert [(part.number, part.size, part.etag) for part in listed] == [
        (part.number, part.size, part.etag) for part in parts
    ]
    assert (stored.crc64, stored.etag) == (whole, info.etag)
    assert info.properties.metadata == {"mode": "33188"}
    assert await content_of(client, KEY) == PART + b"tail"


async def test_multipart_upload_can_copy_parts(client: CosClient) -> None:
    source = Key("source")
    stored = await client.put_object(source, [PART, b"0123456789"], properties=PLAIN)
    upload_id = await client.initiate_multipart_upload(KEY, properties=PLAIN)
    spans = [ByteRange(5, 5 + MIN_PART), ByteRange(MIN_PART, MIN_PART + 10)]
    parts = [
        await client.upload_part_copy(
            KEY, upload_id, number, CopySource(key=source, span=span, if_match=stored.etag)
        )
        for number, span in enumerate(spans, 1)
    ]
    await client.complete_multipart_upload(KEY, upload_id, parts, crc64=None)
    assert [part.size for part in parts] == [MIN_PART, 10]
    assert await content_of(client, KEY) == (PART + b"01234")[5:] + b"0123456789"


async def test_complete_can_forbid_to_overwrite(client: CosClient) -> None:
    await client.put_object(KEY, [b"old"], properties=PLAIN)
    upload_id, parts = await upload_two(client)
    with pytest.raises(AlreadyExists):
        await client.complete_multipart_upload(
            KEY, upload_id, parts, crc64=None, forbid_overwrite=True
        )


async def test_uploads_are_listed_until_aborted(client: CosClient) -> None:
    keys = [Key("a/1"), Key("a/1"), Key("a/ü +"), Key("b")]
    ids = [await client.initiate_multipart_upload(key, properties=PLAIN) for key in keys]
    listed = await client.list_multipart_uploads(prefix="a/")
    assert {(upload.key, upload.upload_id) for upload in listed} == set(
        zip(keys[:3], ids[:3], strict=True)
    )
    for key, upload_id in zip(keys, ids, strict=True):
        await client.abort_multipart_upload(key, upload_id)
        await client.abort_multipart_upload(key, upload_id)
    assert await client.list_multipart_uploads() == []
