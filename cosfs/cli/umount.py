"""``cosfs umount``: unmount, and return when the mount's process has uploaded what it held."""

import argparse
import os
import select
import sys
from pathlib import Path
from typing import Final

from cosfs.cli.mountpoint import detach
from cosfs.cli.mounts import MountRecord, Records, is_running, records_of
from cosfs.mounttable import FUSE_TYPE, find_mount, resolve
from cosfs.values import duration

FAILED: Final = 1
USAGE: Final = 2
TIMED_OUT: Final = 3
NOT_MOUNTED: Final = 4


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "umount",
        help="unmount, and wait until everything is uploaded",
        allow_abbrev=False,
        epilog="Exit codes: 1 not unmounted or an upload failed, 2 usage, 3 timed out, "
        "4 nothing of cosfs is mounted there.",
    )
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument(
        "--timeout", metavar="TIME", default="10m", help="wait at most so long (10m)"
    )
    parser.add_argument(
        "--lazy",
        action="store_true",
        help="take it out of the tree now; it ends with its last user, in the background",
    )


def run(arguments: argparse.Namespace) -> int:
    """Unmount and wait. Returns the exit code."""
    try:
        timeout_s = duration(arguments.timeout)
    except ValueError as error:
        return _fail(USAGE, f"--timeout {arguments.timeout!r}: {error}")
    return _unmount(resolve(Path(arguments.mountpoint)), timeout_s, lazy=arguments.lazy)


def _unmount(mountpoint: Path, timeout_s: float, *, lazy: bool) -> int:
    mounted = find_mount(mountpoint)
    if mounted is not None and mounted.fuse_type != FUSE_TYPE:
        return _fail(NOT_MOUNTED, f"{mountpoint} is a mount of {mounted.fuse_type}, not of cosfs")
    owner = None if mounted is None else mounted.uid
    records = records_of(os.getuid() if owner is None else owner)
    record = records.find(mountpoint)
    if mounted is None and record is None:
        return _fail(NOT_MOUNTED, f"cosfs is not mounted on {mountpoint}")
    if mounted is not None:
        complaint = detach(mountpoint, lazy=lazy)
        if complaint is not None:
            return _fail(FAILED, _explain(mountpoint, complaint))
    if lazy or record is None:
        return 0
    return _await_end(mountpoint, record, records, timeout_s=timeout_s)


def _explain(mountpoint: Path, complaint: str) -> str:
    if "busy" in complaint.lower():
        return (
            f"{mountpoint} is in use; end what uses it (fuser -vm {mountpoint} tells), or "
            f"detach it with: cosfs umount --lazy {mountpoint}"
        )
    return f"{mountpoint} is not unmounted: {complaint}"


def _await_end(
    mountpoint: Path, record: MountRecord, records: Records, *, timeout_s: float
) -> int:
    if not _wait_for_process(record, timeout_s=timeout_s):
        return _fail(
            TIMED_OUT,
            f"{mountpoint} is unmounted, but process {record.pid} is not done after "
            f"{timeout_s:g} s; wait on with: cosfs umount {mountpoint}",
        )
    last = records.find(mountpoint)
    if last is None or last.pid != record.pid:
        return 0
    records.forget(mountpoint)
    reason = last.error or "its process was killed"
    return _fail(FAILED, f"the mount on {mountpoint} did not end well: {reason}")


def _wait_for_process(record: MountRecord, *, timeout_s: float) -> bool:
    """Whether the process ended in time."""
    try:
        descriptor = os.pidfd_open(record.pid)
    except ProcessLookupError:
        return True
    try:
        # Looked at after opening: now the descriptor cannot mean a later process of that number.
        if not is_running(record):
            return True
        return bool(select.select([descriptor], [], [], timeout_s)[0])
    finally:
        os.close(descriptor)


def _fail(code: int, message: str) -> int:
    print(f"cosfs: {message}", file=sys.stderr)
    return code
