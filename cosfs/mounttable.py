"""The kernel's table of mounts: asking it, unlike a stat, never asks the mount itself."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_MOST_LINKS: Final = 40  # as Linux
FUSE_TYPE: Final = "fuse.cosfs"  # the kernel's "fuse" and the subtype that the session asks for


@dataclass(frozen=True, slots=True, kw_only=True)
class MountedAt:
    """An entry of the table. *uid* is the user who mounted, where FUSE tells."""

    mountpoint: Path
    mount_id: int
    device: str  # "major:minor"
    fuse_type: str
    uid: int | None


def mounts(table: str | None = None) -> Iterator[MountedAt]:
    """Every mount, those below others at the same place first."""
    if table is None:
        table = os.fsdecode(Path("/proc/self/mountinfo").read_bytes())
    return map(_parse_entry, table.splitlines())


def find_mount(mountpoint: Path, table: str | None = None) -> MountedAt | None:
    """The topmost mount at *mountpoint*, which is resolved."""
    found = None
    for entry in mounts(table):
        if entry.mountpoint == mountpoint:
            found = entry
    return found


def locate(path: Path, table: str | None = None) -> tuple[Path, Path]:
    """The mountpoint of the cosfs mount that holds *path*, and the path below it.

    Symlinks are followed up to the mount and not in it: following asks the mount, which may hang.
    Without such a mount: the whole path, resolved, and nothing below it.
    """
    ours = {entry.mountpoint for entry in mounts(table) if entry.fuse_type == FUSE_TYPE}
    place, waiting, links = Path("/"), list(Path(os.path.abspath(path)).parts[:0:-1]), 0
    while waiting:
        place /= waiting.pop()
        if place in ours:
            return place, Path(*reversed(waiting))
        if links < _MOST_LINKS and os.path.islink(place):  # False where it cannot be seen
            links += 1
            target = place.parent / place.readlink()
            waiting += Path(os.path.abspath(target)).parts[:0:-1]
            place = Path("/")
    return place, Path()


def resolve(mountpoint: Path) -> Path:
    """As the kernel's table has it: absolute, without symlinks."""
    absolute = Path(os.path.abspath(mountpoint))
    # Not before asking the table: following symlinks asks the mount, which may hang.
    return absolute if find_mount(absolute) else Path(os.path.realpath(absolute))


def _parse_entry(line: str) -> MountedAt:
    """A line of proc_pid_mountinfo(5): six fields, optional ones, "-", type, source, options."""
    left, _, right = line.partition(" - ")
    mount_id, _parent, device, _root, path = left.split(" ")[:5]
    fuse_type, _, options = right.split(" ")[:3]
    uid = re.search(r"(?:^|,)user_id=(\d+)", options)
    return MountedAt(
        mountpoint=Path(re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)),
        mount_id=int(mount_id),
        device=device,
        fuse_type=fuse_type,
        uid=int(uid[1]) if uid else None,
    )
