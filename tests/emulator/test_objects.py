import hashlib
from base64 import b64encode
from email.utils import formatdate

import httpx
import pytest

from tests.emulator.conftest import BASE_URL
from tests.support.emulated import EmulatedTransport, make_api


def code_of(response: httpx.Response) -> tuple[int, str]:
    """Status and error code."""
    return response.status_code, response.text.partition("<Code>")[2].partition("<")[0]


async def test_errors_have_the_five_children_and_a_request_id(client: httpx.AsyncClient) -> None:
    answer = await client.get("/missing")

    assert code_of(answer) == (404, "NoSuchKey")
    for child in ("Message", "Resource", "RequestId", "TraceId"):
        assert f"<{child}>" in answer.text
    assert answer.headers["x-cos-request-id"] in answer.text
    assert answer.headers["server"] == "tencent-cos"


async def test_head_of_a_missing_object_has_no_body(client: httpx.AsyncClient) -> None:
    answer = await client.head("/missing")

    assert (answer.status_code, answer.content) == (404, b"")
    assert "x-cos-request-id" in answer.headers


async def test_unsigned_requests_are_denied_unless_they_are_allowed() -> None:
    transport = EmulatedTransport(make_api())
    async with httpx.AsyncClient(base_url=BASE_URL, transport=transport) as stranger:
        put = await stranger.put("/k", content=b"x")
        listed = await stranger.get("/")

    assert (code_of(put), code_of(listed)) == ((403, "AccessDenied"), (403, "AccessDenied"))


async def test_delete_of_a_missing_object_succeeds(client: httpx.AsyncClient) -> None:
    assert (await client.delete("/missing")).status_code == 204


@pytest.mark.parametrize(
    ("headers", "content", "code"),
    [
        ({"content-md5": b64encode(hashlib.md5(b"other").digest()).decode()}, b"x", "BadDigest"),
        ({"content-md5": "short"}, b"x", "InvalidDigest"),
        ({"x-cos-meta-a": "v" * 2048}, b"x", "MetadataTooLarge"),
        ({"x-cos-storage-class": "GLACIER"}, b"x", "NotSupportedStorageClass"),
        ({}, b"x" * 1001, "EntityTooLarge"),
    ],
)
async def test_put_beyond_the_limits_leaves_the_old_object(
    client: httpx.AsyncClient, headers: dict[str, str], content: bytes, code: str
) -> None:
    await client.put("/k", content=b"old")

    answer = await client.put("/k", content=content, headers=headers)

    assert code_of(answer) == (400, code)
    assert (await client.get("/k")).content == b"old"


@pytest.mark.parametrize(("length", "status"), [(850, 200), (851, 400)])
async def test_put_takes_keys_of_850_bytes(
    client: httpx.AsyncClient, length: int, status: int
) -> None:
    key = "é" * (length // 2) + "x" * (length % 2)

    assert (await client.put(f"/{key}", content=b"")).status_code == status


async def test_put_that_forbids_overwriting_meets_an_object(client: httpx.AsyncClient) -> None:
    headers = {"x-cos-forbid-overwrite": "true"}

    first = await client.put("/k", content=b"1", headers=headers)
    second = await client.put("/k", content=b"2", headers=headers)

    assert first.status_code == 200
    assert code_of(second) == (409, "FileAlreadyExists")
    assert (await client.get("/k")).content == b"1"


async def test_put_without_a_length_is_refused(client: httpx.AsyncClient) -> None:
    request = client.build_request("PUT", "/k")
    del request.headers["content-length"]

    assert code_of(await client.send(request)) == (411, "MissingContentLength")


async def test_encryption_is_echoed_without_its_key(client: httpx.AsyncClient) -> None:
    sent = {
        "x-cos-server-side-encryption-customer-algorithm": "AES256",
        "x-cos-server-side-encryption-customer-key": "secret",
        "x-cos-server-side-encryption-customer-key-md5": "md5",
    }

    answer = await client.put("/k", content=b"", headers=sent)

    assert answer.headers["x-cos-server-side-encryption-customer-key-md5"] == "md5"
    assert "secret" not in str(answer.headers)


@pytest.mark.parametrize(
    ("header", "status", "content"),
    [
        ("bytes=0-0", 206, b"0"),
        ("bytes=7-", 206, b"789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("lines=1-2", 200, b"0123456789"),
        ("bytes=5-3", 200, b"0123456789"),
    ],
)
async def test_get_understands_one_range(
    client: httpx.AsyncClient, header: str, status: int, content: bytes
) -> None:
    await client.put("/k", content=b"0123456789")

    answer = await client.get("/k", headers={"range": header})

    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers["content-length"] == str(len(content))


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=0-1,3-4", "bytes=-0"])
async def test_get_refuses_ranges_outside_and_lists_of_them(
    client: httpx.AsyncClient, header: str
) -> None:
    await client.put("/k", content=b"0123456789")

    answer = await client.get("/k", headers={"range": header})

    assert code_of(answer) == (416, "InvalidRange")


EARLIER = formatdate(1_000_000_000, usegmt=True)
LATER = formatdate(4_000_000_000, usegmt=True)


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("if-match", '"5d41402abc4b2a76b9719d911017c592"', 200),
        ("if-match", "5d41402abc4b2a76b9719d911017c592", 200),
        ("if-match", '"other"', 412),
        ("if-none-match", '"5d41402abc4b2a76b9719d911017c592"', 304),
        ("if-none-match", '"other"', 200),
        ("if-modified-since", EARLIER, 200),
        ("if-modified-since", LATER, 304),
        ("if-unmodified-since", EARLIER, 412),
        ("if-unmodified-since", LATER, 200),
    ],
)
async def test_conditions_decide_get_head_and_copy(
    client: httpx.AsyncClient, name: str, value: str, status: int
) -> None:
    await client.put("/k", content=b"hello")
    source = {"x-cos-copy-source": "/examplebucket-1250000000/k"}

    got = await client.get("/k", headers={name: value})
    head = await client.head("/k", headers={name: value})
    copied = await client.put("/copy", headers={**source, f"x-cos-copy-source-{name}": value})

    assert (got.status_code, head.status_code) == (status, status)
    assert copied.status_code == (200 if status == 200 else 412)


async def test_get_reads_the_old_bytes_to_the_end_while_they_are_replaced(
    client: httpx.AsyncClient,
) -> None:
    await client.put("/k", content=b"old")
    async with client.stream("GET", "/k") as answer:
        await client.put("/k", content=b"new")
        await client.delete("/k")

        assert await answer.aread() == b"old"


async def test_archived_objects_have_a_head_and_no_body(client: httpx.AsyncClient) -> None:
    await client.put("/k", content=b"x", headers={"x-cos-storage-class": "ARCHIVE"})

    assert (await client.head("/k")).headers["x-cos-storage-class"] == "ARCHIVE"
    assert code_of(await client.get("/k")) == (403, "InvalidObjectState")


@pytest.mark.parametrize(
    "source",
    [
        "/examplebucket-1250000000/a%20b",
        "examplebucket-1250000000.cos.ap-guangzhou.myqcloud.com/a%20b",
        "127.0.0.1:9000/examplebucket-1250000000/a%20b",
    ],
)
async def test_copy_keeps_metadata_and_crc64_but_resets_the_class(
    client: httpx.AsyncClient, source: str
) -> None:
    headers = {"x-cos-meta-mode": "33188", "x-cos-storage-class": "STANDARD_IA"}
    made = await client.put("/a b", content=b"x", headers=headers)

    answer = await client.put("/copy", headers={"x-cos-copy-source": source})

    head = await client.head("/copy")
    assert "content-length" not in answer.headers
    assert head.headers["x-cos-meta-mode"] == "33188"
    assert head.headers["x-cos-hash-crc64ecma"] == made.headers["x-cos-hash-crc64ecma"]
    assert "x-cos-storage-class" not in head.headers


@pytest.mark.parametrize("directive", ["Replaced", "REPLACE"])
async def test_copy_onto_itself_replaces_the_metadata(
    client: httpx.AsyncClient, directive: str
) -> None:
    await client.put("/k", content=b"x", headers={"x-cos-meta-old": "1"})
    source = {"x-cos-copy-source": "/examplebucket-1250000000/k"}

    refused = await client.put("/k", headers=source)
    replaced = {**source, "x-cos-metadata-directive": directive, "x-cos-meta-new": "2"}
    await client.put("/k", headers=replaced)

    head = await client.head("/k")
    assert code_of(refused) == (400, "InvalidRequest")
    assert head.headers["x-cos-meta-new"] == "2"
    assert "x-cos-meta-old" not in head.headers
    assert (await client.get("/k")).content == b"x"


async def test_copy_over_the_limit_is_refused_in_one_request(client: httpx.AsyncClient) -> None:
    upload = (await client.post("/big?uploads")).text
    upload_id = upload.partition("<UploadId>")[2].partition("<")[0]
    etags = []
    for number in (1, 2):
        part = await client.put(
            f"/big?partNumber={number}&uploadId={upload_id}", content=b"x" * 600
        )
        etags.append(part.headers["etag"])
    parts = "".join(
        f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>"
        for n, etag in enumerate(etags, 1)
    )
    document = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>"
    await client.post(f"/big?uploadId={upload_id}", content=document)

    answer = await client.put(
        "/copy", headers={"x-cos-copy-source": "/examplebucket-1250000000/big"}
    )

    assert code_of(answer) == (400, "EntityTooLarge")


@pytest.mark.parametrize(
    ("source", "status"), [("/examplebucket-1250000000/missing", 404), ("nonsense", 400)]
)
async def test_copy_from_nowhere_is_refused(
    client: httpx.AsyncClient, source: str, status: int
) -> None:
    answer = await client.put("/copy", headers={"x-cos-copy-source": source})

    assert answer.status_code == status


async def test_deleting_many_quietly_answers_nothing(client: httpx.AsyncClient) -> None:
    await client.put("/k", content=b"x")
    body = b"<Delete><Quiet>true</Quiet><Object><Key>k</Key></Object></Delete>"
    digest = b64encode(hashlib.md5(body).digest()).decode()

    answer = await client.post("/?delete", content=body, headers={"content-md5": digest})

    assert "<DeleteResult></DeleteResult>" in answer.text
    assert (await client.head("/k")).status_code == 404


@pytest.mark.parametrize(
    ("method", "target", "code"),
    [
        ("GET", "/?cors", "NotImplemented"),
        ("POST", "/k", "MethodNotAllowed"),
        ("GET", "/%ff", "InvalidURI"),
        ("GET", "/?delimiter=ab", "InvalidDelimiter"),
        ("GET", "/?max-keys=x", "InvalidArgument"),
        ("GET", "/?max-keys=" + "9" * 5000, "InvalidArgument"),
        ("GET", "/?prefix=%ff", "InvalidURI"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    client: httpx.AsyncClient, method: str, target: str, code: str
) -> None:
    assert code_of(await client.request(method, target))[1] == code
