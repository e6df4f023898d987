import pytest

from cosfs.cos.checksum import crc64
from cosfs.cos.download import Collected, Download, Truncated
from cosfs.cos.model import ByteRange, ETag
from cosfs.cos.wire import Malformed


def whole(size: int, **more: str) -> dict[str, str]:
    return {"etag": '"e"', "content-length": str(size)} | more


def part(first: int, last: int, etag: str = "e") -> dict[str, str]:
    return {"etag": f'"{etag}"', "content-range": f"bytes {first}-{last}/100"}


def take(download: Download, data: bytes) -> None:
    """What a sender does with *data* that has come."""
    room = download.room()
    room[: len(data)] = data
    download.take(len(data))


def test_download_of_the_whole_asks_for_no_range() -> None:
    assert Download(None, None, Collected()).headers() == {}


def test_download_asks_for_its_range_of_its_etag() -> None:
    download = Download(ByteRange(5, 9), ETag("e"), Collected())
    assert download.headers() == {"range": "bytes=5-8", "if-match": '"e"'}


def test_download_that_broke_asks_for_the_rest_of_the_same_object() -> None:
    got = Collected()
    download = Download(None, None, got)
    download.begin(200, whole(10))
    take(download, b"0123")
    with pytest.raises(Truncated):
        download.end()
    assert download.headers() == {"range": "bytes=4-9", "if-match": '"e"'}
    assert download.begin(206, part(4, 9)) == 0
    take(download, b"456789")
    download.end()
    assert (b"".join(got.chunks), download.is_complete) == (b"0123456789", True)


def test_download_counts_the_checksum_over_all_answers() -> None:
    told = {"x-cos-hash-crc64ecma": str(crc64([b"0123456789"]))}
    download = Download(None, None, Collected())
    download.begin(200, whole(10, **told))
    take(download, b"0123")
    download.begin(206, part(4, 9) | told)
    take(download, b"456789")
    assert not download.is_corrupt


def test_download_with_another_checksum_is_corrupt() -> None:
    download = Download(None, None, Collected())
    download.begin(200, whole(1, **{"x-cos-hash-crc64ecma": "1"}))
    take(download, b"x")
    assert download.is_corrupt


def test_download_of_a_range_ignores_the_checksum_of_the_whole() -> None:
    download = Download(ByteRange(0, 1), None, Collected())
    download.begin(206, part(0, 0) | {"x-cos-hash-crc64ecma": "1"})
    take(download, b"x")
    assert not download.is_corrupt


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, whole(100)),
        (206, part(5, 7)),
        (206, part(4, 8)),
        (206, part(5, 8, etag="other")),
        (206, {"etag": '"e"'}),
        (206, {"content-range": "bytes 5-8/100"}),
        (206, part(5, 8) | {"content-length": "5"}),
    ],
)
def test_download_refuses_an_answer_to_another_question(
    status: int, headers: dict[str, str]
) -> None:
    download = Download(ByteRange(5, 9), ETag("e"), Collected())
    with pytest.raises(Malformed):
        download.begin(status, headers)
