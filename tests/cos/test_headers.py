import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosfs.cos import headers
from cosfs.cos.model import ByteRange, Key, ObjectProperties
from cosfs.cos.wire import Malformed
from cosfs.errors import ConfigError

HEAD = {
    "content-length": "5",
    "etag": '"abc"',
    "last-modified": "Thu, 10 Dec 2020 03:37:30 GMT",
    "x-cos-hash-crc64ecma": "18446744073709551615",
    "x-cos-meta-mode": "33188",
    "content-type": "text/plain",
    "cache-control": "no-cache",
    "server": "tencent-cos",
}


raw_headers = st.lists(
    st.tuples(
        st.sampled_from([b"ETag", b"etag", b"x-cos-meta-a", b"Date"]),
        st.binary(max_size=5) | st.text(max_size=5).map(str.encode),
    )
)


@given(raw=raw_headers)
def test_header_fields_are_those_of_httpx(raw: list[tuple[bytes, bytes]]) -> None:
    assert headers.header_fields(raw) == dict(httpx.Headers(raw).items())


def test_object_info_reads_what_head_says() -> None:
    info = headers.object_info(Key("k"), HEAD)
    assert (info.size, info.etag, info.modified_ns) == (5, "abc", 1_607_571_450 * 10**9)
    assert info.crc64 == (1 << 64) - 1
    assert info.properties == ObjectProperties(
        content_type="text/plain",
        metadata={"mode": "33188"},
        entity={"cache-control": "no-cache"},
        storage_class="STANDARD",
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-length", "-1"),
        ("content-length", ""),
        ("etag", ""),
        ("etag", '"ü"'),
        ("etag", 'a"b'),
        ("last-modified", "never"),
        ("x-cos-hash-crc64ecma", "18446744073709551616"),
    ],
)
def test_object_info_refuses_nonsense(name: str, value: str) -> None:
    with pytest.raises(Malformed):
        headers.object_info(Key("k"), HEAD | {name: value})


def test_property_headers_leave_integers_alone_and_encode_the_rest() -> None:
    properties = ObjectProperties(
        metadata={"mode": "33188", "Note": "ü\n"}, storage_class="ARCHIVE"
    )
    assert headers.property_headers(properties, default_class="STANDARD_IA") == {
        "content-type": "application/octet-stream",
        "x-cos-meta-mode": "33188",
        "x-cos-meta-note": "%C3%BC%0A",
        "x-cos-storage-class": "ARCHIVE",
    }


def test_property_headers_fall_back_to_the_mounts_class() -> None:
    made = headers.property_headers(ObjectProperties(), default_class="STANDARD_IA")
    assert made["x-cos-storage-class"] == "STANDARD_IA"


def test_property_headers_refuse_a_name_that_would_break_the_request() -> None:
    with pytest.raises(ValueError, match="not a header name"):
        headers.property_headers(ObjectProperties(metadata={"a\r\nb": "c"}), default_class=None)


@given(st.text(max_size=20))
def test_header_value_fits_a_header_and_does_not_change_again(text: str) -> None:
    value = headers.header_value(text)
    assert value.isascii()
    assert value.isprintable() or not value
    assert value == value.strip()
    assert headers.header_value(value) == value


@pytest.mark.parametrize(
    ("sse", "expected"),
    [
        (None, {}),
        ("cos", {"x-cos-server-side-encryption": "AES256"}),
        ("kms", {"x-cos-server-side-encryption": "cos/kms"}),
        (
            "kms:key-1",
            {
                "x-cos-server-side-encryption": "cos/kms",
                "x-cos-server-side-encryption-cos-kms-key-id": "key-1",
            },
        ),
    ],
)
def test_encryption_headers_are_those_of_the_option(
    sse: str | None, expected: dict[str, str]
) -> None:
    assert headers.encryption_headers(sse) == expected


@pytest.mark.parametrize("sse", ["", "aes", "kms:", "cos:x"])
def test_encryption_headers_refuse_another_word(sse: str) -> None:
    with pytest.raises(ConfigError, match="use cos, kms"):
        headers.encryption_headers(sse)


def test_content_range_is_a_half_open_range() -> None:
    assert headers.content_range({"content-range": "bytes 5-9/20"}) == ByteRange(5, 10)


@pytest.mark.parametrize("text", ["", "bytes 9-5/20", "bytes */20", "bytes 1-2", "lines 1-2/3"])
def test_content_range_refuses_nonsense(text: str) -> None:
    with pytest.raises(Malformed):
        headers.content_range({"content-range": text})


def test_metadata_that_another_program_stored_can_be_written_back() -> None:
    info = headers.object_info(Key("k"), HEAD | {"x-cos-meta-a_b": "c"})
    made = headers.property_headers(info.properties, default_class=None)
    assert made["x-cos-meta-a_b"] == "c"


@pytest.mark.parametrize(
    ("date", "expected"),
    [("Thu, 01 Jan 1970 00:00:07 GMT", 7 * 10**9), ("soon", None), ("", None)],
)
def test_what_put_made_is_dated_by_its_answer(date: str, expected: int | None) -> None:
    stored = headers.stored_object({"etag": '"e"', "date": date})

    assert stored.modified_ns == expected
