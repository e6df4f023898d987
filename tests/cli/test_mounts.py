"""The mount table and the records of the processes behind mounts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cosfs.cli.mounts import MountRecord, Records, is_running, records_of
from cosfs.mounttable import find_mount, locate, resolve

MOUNTPOINT = Path("/mnt/x")
TABLE = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:35 / /mnt/a\\040b rw,nosuid shared:9 master:2 - fuse.cosfs cos://b-1/ rw,user_id=1000
41 22 0:36 / /mnt/twice rw - tmpfs tmpfs rw
42 41 0:37 / /mnt/twice rw - fuse.cosfs cos://b-1/ rw,user_id=0,group_id=0
"""


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(uid=os.getuid(), directory=tmp_path / "records")


def test_table_names_type_and_user() -> None:
    found = find_mount(Path("/mnt/a b"), TABLE)

    assert found is not None
    assert (found.fuse_type, found.uid) == ("fuse.cosfs", 1000)


def test_topmost_mount_is_found() -> None:
    found = find_mount(Path("/mnt/twice"), TABLE)

    assert found is not None
    assert found.fuse_type == "fuse.cosfs"


def test_mount_of_another_kind_has_no_user() -> None:
    found = find_mount(Path("/"), TABLE)

    assert found is not None
    assert (found.fuse_type, found.uid) == ("ext4", None)


def test_nothing_is_mounted_below_a_mountpoint() -> None:
    assert find_mount(Path("/mnt/twice/below"), TABLE) is None


def test_resolve_follows_symlinks_and_dots(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")

    assert resolve(tmp_path / "real" / ".." / "link") == tmp_path / "real"


def table_with(mountpoint: Path) -> str:
    return f"40 22 0:35 / {mountpoint} rw - fuse.cosfs cos://b-1/ rw,user_id=0,group_id=0\n"


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("mount", "."),
        ("mount/", "."),
        ("mount/a/b", "a/b"),
        ("mount/a/../b", "b"),
        ("link/a", "a"),
        ("link/../mount/a", "a"),
        ("relative/a", "a"),
        ("long/a", "a"),
        ("mount/missing/deeper", "missing/deeper"),
    ],
)
def test_path_in_a_mount_is_located(tmp_path: Path, path: str, below: str) -> None:
    mountpoint = tmp_path / "mount"
    (tmp_path / "link").symlink_to(mountpoint)
    (tmp_path / "relative").symlink_to("mount")
    (tmp_path / "long").symlink_to("link")

    located = locate(Path(os.path.join(tmp_path, path)), table_with(mountpoint))

    assert located == (mountpoint, Path(below))


@pytest.mark.parametrize("path", ["other/a", "mounted", "loop/a"])
def test_path_in_no_mount_is_located_as_a_whole(tmp_path: Path, path: str) -> None:
    (tmp_path / "loop").symlink_to("loop")

    located = locate(tmp_path / path, table_with(tmp_path / "mount"))

    assert located == (tmp_path / path, Path())


def test_symlink_in_a_mount_is_not_followed(tmp_path: Path) -> None:
    """Following it would ask the mount."""
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount" / "link").symlink_to(tmp_path)

    located = locate(tmp_path / "mount" / "link" / "a", table_with(tmp_path / "mount"))

    assert located == (tmp_path / "mount", Path("link/a"))


def test_path_below_a_directory_that_cannot_be_asked_is_located_as_a_whole(
    tmp_path: Path,
) -> None:
    deeper = tmp_path / ("x" * 300) / "f"  # a name too long, as root may enter everything

    assert locate(deeper, table_with(tmp_path / "mount")) == (deeper, Path())


def test_records_are_in_one_place_whatever_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = records_of(1000)
    for name in ("XDG_RUNTIME_DIR", "TMPDIR"):
        monkeypatch.setenv(name, "/elsewhere")

    assert records_of(1000) == before


def test_directory_of_records_is_kept_from_cleaning(records: Records) -> None:
    """By a lock, as tmpfiles.d(5) has it: another process cannot take its own."""
    records.start(MOUNTPOINT)

    words = ["flock", "--nonblock", str(records.directory), "true"]
    assert subprocess.run(words, check=False, timeout=20).returncode == 1


def test_socket_is_found_while_its_mount_has_a_record(records: Records) -> None:
    place = records.socket(MOUNTPOINT)
    place.touch()
    before = records.find_socket(MOUNTPOINT)
    records.start(MOUNTPOINT)

    assert before is None
    assert records.find_socket(MOUNTPOINT) == place
    assert list(records.sockets()) == [place]


def test_sockets_of_the_dead_make_room_and_those_of_the_living_stay(records: Records) -> None:
    """One that still uploads keeps its socket when the next mounts at the same place."""
    mine = records.socket(MOUNTPOINT)
    dead = mine.with_name(mine.name.replace(f".{os.getpid()}.", ".4194305."))
    other = mine.with_name(mine.name.replace(f".{os.getpid()}.", f".{os.getppid()}."))
    for place in (mine, dead, other):
        place.touch()

    records.socket(MOUNTPOINT)

    assert list(records.sockets()) == [other]


def test_record_names_this_process_until_its_end(records: Records) -> None:
    records.start(MOUNTPOINT)

    record = records.find(MOUNTPOINT)
    assert record is not None
    assert (record.pid, record.error, is_running(record)) == (os.getpid(), None, True)

    records.end(MOUNTPOINT, None)
    assert records.find(MOUNTPOINT) is None


def test_record_keeps_why_a_mount_ended_badly(records: Records) -> None:
    records.start(MOUNTPOINT)

    records.end(MOUNTPOINT, "an upload failed")

    record = records.find(MOUNTPOINT)
    assert record is not None
    assert record.error == "an upload failed"


def test_end_of_a_mount_that_never_was_leaves_another_s_record(
    records: Records, tmp_path: Path
) -> None:
    script = (
        "import os, sys; from pathlib import Path; from cosfs.cli.mounts import Records;"
        "Records(uid=os.getuid(), directory=Path(sys.argv[1])).start(Path(sys.argv[2]))"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "records"), str(MOUNTPOINT)]
    subprocess.run(words, check=True, timeout=20)

    records.end(MOUNTPOINT, None)

    assert records.find(MOUNTPOINT) is not None


def test_process_that_ended_is_not_running() -> None:
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait(timeout=20)

    assert not is_running(MountRecord(pid=child.pid, started=0))


def test_later_process_with_the_same_number_is_another() -> None:
    assert not is_running(MountRecord(pid=os.getpid(), started=1))


def test_record_that_others_may_write_is_not_believed(records: Records) -> None:
    records.start(MOUNTPOINT)
    records.directory.chmod(0o777)

    assert records.find(MOUNTPOINT) is None


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"pid": "x", "started": 1, "error": null}'])
def test_record_that_makes_no_sense_is_none(records: Records, text: str) -> None:
    records.start(MOUNTPOINT)
    next(records.directory.iterdir()).write_text(text)

    assert records.find(MOUNTPOINT) is None
