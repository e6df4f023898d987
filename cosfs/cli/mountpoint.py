"""Can a mount be made there? Asked before anything is started, with one clear line for each no.

The errno constants here are those of system calls on the mountpoint, not of the filesystem.
"""

import errno
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from stat import S_ISDIR, S_ISVTX
from typing import Final

from cosfs.cli.mounts import is_running, records_of
from cosfs.config import MountConfig
from cosfs.errors import ConfigError, FuseMissing, MountDenied, MountFailed
from cosfs.mounttable import FUSE_TYPE, find_mount

FUSE_DEVICE: Final = Path("/dev/fuse")

_COMMAND_TIMEOUT_S: Final = 30.0


def prepare(config: MountConfig, *, device: Path = FUSE_DEVICE) -> None:
    """Check FUSE and the mountpoint; clear the dead end that an earlier mount left there.

    Raises FuseMissing, MountDenied, MountFailed or ConfigError.
    """
    _check_fuse(config, device)
    mountpoint = config.mountpoint
    mounted = find_mount(mountpoint)
    if mounted is not None and mounted.fuse_type == FUSE_TYPE:
        # Before any stat: one on a mount whose process hangs would hang as well.
        owner = os.getuid() if mounted.uid is None else mounted.uid
        record = records_of(owner).find(mountpoint)
        if record is not None and is_running(record):
            raise _already_mounted(mountpoint)
    _check_directory(mountpoint, nonempty=config.nonempty)


def detach(mountpoint: Path, *, lazy: bool) -> str | None:
    """Unmount; returns why it failed, None when it succeeded."""
    mounted = find_mount(mountpoint)
    if mounted is not None and os.geteuid() not in (0, mounted.uid):
        return f"only root and who mounted it (uid {mounted.uid}) may do that"
    program = shutil.which("fusermount3")
    if program is not None:
        command = [program, "-u", *(["-z"] if lazy else []), "--", str(mountpoint)]
    else:
        command = ["umount", "-i", *(["-l"] if lazy else []), "--", str(mountpoint)]
    try:
        done = subprocess.run(  # noqa: S603  a fixed program; the path is one argument
            command, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip() or f"{command[0]} failed"


def _check_fuse(config: MountConfig, device: Path) -> None:
    if not device.exists():
        raise FuseMissing(f"{device} is missing; load the kernel module with: modprobe fuse")
    if not os.access(device, os.R_OK | os.W_OK):
        raise MountDenied(f"this user may not open {device}; run as root or change its group")
    if os.geteuid() == 0:
        return
    if shutil.which("fusermount3") is None:
        raise FuseMissing("fusermount3 is missing; install the package fuse3")
    for option in {"allow_other", "allow_root"} & set(config.fuse_options):
        if not _users_may_allow_other():
            raise MountDenied(f"{option} needs the line user_allow_other in /etc/fuse.conf")


def _users_may_allow_other() -> bool:
    try:
        lines = Path("/etc/fuse.conf").read_text().splitlines()
    except OSError:
        return False
    return any(line.strip() == "user_allow_other" for line in lines)


def _check_directory(mountpoint: Path, *, nonempty: bool) -> None:
    if _is_dead(mountpoint):
        _clear_dead_mount(mountpoint)
    mounted = find_mount(mountpoint)
    if mounted is not None and mounted.fuse_type == FUSE_TYPE:
        raise _already_mounted(mountpoint)
    status = _status_of(mountpoint)
    if not S_ISDIR(status.st_mode):
        raise ConfigError(f"mountpoint {mountpoint} is not a directory")
    if os.geteuid() != 0:
        _check_rights(mountpoint, status)
    with suppress(PermissionError), os.scandir(mountpoint) as entries:
        if not nonempty and next(entries, None) is not None:
            raise ConfigError(f"mountpoint {mountpoint} is not empty; empty it or add -o nonempty")


def _check_rights(mountpoint: Path, status: os.stat_result) -> None:
    """What fusermount3 asks of a mountpoint, told with the next step. Raises MountDenied."""
    if status.st_mode & S_ISVTX and status.st_uid != os.geteuid():
        raise MountDenied(
            f"mountpoint {mountpoint} belongs to all users; make a directory in it and mount there"
        )
    if not os.access(mountpoint, os.W_OK):
        raise MountDenied(
            f"mountpoint {mountpoint} is not writable for this user; take a directory that is"
        )


def _status_of(mountpoint: Path) -> os.stat_result:
    try:
        return mountpoint.stat()
    except FileNotFoundError as error:
        raise ConfigError(
            f"mountpoint {mountpoint} does not exist; mkdir -p {mountpoint}"
        ) from error
    except OSError as error:
        raise MountFailed(f"mountpoint {mountpoint}: {error.strerror}") from error


def _is_dead(mountpoint: Path) -> bool:
    """Whether a FUSE mount is there whose process is gone.

    Opened, not asked for its status: the kernel may still know that from before.
    """
    try:
        os.close(os.open(mountpoint, os.O_RDONLY | os.O_DIRECTORY))
    except OSError as error:
        return error.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    return False


def _clear_dead_mount(mountpoint: Path) -> None:
    """Unmount what a killed cosfs left. Raises MountFailed when it is not ours or stays."""
    mounted = find_mount(mountpoint)
    ours = mounted is not None and mounted.fuse_type == FUSE_TYPE
    complaint = detach(mountpoint, lazy=True) if ours else "its filesystem is not cosfs"
    if complaint is not None:
        raise MountFailed(
            f"mountpoint {mountpoint} is the dead end of an earlier mount ({complaint}); "
            f"clear it with: fusermount3 -u -z {mountpoint}"
        )
    print(f"cosfs: cleared the dead end of an earlier mount on {mountpoint}", file=sys.stderr)


def _already_mounted(mountpoint: Path) -> MountFailed:
    return MountFailed(
        f"cosfs is mounted on {mountpoint} already; end it with: cosfs umount {mountpoint}"
    )
