import httpx
import pytest

from cosfs.emulator.api import Api
from cosfs.emulator.intake import combine_crc64
from tests.emulator.test_objects import code_of

CRC64_OF_12345 = 6748440630437108969
CRC64_OF_123456789 = 11051210869376104954


async def begin(client: httpx.AsyncClient, key: str = "k", **headers: str) -> str:
    answer = await client.post(f"/{key}?uploads=", headers=headers)
    return answer.text.partition("<UploadId>")[2].partition("<")[0]


async def send(client: httpx.AsyncClient, upload_id: str, number: int, content: bytes) -> str:
    answer = await client.put(f"/k?partNumber={number}&uploadId={upload_id}", content=content)
    assert answer.status_code == 200, answer.text
    return answer.headers["etag"]


async def complete(
    client: httpx.AsyncClient, upload_id: str, *parts: tuple[int, str], **headers: str
) -> httpx.Response:
    listed = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
        for number, etag in parts
    )
    document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
    return await client.post(f"/k?uploadId={upload_id}", content=document, headers=headers)


def test_crc64_of_parts_combines_to_that_of_the_whole() -> None:
    combined = combine_crc64(CRC64_OF_12345, 10278880121275185425, second_size=4)

    assert combined == CRC64_OF_123456789


async def test_complete_joins_parts_sent_in_any_order(client: httpx.AsyncClient) -> None:
    upload_id = await begin(client, **{"x-cos-meta-mode": "33188"})
    second = await send(client, upload_id, 2, b"6789")
    await send(client, upload_id, 1, b"wrong at first")
    first = await send(client, upload_id, 1, b"1234567890")

    answer = await complete(client, upload_id, (1, first), (2, second))

    got = await client.get("/k")
    assert got.content == b"12345678906789"
    assert got.headers["x-cos-meta-mode"] == "33188"
    assert got.headers["x-cos-hash-crc64ecma"] == answer.headers["x-cos-hash-crc64ecma"]
    assert got.headers["etag"].endswith('-2"')
    assert got.headers["etag"] in answer.text.replace("&quot;", '"')
    assert "content-length" not in answer.headers


async def test_object_does_not_appear_before_complete(client: httpx.AsyncClient) -> None:
    await client.put("/k", content=b"old")
    upload_id = await begin(client)
    etag = await send(client, upload_id, 1, b"new")

    before = (await client.get("/k")).content
    await complete(client, upload_id, (1, etag))

    assert (before, (await client.get("/k")).content) == (b"old", b"new")


async def test_complete_wants_parts_of_the_minimum_but_for_the_last(
    client: httpx.AsyncClient,
) -> None:
    upload_id = await begin(client)
    etags = [await send(client, upload_id, number, b"123456789") for number in (1, 2)]

    answer = await complete(client, upload_id, (1, etags[0]), (2, etags[1]))

    assert code_of(answer) == (400, "EntityTooSmall")
    assert (await client.head("/k")).status_code == 404


@pytest.mark.parametrize(
    ("numbers", "code"),
    [
        ((2, 1), "InvalidPartOrder"),
        ((1, 1), "InvalidPartOrder"),
        ((1, 3), "InvalidPart"),
        ((2, 3), "InvalidPart"),
        ((1, 2, 3, 4), "InvalidPart"),
    ],
)
async def test_complete_wants_numbers_from_one_without_gaps(
    client: httpx.AsyncClient, numbers: tuple[int, ...], code: str
) -> None:
    upload_id = await begin(client)
    etags = {n: await send(client, upload_id, n, b"0123456789") for n in (1, 2, 3)}

    answer = await complete(client, upload_id, *((n, etags.get(n, "none")) for n in numbers))

    assert code_of(answer) == (400, code)


async def test_complete_wants_the_etags_it_gave(client: httpx.AsyncClient) -> None:
    upload_id = await begin(client)
    await send(client, upload_id, 1, b"x")

    assert code_of(await complete(client, upload_id, (1, "other"))) == (400, "InvalidPart")


@pytest.mark.parametrize("document", ["", "<a>", "<Other/>", "<CompleteMultipartUpload/>"])
async def test_complete_wants_its_document(client: httpx.AsyncClient, document: str) -> None:
    upload_id = await begin(client)

    answer = await client.post(f"/k?uploadId={upload_id}", content=document)

    assert code_of(answer) == (400, "MalformedXML")


async def test_second_complete_meets_no_upload(client: httpx.AsyncClient) -> None:
    upload_id = await begin(client)
    etag = await send(client, upload_id, 1, b"x")
    await complete(client, upload_id, (1, etag))

    assert code_of(await complete(client, upload_id, (1, etag))) == (404, "NoSuchUpload")


async def test_complete_that_forbids_overwriting_leaves_upload_and_object(
    client: httpx.AsyncClient,
) -> None:
    await client.put("/k", content=b"old")
    upload_id = await begin(client)
    etag = await send(client, upload_id, 1, b"new")

    answer = await complete(client, upload_id, (1, etag), **{"x-cos-forbid-overwrite": "true"})

    assert code_of(answer) == (409, "FileAlreadyExists")
    assert (await client.get("/k")).content == b"old"
    assert (await complete(client, upload_id, (1, etag))).status_code == 200


@pytest.mark.parametrize("number", ["0", "10001", "x"])
async def test_part_numbers_are_1_to_10000(client: httpx.AsyncClient, number: str) -> None:
    upload_id = await begin(client)

    answer = await client.put(f"/k?partNumber={number}&uploadId={upload_id}", content=b"x")

    assert code_of(answer) == (400, "InvalidArgument")


async def test_part_copy_wants_a_range_inside_the_source(client: httpx.AsyncClient) -> None:
    await client.put("/source", content=b"0123456789")
    upload_id = await begin(client)
    source = {"x-cos-copy-source": "/examplebucket-1250000000/source"}

    inside = {**source, "x-cos-copy-source-range": "bytes=2-9"}
    good = await client.put(f"/k?partNumber=1&uploadId={upload_id}", headers=inside)
    outside = {**source, "x-cos-copy-source-range": "bytes=2-10"}
    bad = await client.put(f"/k?partNumber=1&uploadId={upload_id}", headers=outside)
    etag = good.text.partition("<ETag>")[2].partition("</ETag>")[0]
    await complete(client, upload_id, (1, etag))

    assert code_of(bad) == (416, "InvalidRange")
    got = await client.get("/k")
    assert got.content == b"23456789"
    put = await client.put("/same", content=b"23456789")
    assert got.headers["x-cos-hash-crc64ecma"] == put.headers["x-cos-hash-crc64ecma"]


async def test_bytes_are_shared_and_go_with_their_last_user(
    client: httpx.AsyncClient, api: Api
) -> None:
    upload_id = await begin(client)
    etags = [await send(client, upload_id, n, b"0123456789") for n in (1, 2)]
    await complete(client, upload_id, *enumerate(etags, 1))
    await client.put("/copy", headers={"x-cos-copy-source": "/examplebucket-1250000000/k"})

    await client.delete("/k")
    kept = (await client.get("/copy", headers={"range": "bytes=5-14"})).content
    await client.delete("/copy")

    assert kept == b"5678901234"
    assert repr(api.service.store.bodies) == "<MemoryBodies files=0>"


async def test_abort_gives_the_parts_back(client: httpx.AsyncClient, api: Api) -> None:
    upload_id = await begin(client)
    await send(client, upload_id, 1, b"x")

    await client.delete(f"/k?uploadId={upload_id}")

    assert repr(api.service.store.bodies) == "<MemoryBodies files=0>"
    assert code_of(await client.delete(f"/k?uploadId={upload_id}")) == (404, "NoSuchUpload")


async def test_uploads_are_listed_by_group_and_marker(client: httpx.AsyncClient) -> None:
    for key in ("a/1", "a/2", "b", "b", "c"):
        await begin(client, key)

    first = (await client.get("/?uploads&delimiter=/&max-uploads=2")).text
    marker = first.partition("<NextUploadIdMarker>")[2].partition("<")[0]
    rest = (await client.get(f"/?uploads&key-marker=b&upload-id-marker={marker}")).text

    assert "<Prefix>a/</Prefix>" in first
    assert first.count("<Key>b</Key>") == 1
    assert [rest.count(f"<Key>{key}</Key>") for key in ("a/1", "b", "c")] == [0, 1, 1]
