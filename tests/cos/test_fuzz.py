"""Hostile answers: whatever comes, it is understood or refused, and nothing else happens."""

import contextlib
from collections.abc import Awaitable, Callable, Mapping

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from cosfs.cos import headers as cos_headers
from cosfs.cos import wire
from cosfs.cos.client import CosClient
from cosfs.cos.download import Collected
from cosfs.cos.failures import service_error
from cosfs.cos.model import ByteRange, CopySource, ETag, Key, ObjectProperties, Part, UploadId
from cosfs.cos.wire import Malformed
from cosfs.errors import CosError
from tests.cos.scripted import Reply, ScriptedTransport, client_of
from tests.cos.test_wire import LISTING, PARSERS

KEY = Key("a/b")
UPLOAD = UploadId("1700000000abc")

DOCUMENTS = [
    LISTING,
    b"<ListAllMyBucketsResult><Buckets><Bucket><Name>n</Name><Location>l</Location></Bucket>"
    b"</Buckets></ListAllMyBucketsResult>",
    b"<DeleteResult><Error><Key>a/b</Key><Code>c</Code><Message>m</Message></Error></DeleteResult>",
    b"<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>",
    b"<CopyObjectResult><ETag>e</ETag><CRC64>1</CRC64><LastModified>2020-01-01T00:00:00Z"
    b"</LastModified></CopyObjectResult>",
    b"<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>",
    b"<ListPartsResult><Part><PartNumber>1</PartNumber><Size>1</Size><ETag>e</ETag></Part>"
    b"<IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker>"
    b"</ListPartsResult>",
    b"<ListMultipartUploadsResult><Upload><Key>k</Key><UploadId>u</UploadId><Initiated>"
    b"Wed Jan 18 16:04:17 2017</Initiated></Upload><IsTruncated>true</IsTruncated>"
    b"<NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>u</NextUploadIdMarker>"
    b"</ListMultipartUploadsResult>",
    b"<Error><Code>NoSuchKey</Code><Message>m</Message><RequestId>r</RequestId></Error>",
]
NASTY = [
    "",
    "-1",
    "1e9",
    "9" * 30,
    "9" * 5000,
    str(1 << 63),
    str(1 << 64),
    "١٢٣",
    "..",
    "../../etc/passwd",
    "%2e%2e/%00",
    "%ff%fe",
    "a\nb",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+23:59",
    "Fri, 31 Dec 99999 23:59:59 GMT",
    "Wed, 99 Xyz 2020 99:99:99 +9999",
    "é" * 1000,
    "true",
]

nasty_text = st.sampled_from(NASTY) | st.text(max_size=50)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """A document of COS with something wrong in it: another text, bytes changed, a cut."""
    document = draw(st.sampled_from(DOCUMENTS))
    texts = [piece.partition(b"<")[0] for piece in document.split(b">") if piece]
    for old in draw(st.lists(st.sampled_from(sorted({*texts, b"e"} - {b""})), max_size=3)):
        new = draw(nasty_text).replace("&", "&amp;").replace("<", "&lt;")
        document = document.replace(b">" + old + b"<", b">" + new.encode() + b"<")
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(document)))
        stop = draw(st.integers(start, min(len(document), start + 40)))
        document = document[:start] + draw(st.binary(max_size=8)) + document[stop:]
    if draw(st.booleans()):
        return document
    piece = draw(st.integers(0, len(document)))
    return document[:piece] + document[piece:] * draw(st.integers(0, 3))


HEADER_NAMES = [
    "etag",
    "content-length",
    "content-range",
    "last-modified",
    "x-cos-hash-crc64ecma",
    "x-cos-request-id",
    "x-cos-meta-mode",
    "x-cos-storage-class",
    "retry-after",
    "location",
    "date",
    "content-type",
    "content-encoding",
]
GOOD_HEADERS = {
    "etag": '"e"',
    "content-length": "10",
    "content-range": "bytes 0-9/10",
    "last-modified": "Tue, 14 Nov 2023 23:13:20 GMT",
    "x-cos-request-id": "id",
}
header_text = st.text(st.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=40)
odd_headers = st.dictionaries(
    st.sampled_from(HEADER_NAMES),
    header_text
    | st.sampled_from([text for text in NASTY if text.isascii() and text.isprintable()])
    | st.sampled_from(list(GOOD_HEADERS.values())),
)
header_fields = st.builds(lambda odd: GOOD_HEADERS | odd, odd_headers) | odd_headers


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@settings(max_examples=60)
@given(body=documents() | st.binary(max_size=200))
def test_document_is_understood_or_malformed(
    parse: Callable[[bytes], object], body: bytes
) -> None:
    with contextlib.suppress(Malformed):
        parse(body)


@given(
    body=documents() | st.binary(max_size=200), status=st.integers(300, 599), told=header_fields
)
def test_error_is_made_of_anything_and_fits_a_line(
    body: bytes, status: int, told: Mapping[str, str]
) -> None:
    error = service_error(status, told, body, operation="GET Object", key="k")
    assert str(error).isprintable()
    assert len(str(error)) < 2000


@given(told=header_fields)
def test_headers_are_understood_or_malformed(told: Mapping[str, str]) -> None:
    readers: list[Callable[[Mapping[str, str]], object]] = [
        lambda given: cos_headers.object_info(KEY, given),
        cos_headers.stored_object,
        cos_headers.etag_of,
        cos_headers.content_range,
    ]
    for read in readers:
        try:
            read(told)
        except Malformed:
            continue


@given(text=nasty_text)
def test_time_is_understood_or_malformed(text: str) -> None:
    try:
        moment_ns = wire.parse_time(text)
    except Malformed:
        return
    assert abs(moment_ns) < 10**21  # what struct stat can hold


@pytest.mark.parametrize(
    "bomb",
    [
        b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><ListBucketResult>&c;'
        b"</ListBucketResult>",
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><ListBucketResult/>',
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE a><ListBucketResult/>'.encode("utf-16"),
        b'<?xml version="1.0" encoding="cp037"?>' + "<!DOCTYPE a>".encode("cp037"),
        b'<?xml version="1.0" encoding="utf-7"?>+ADw-+ACE-DOCTYPE a>',
        b"<a>" * 150_000,
        b"<a>" * 90_000 + b"</a>" * 90_000,
        b"<ListBucketResult>" + b"<a/>" * 300_000 + b"</ListBucketResult>",
        b"<ListBucketResult>&undefined;</ListBucketResult>",
    ],
    ids=["entities", "file", "utf-16", "ebcdic", "utf-7", "open", "deep", "wide", "undefined"],
)
def test_bomb_does_not_go_off(bomb: bytes) -> None:
    with pytest.raises(Malformed):
        wire.parse_listing(bomb)


OPERATIONS: dict[str, Callable[[CosClient], Awaitable[object]]] = {
    "head": lambda client: client.head_object(KEY),
    "list": lambda client: client.list_objects(prefix="a/", delimiter="/", marker="a/a"),
    "buckets": lambda client: client.list_buckets(),
    "delete": lambda client: client.delete_objects([KEY]),
    "get": lambda client: client.get_object(KEY, sink=Collected()),
    "range": lambda client: client.get_object(KEY, ByteRange(0, 10), sink=Collected()),
    "put": lambda client: client.put_object(KEY, [b"x"], properties=ObjectProperties()),
    "copy": lambda client: client.copy_object(CopySource(key=KEY), KEY),
    "initiate": lambda client: client.initiate_multipart_upload(
        KEY, properties=ObjectProperties()
    ),
    "complete": lambda client: client.complete_multipart_upload(
        KEY, UPLOAD, [Part(number=1, size=1, etag=ETag("e"), crc64=1)], crc64=1
    ),
    "parts": lambda client: client.list_parts(KEY, UPLOAD),
    "uploads": lambda client: client.list_multipart_uploads(),
}


@pytest.mark.parametrize("name", list(OPERATIONS))
@settings(max_examples=25)
@given(
    replies=st.lists(
        st.builds(
            Reply,
            status=st.sampled_from([200, 204, 206, 301, 304, 400, 403, 404, 409, 412, 416, 503]),
            headers=header_fields,
            body=documents() | st.binary(max_size=20),
            cut=st.booleans(),
        ),
        min_size=1,
        max_size=3,
    )
)
def test_operation_succeeds_or_raises_its_error(name: str, replies: list[Reply]) -> None:
    async def run() -> None:
        with contextlib.suppress(CosError):
            await OPERATIONS[name](client_of(ScriptedTransport(*replies)))

    trio.run(run, clock=MockClock(autojump_threshold=0))
