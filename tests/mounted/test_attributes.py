"""Modes, owners and times, here and in Tencent's format on COS."""

import mmap
import os
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.programs import content, run, shell

TIME_S = 1_234_567_890


def test_stat_tells_programs_to_use_large_blocks(place: Place) -> None:
    shell("head -c 1025 /dev/zero > f; mkdir d", place.path)

    status = (place.path / "f").stat()
    assert (status.st_size, status.st_blocks, status.st_nlink) == (1025, 3, 1)
    assert status.st_blksize == 1 << 20
    assert (place.path / "d").stat().st_nlink == 2


@pytest.mark.parametrize("size", [10, 20 << 20])
def test_cp_keeps_mode_owner_and_time(place: Place, tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    source.write_bytes(content(size))
    source.chmod(0o640)
    os.chown(source, 1234, 5678)
    os.utime(source, ns=(TIME_S * 10**9, TIME_S * 10**9 + 123_456_789))

    run("cp", "-p", source, place.path / "f")

    with place.fresh() as path:
        for status in [(place.path / "f").stat(), (path / "f").stat()]:
            assert status.st_mode == 0o100640
            assert (status.st_uid, status.st_gid) == (1234, 5678)
            assert status.st_mtime_ns == TIME_S * 10**9 + 123_456_789
    metadata = place.sdk.head(place.prefix + "f")
    assert metadata["x-cos-meta-mode"] == str(0o100640)
    assert metadata["x-cos-meta-uid"] == "1234"
    assert metadata["x-cos-meta-gid"] == "5678"
    assert metadata["x-cos-meta-mtime"] == str(TIME_S)


def test_a_small_file_has_its_attributes_on_cos_at_once(place: Place) -> None:
    shell("umask 027; echo x > f; mkdir d; ln -s f link", place.path)

    modes = {
        name: int(place.sdk.head(place.prefix + name)["x-cos-meta-mode"])
        for name in ("f", "d/", "link")
    }
    assert modes == {"f": 0o100640, "d/": 0o40750, "link": 0o120777}
    uploaded = (place.path / "f").stat()
    assert place.sdk.head(place.prefix + "f")["x-cos-meta-mtime"] == str(int(uploaded.st_mtime))


def test_attributes_written_by_others_are_read(place: Place) -> None:
    metadata = {"mode": "33152", "uid": "77", "gid": "88", "mtime": "1000000001"}
    headers = {f"x-cos-meta-{name}": value for name, value in metadata.items()}
    place.sdk.put(place.prefix + "f", b"theirs", headers)
    place.sdk.put(place.prefix + "link", b"f", {"x-cos-meta-mode": "41471"})

    with place.fresh() as path:
        status = (path / "f").stat()
        assert (path / "link").read_text() == "theirs"
    assert (status.st_mode, status.st_uid, status.st_gid) == (0o100600, 77, 88)
    assert status.st_mtime == 1_000_000_001


@pytest.mark.parametrize("size", [10, 20 << 20])
def test_chmod_chown_and_touch_keep_the_content(place: Place, size: int) -> None:
    data = content(size)
    (place.path / "f").write_bytes(data)

    shell("chown 12:34 f; chmod 4711 f; touch -d @1000000000 f; chmod 700 .", place.path)

    place.assert_holds({"f": data})
    with place.fresh() as path:
        status = (path / "f").stat()
        assert path.stat().st_mode == 0o40700
    assert (status.st_mode, status.st_uid, status.st_gid) == (0o104711, 12, 34)
    assert status.st_mtime == 1_000_000_000


def test_attributes_set_while_a_file_is_written_are_kept(place: Place) -> None:
    data = content(20 << 20)
    with (place.path / "f").open("wb") as file:
        file.write(data[: 10 << 20])
        file.flush()
        os.fchmod(file.fileno(), 0o601)
        os.fchown(file.fileno(), 3, 4)
        file.write(data[10 << 20 :])
        file.flush()
        os.utime(file.fileno(), (TIME_S, TIME_S))

    place.assert_holds({"f": data})
    with place.fresh() as path:
        status = (path / "f").stat()
    assert (status.st_mode, status.st_uid, status.st_gid) == (0o100601, 3, 4)
    assert status.st_mtime == TIME_S


@pytest.mark.parametrize("access", [os.O_WRONLY, os.O_RDWR], ids=["direct", "cached"])
def test_new_file_shows_what_happens_to_it_at_once(place: Place, access: int) -> None:
    """Although the kernel need not ask for the attributes of a file that it has just made."""
    path = place.path / "f"
    descriptor = os.open(path, access | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        made = os.fstat(descriptor)
        os.write(descriptor, b"abc")
        written = os.fstat(descriptor)
        path.chmod(0o640)
        os.truncate(path, 1)
        changed = os.fstat(descriptor)
        path.rename(place.path / "g")
        moved = os.fstat(descriptor)
        (place.path / "g").unlink()
        unlinked = os.fstat(descriptor)
    finally:
        os.close(descriptor)

    assert (made.st_mode, made.st_size, made.st_nlink) == (0o100600, 0, 1)
    assert written.st_size == 3
    assert written.st_mtime_ns > made.st_mtime_ns
    assert (changed.st_mode, changed.st_size) == (0o100640, 1)
    assert moved.st_ctime_ns > changed.st_ctime_ns
    assert unlinked.st_nlink == 0


def test_new_file_written_through_a_mapping_shows_its_time(place: Place) -> None:
    with (place.path / "f").open("x+b") as file:
        file.truncate(4096)
        made = os.fstat(file.fileno())
        with mmap.mmap(file.fileno(), 4096) as mapping:
            mapping[:3] = b"abc"
            mapping.flush()
            written = os.fstat(file.fileno())

    assert written.st_mtime_ns > made.st_mtime_ns


def test_writing_moves_the_time_on(place: Place) -> None:
    shell("echo x > f; touch -d @1000000000 f; echo y >> f", place.path)

    with place.fresh() as path:
        assert (path / "f").stat().st_mtime > 1_700_000_000


def test_statfs_answers(place: Place) -> None:
    status = os.statvfs(place.path)

    assert status.f_bavail > 0
    assert status.f_namemax == 255
