import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosfs.cos import wire
from cosfs.cos.model import BucketInfo, ETag, Key, ListedObject, Part, UploadId
from cosfs.cos.wire import Malformed

LISTING = b"""<?xml version='1.0' encoding='utf-8' ?>
<ListBucketResult><Name>b-1</Name><EncodingType>url</EncodingType><Prefix/><Marker/>
<MaxKeys>2</MaxKeys><IsTruncated>true</IsTruncated><NextMarker>a%20b%2Bc</NextMarker>
<CommonPrefixes><Prefix>d%C3%BC/</Prefix></CommonPrefixes>
<Contents><Key>a%20b+c</Key><LastModified>2020-12-10T03:37:30.000Z</LastModified>
<ETag>&quot;abc-3&quot;</ETag><Size>37</Size><StorageClass>ARCHIVE</StorageClass></Contents>
</ListBucketResult>"""

PARSERS: list[Callable[[bytes], object]] = [
    wire.parse_listing,
    wire.parse_buckets,
    wire.parse_delete_failures,
    wire.parse_initiated,
    wire.parse_copied,
    wire.parse_completed,
    wire.parse_parts,
    wire.parse_uploads,
]


def test_listing_is_decoded() -> None:
    page = wire.parse_listing(LISTING)
    assert page.prefixes == ["dü/"]
    assert page.next_marker == "a b+c"
    assert page.objects == [
        ListedObject(
            key=Key("a b+c"),
            size=37,
            etag=ETag("abc-3"),
            modified_ns=1_607_571_450 * 10**9,
            storage_class="ARCHIVE",
        )
    ]


def test_listing_that_is_not_truncated_is_the_last() -> None:
    last = LISTING.replace(b"<IsTruncated>true", b"<IsTruncated>false")
    assert wire.parse_listing(last).next_marker is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"<Size>37", b"<Size>-37"),
        (b"<Size>37", b"<Size>3_7"),
        (b"<Size>37", b"<Size>" + b"9" * 5000),
        (b"<Size>37</Size>", b""),
        (b"2020-12-10T03:37:30.000Z", b"yesterday"),
        (b"<Key>a%20b+c</Key>", b"<Key/>"),
        (b"<NextMarker>a%20b%2Bc</NextMarker>", b""),
        (b"&quot;abc-3&quot;", b"&quot;&quot;"),
        (b"</ListBucketResult>", b""),
        (b"ListBucketResult", b"Html"),
    ],
)
def test_listing_that_makes_no_sense_is_refused(old: bytes, new: bytes) -> None:
    with pytest.raises(Malformed):
        wire.parse_listing(LISTING.replace(old, new))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_document_type_is_refused_before_it_is_read(encoding: str) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbb">]><Error><Code>&b;</Code></Error>'
    with pytest.raises(Malformed, match="document type"):
        wire.parse_listing(bomb.encode(encoding))


@pytest.mark.parametrize("parse", PARSERS)
@given(body=st.binary(max_size=200))
def test_parsers_raise_nothing_but_malformed(
    parse: Callable[[bytes], object], body: bytes
) -> None:
    with pytest.raises(Malformed):
        parse(body)


@given(at=st.integers(0, len(LISTING) - 1), byte=st.integers(0, 255))
def test_listing_with_a_wrong_byte_is_read_or_refused(at: int, byte: int) -> None:
    body = LISTING[:at] + bytes([byte]) + LISTING[at + 1 :]
    try:
        page = wire.parse_listing(body)
    except Malformed:
        return
    assert all(listed.size >= 0 for listed in page.objects)


def test_completed_is_read_through_its_namespace_and_leading_space() -> None:
    body = b"""   \n <?xml version="1.0"?><CompleteMultipartUploadResult xmlns="http://x/">
    <Key>k</Key><ETag>&quot;hex-3&quot;</ETag></CompleteMultipartUploadResult>"""
    assert wire.parse_completed(body) == "hex-3"


def test_initiated_is_read_although_xml_cannot_hold_its_key() -> None:
    body = (
        b"<InitiateMultipartUploadResult><Key>a\x01b</Key><UploadId>id</UploadId>"
        b"</InitiateMultipartUploadResult>"
    )
    assert wire.parse_initiated(body) == "id"


def test_copied_without_checksum_says_so() -> None:
    body = b"""<CopyPartResult><ETag>e</ETag><LastModified>2017-09-04T04:45:45</LastModified>
    </CopyPartResult>"""
    copied = wire.parse_copied(body)
    assert (copied.etag, copied.crc64, copied.modified_ns) == ("e", None, 1504500345 * 10**9)


def test_parts_say_where_to_go_on() -> None:
    body = b"""<ListPartsResult><Part><PartNumber>1</PartNumber><ETag>"e"</ETag>
    <Size>5</Size></Part><NextPartNumberMarker>1</NextPartNumberMarker><IsTruncated>true</IsTruncated></ListPartsResult>"""
    part = Part(number=1, size=5, etag=ETag("e"), crc64=None)
    assert wire.parse_parts(body) == ([part], 1)


def test_uploads_are_decoded() -> None:
    body = b"""<ListMultipartUploadsResult><NextKeyMarker>a%20</NextKeyMarker>
    <NextUploadIdMarker>2</NextUploadIdMarker><IsTruncated>true</IsTruncated>
    <Upload><Key>a%20</Key><UploadId>2</UploadId><StorageClass>Standard</StorageClass>
    <Initiated>Wed Jan 18 16:04:17 2017</Initiated></Upload></ListMultipartUploadsResult>"""
    uploads, following = wire.parse_uploads(body)
    assert following == ("a ", "2")
    assert [(u.key, u.upload_id, u.storage_class) for u in uploads] == [
        ("a ", UploadId("2"), "STANDARD")
    ]
    assert uploads[0].initiated_ns == 1_484_755_457 * 10**9


def test_buckets_are_listed_with_their_region() -> None:
    body = b"""<ListAllMyBucketsResult><Owner/><Buckets><Bucket><Name>b-1</Name>
    <Location>ap-beijing</Location></Bucket></Buckets></ListAllMyBucketsResult>"""
    assert wire.parse_buckets(body) == [BucketInfo(name="b-1", region="ap-beijing")]


@pytest.mark.parametrize(
    ("text", "expected_ns"),
    [
        ("2020-12-10T03:37:30.123Z", 1_607_571_450_123_000_000),
        ("2020-12-10T03:37:30", 1_607_571_450_000_000_000),
        ("Thu, 10 Dec 2020 03:37:30 GMT", 1_607_571_450_000_000_000),
        ("Thu Dec 10 03:37:30 2020", 1_607_571_450_000_000_000),
        ("1969-12-31T23:59:59.5Z", -500_000_000),
    ],
)
def test_time_is_read_in_every_spelling(text: str, expected_ns: int) -> None:
    assert wire.parse_time(text) == expected_ns


@given(st.text(max_size=30).filter(lambda text: not any(map(str.isdigit, text))))
def test_time_without_digits_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        wire.parse_time(text)


@given(st.text(min_size=1).filter(wire.is_expressible))
def test_delete_body_keeps_every_key_that_xml_can_hold(key: str) -> None:
    root = ET.fromstring(wire.delete_body([key]))
    assert [element.text for element in root.iter("Key")] == [key]


def test_complete_body_quotes_etags() -> None:
    body = wire.complete_body([Part(number=1, size=1, etag=ETag("e"), crc64=None)])
    assert b"<PartNumber>1</PartNumber><ETag>&quot;e&quot;</ETag>" in body
