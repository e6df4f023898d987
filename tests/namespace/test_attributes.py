"""POSIX attributes in x-cos-meta-*, against headers as the C++ cosfs writes them."""

import os
import stat
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosfs.config import AttributeConfig
from cosfs.cos.model import ETag, Key, ListedObject, ObjectInfo, ObjectProperties
from cosfs.errors import MetadataFull
from cosfs.namespace.attributes import (
    NS_PER_S,
    AttributeChange,
    AttributeCodec,
    Attributes,
    content_type_for,
)

MODIFIED_NS = 1_600_000_000 * NS_PER_S


def make_codec(config: AttributeConfig | None = None) -> AttributeCodec:
    return AttributeCodec(
        config or AttributeConfig(), default_uid=1000, default_gid=100, implicit_time_ns=7
    )


def make_info(
    metadata: Mapping[str, str],
    *,
    key: str = "a",
    size: int = 3,
    content_type: str = "application/octet-stream",
) -> ObjectInfo:
    return ObjectInfo(
        key=Key(key),
        size=size,
        etag=ETag("e"),
        modified_ns=MODIFIED_NS,
        crc64=None,
        properties=ObjectProperties(metadata=metadata, content_type=content_type),
    )


def make_attributes(**changes: int) -> Attributes:
    values = {
        "mode": stat.S_IFREG | 0o640,
        "uid": 1,
        "gid": 2,
        "size": 3,
        "mtime_ns": 1_700_000_000 * NS_PER_S,
        "ctime_ns": 1_700_000_000 * NS_PER_S,
        "atime_ns": 1_700_000_000 * NS_PER_S,
    }
    return Attributes(xattr=None, **(values | changes))


@pytest.mark.parametrize(
    ("stored", "key", "mode"),
    [
        ("33188", "a", 0o100644),
        ("41471", "a", 0o120777),
        ("16877", "a/", 0o040755),
        ("493", "a/", 0o040755),  # as its mkdir leaves it: permissions alone
        ("16877", "a", 0o040755),
        ("420", "a", 0o100644),
        ("0x1a4", "a", 0o100644),
        ("0644", "a", 0o100000 | 644),  # leading zeros are decimal
        ("33188", "a/", 0o040644),  # a directory's key is a directory
        ("61440", "a", 0o100000),  # no such type
    ],
)
def test_mode_written_by_cpp_cosfs_is_understood(stored: str, key: str, mode: int) -> None:
    info = make_info({"mode": stored}, key=key)

    assert make_codec().from_object(info).mode == mode


@pytest.mark.parametrize("stored", ["", "rw-r--r--", "-1", "999999999", "1.5", "٣", "0x", "0xzz"])
def test_unreadable_mode_is_the_default(stored: str) -> None:
    assert make_codec().from_object(make_info({"mode": stored})).mode == stat.S_IFREG | 0o644


def test_object_without_metadata_shows_the_mounts_defaults() -> None:
    attributes = make_codec().from_object(make_info({}))

    assert attributes == Attributes(
        mode=stat.S_IFREG | 0o644,
        uid=1000,
        gid=100,
        size=3,
        mtime_ns=MODIFIED_NS,
        ctime_ns=MODIFIED_NS,
        atime_ns=MODIFIED_NS,
    )


@pytest.mark.parametrize(
    "info",
    [
        make_info({}, key="a/"),
        make_info({}, content_type="application/x-directory"),
        make_info({}, key="a_$folder$", size=0),
    ],
    ids=["slash", "content type", "hadoop"],
)
def test_directory_markers_of_all_styles_are_directories(info: ObjectInfo) -> None:
    attributes = make_codec().from_object(info)

    assert attributes.mode == stat.S_IFDIR | 0o755
    assert attributes.size == 0


@pytest.mark.parametrize(
    ("metadata", "mtime_ns"),
    [
        ({"mtime": "1700000000"}, 1_700_000_000 * NS_PER_S),
        (
            {"mtime": "1700000000", "cosfs-mtime-ns": "1700000000123456789"},
            1_700_000_000_123_456_789,
        ),
        # The C++ cosfs rewrote the seconds and carried our header along.
        (
            {"mtime": "1700000009", "cosfs-mtime-ns": "1700000000123456789"},
            1_700_000_009 * NS_PER_S,
        ),
        ({"cosfs-mtime-ns": "1700000000123456789"}, MODIFIED_NS),
        ({"mtime": "1700000000.25"}, 1_700_000_000_250_000_000),  # rclone
        ({"mtime": "yesterday"}, MODIFIED_NS),
        ({"mtime": "99999999999999999999"}, MODIFIED_NS),
    ],
)
def test_mtime_is_as_precise_as_can_be_believed(metadata: dict[str, str], mtime_ns: int) -> None:
    assert make_codec().from_object(make_info(metadata)).mtime_ns == mtime_ns


def test_metadata_is_what_cpp_cosfs_writes_when_whole_seconds_say_it_all() -> None:
    assert make_codec().to_metadata(make_attributes()) == {
        "mode": "33184",
        "uid": "1",
        "gid": "2",
        "mtime": "1700000000",
    }


def test_metadata_of_a_stream_leaves_mtime_to_last_modified() -> None:
    metadata = make_codec().to_metadata(make_attributes(mtime_ns=5), with_mtime=False)

    assert metadata == {"mode": "33184", "uid": "1", "gid": "2"}


def test_metadata_keeps_what_others_stored_and_drops_our_stale_times() -> None:
    kept = {"xattr": "%7B%7D", "owner-note": "x", "mtime": "1", "cosfs-atime-ns": "5"}

    metadata = make_codec().to_metadata(make_attributes(), keep=kept)

    assert metadata["xattr"] == "%7B%7D"
    assert metadata["owner-note"] == "x"
    assert metadata["mtime"] == "1700000000"
    assert "cosfs-atime-ns" not in metadata


def test_metadata_over_2_kilobytes_is_refused() -> None:
    with pytest.raises(MetadataFull, match="2048"):
        make_codec().to_metadata(make_attributes(), keep={"note": "x" * 2000})


TIMES = st.integers(min_value=-(2**62), max_value=2**62)


@given(
    permissions=st.integers(0, 0o7777),
    kind=st.sampled_from([stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO]),
    owner=st.integers(0, 2**32 - 2),
    times=st.tuples(TIMES, TIMES, TIMES),
)
def test_attributes_survive_being_stored(
    permissions: int, kind: int, owner: int, times: tuple[int, int, int]
) -> None:
    mtime_ns, ctime_ns, atime_ns = times
    attributes = make_attributes(
        mode=kind | permissions,
        uid=owner,
        gid=owner,
        mtime_ns=mtime_ns,
        ctime_ns=ctime_ns,
        atime_ns=atime_ns,
    )
    codec = make_codec()

    assert codec.from_object(make_info(codec.to_metadata(attributes))) == attributes


@given(st.dictionaries(st.sampled_from(["mode", "uid", "gid", "mtime"]), st.text(max_size=30)))
def test_any_metadata_can_be_read(metadata: dict[str, str]) -> None:
    attributes = make_codec().from_object(make_info(metadata))

    assert stat.S_IFMT(attributes.mode) != 0
    assert attributes.uid >= 0


def test_overrides_are_shown_but_not_stored() -> None:
    codec = make_codec(AttributeConfig(uid=7, gid=8, umask=0o077))
    stored = {"mode": "33188", "uid": "1", "gid": "2", "mtime": "1700000000"}

    shown = codec.from_object(make_info(stored))

    assert (shown.mode, shown.uid, shown.gid) == (stat.S_IFREG | 0o600, 7, 8)
    assert codec.to_metadata(shown, keep=stored)["mode"] == "33188"
    assert codec.to_metadata(shown, keep=stored)["uid"] == "1"


def test_listing_gives_a_plain_file_of_its_size_and_time() -> None:
    listed = ListedObject(
        key=Key("a"), size=9, etag=ETag("e"), modified_ns=MODIFIED_NS, storage_class="STANDARD"
    )

    attributes = make_codec().from_listing(listed)

    assert (attributes.mode, attributes.size) == (stat.S_IFREG | 0o644, 9)
    assert attributes.mtime_ns == MODIFIED_NS


@pytest.mark.parametrize(("major", "minor"), [(1, 3), (0, 0), (4095, (1 << 20) - 1)])
@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK])
def test_a_device_keeps_its_number(kind: int, major: int, minor: int) -> None:
    device = make_attributes(mode=kind | 0o600, size=0, rdev=os.makedev(major, minor))

    metadata = make_codec().to_metadata(device, keep={"cosfs-rdev": "9:9"})

    assert metadata["cosfs-rdev"] == f"{major}:{minor}"
    assert make_codec().from_object(make_info(metadata, size=0)) == device


@pytest.mark.parametrize("stored", ["", "1", "1:", ":3", "-1:3", "4096:0", "0:1048576", "a:b"])
def test_an_unreadable_device_number_is_none(stored: str) -> None:
    info = make_info({"mode": str(stat.S_IFCHR | 0o600), "cosfs-rdev": stored})

    assert make_codec().from_object(info).rdev == 0


def test_change_of_nothing_is_the_same_object() -> None:
    attributes = make_attributes()

    assert AttributeChange(mode=0o640, uid=1).apply(attributes, 99) is attributes


def test_change_keeps_the_type_and_moves_ctime() -> None:
    changed = AttributeChange(mode=0o4755).apply(make_attributes(), 99)

    assert changed == make_attributes(mode=stat.S_IFREG | 0o4755, ctime_ns=99)


def test_pinned_mtime_is_the_one_shown() -> None:
    assert make_codec().pin_mtime(make_info({"a": "b"})) == {"a": "b", "mtime": "1600000000"}
    assert make_codec().pin_mtime(make_info({"mtime": "5"})) == {"mtime": "5"}


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.html", "text/html"),
        ("a.tar.gz", "application/octet-stream"),
        ("a", "application/octet-stream"),
        ("photo.JPG", "image/jpeg"),
    ],
)
def test_content_type_follows_the_suffix(name: str, content_type: str) -> None:
    assert content_type_for(name) == content_type
