"""Who still holds a file, from a /proc made for the test and from the real one."""

import os
import threading
from pathlib import Path

from cosfs.fuse.descriptors import OpenDescriptors

MOUNT_ID = 29


def add_descriptor(proc: Path, number: int, *, mount_id: int, inode: int) -> None:
    directory = proc / "7" / "fdinfo"
    directory.mkdir(parents=True, exist_ok=True)
    text = f"pos:\t0\nflags:\t0100001\nmnt_id:\t{mount_id}\nino:\t{inode}\n"
    (directory / str(number)).write_text(text)


def mount_id_of(descriptor: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("mnt_id:"))


def test_descriptor_on_the_mount_counts(tmp_path: Path) -> None:
    add_descriptor(tmp_path, 0, mount_id=1, inode=12)
    add_descriptor(tmp_path, 3, mount_id=MOUNT_ID, inode=12)

    assert OpenDescriptors(MOUNT_ID, proc=tmp_path).holds(7, 12)


def test_same_inode_of_another_mount_does_not_count(tmp_path: Path) -> None:
    add_descriptor(tmp_path, 3, mount_id=2, inode=12)

    assert not OpenDescriptors(MOUNT_ID, proc=tmp_path).holds(7, 12)


def test_numbers_are_compared_whole(tmp_path: Path) -> None:
    add_descriptor(tmp_path, 3, mount_id=MOUNT_ID, inode=123)
    add_descriptor(tmp_path, 4, mount_id=MOUNT_ID * 10, inode=12)

    assert not OpenDescriptors(MOUNT_ID, proc=tmp_path).holds(7, 12)


def test_process_that_is_gone_holds_nothing(tmp_path: Path) -> None:
    assert not OpenDescriptors(MOUNT_ID, proc=tmp_path).holds(7, 12)


def test_descriptor_closed_since_it_was_listed_does_not_count(tmp_path: Path) -> None:
    add_descriptor(tmp_path, 4, mount_id=MOUNT_ID, inode=12)
    (tmp_path / "7" / "fdinfo" / "3").symlink_to(tmp_path / "gone")

    assert OpenDescriptors(MOUNT_ID, proc=tmp_path).holds(7, 12)
    assert not OpenDescriptors(MOUNT_ID, proc=tmp_path).holds(7, 13)


def test_own_descriptor_is_seen_until_it_is_closed(tmp_path: Path) -> None:
    """By the thread's id as well, which is what FUSE tells."""
    with (tmp_path / "file").open("wb") as file:
        inode = os.fstat(file.fileno()).st_ino
        descriptors = OpenDescriptors(mount_id_of(file.fileno()))
        held = descriptors.holds(os.getpid(), inode)
        held_by_thread = descriptors.holds(threading.get_native_id(), inode)

    assert held
    assert held_by_thread
    assert not descriptors.holds(os.getpid(), inode)
