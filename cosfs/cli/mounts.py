"""Which process serves a mount: a small file for each, outside of it.

umount(2) returns while the mount's process still uploads. The file names that process, so that
``cosfs umount`` can wait for its end, and keeps what went wrong at the end.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from stat import S_ISDIR


@dataclass(frozen=True, slots=True, kw_only=True)
class MountRecord:
    """The process behind a mount. *error* is why it did not end well."""

    pid: int
    started: int  # clock ticks since boot: tells the process from a later one with its pid
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """The records of one user's mounts, in *directory*."""

    uid: int
    directory: Path

    def start(self, mountpoint: Path) -> None:
        """Say that this process serves *mountpoint*. Raises OSError."""
        pid = os.getpid()
        self._keep_from_cleaning()
        self._write(mountpoint, MountRecord(pid=pid, started=_start_time(pid) or 0))

    def socket(self, mountpoint: Path) -> Path:
        """Where this process may have the mount's control socket. Raises OSError."""
        place = self._own_directory() / _socket_name(mountpoint, os.getpid())
        for left in (place, *_dead_sockets(place.parent / _file_name(mountpoint))):
            left.unlink(missing_ok=True)
        return place

    def sockets(self) -> Iterator[Path]:
        """Every control socket, of mounts that have died as well."""
        if self._belongs_to_user():
            yield from sorted(self.directory.glob("*.socket"))

    def find_socket(self, mountpoint: Path) -> Path | None:
        """The control socket of the mount's process, if it has one."""
        record = self.find(mountpoint)
        if record is None:
            return None
        name = _socket_name(mountpoint, record.pid)
        return next((socket for socket in self.sockets() if socket.name == name), None)

    def end(self, mountpoint: Path, error: str | None) -> None:
        """Take this process's record away, or leave *error* in it for ``cosfs umount`` to tell."""
        record = self.find(mountpoint)
        if record is None or record.pid != os.getpid():
            return
        if error is None:
            self.forget(mountpoint)
        else:
            with suppress(OSError):
                self._write(mountpoint, replace(record, error=error))

    def find(self, mountpoint: Path) -> MountRecord | None:
        """What the mount's process wrote, if it did."""
        if not self._belongs_to_user():
            return None
        try:
            values = json.loads((self.directory / _file_name(mountpoint)).read_text())
            return MountRecord(
                pid=int(values["pid"]), started=int(values["started"]), error=values["error"]
            )
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def forget(self, mountpoint: Path) -> None:
        """Remove the record, and the sockets of processes that are gone."""
        if not self._belongs_to_user():
            return
        file = self.directory / _file_name(mountpoint)
        for left in (file, *_dead_sockets(file)):
            with suppress(OSError):
                left.unlink(missing_ok=True)

    def _own_directory(self) -> Path:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._belongs_to_user():
            raise PermissionError(f"{self.directory} belongs to somebody else")
        return self.directory

    def _keep_from_cleaning(self) -> None:
        """Lock the directory for as long as this process lives. Raises OSError.

        systemd-tmpfiles removes from /tmp what nobody touched for days, but nothing that is below
        a directory with a lock.
        """
        directory = os.open(self._own_directory(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(directory, fcntl.LOCK_SH)

    def _write(self, mountpoint: Path, record: MountRecord) -> None:
        file = self._own_directory() / _file_name(mountpoint)
        temporary = file.with_suffix(".new")
        temporary.write_text(json.dumps(asdict(record)))
        temporary.replace(file)

    def _belongs_to_user(self) -> bool:
        """Anybody may make a directory in /tmp: what others could write is not believed."""
        try:
            status = self.directory.lstat()
        except OSError:
            return False
        return S_ISDIR(status.st_mode) and status.st_uid == self.uid and not status.st_mode & 0o022


def records_of(uid: int) -> Records:
    """Where *uid*'s mounts keep their records: the same place for whoever asks.

    Not in $XDG_RUNTIME_DIR, nor in $TMPDIR: programs started otherwise see others, root does not
    know them, and /run/user/UID is removed when its user logs out, while mounts go on.
    """
    place = "/run/cosfs" if uid == 0 else f"/tmp/cosfs-{uid}"  # noqa: S108  believed if it is ours
    return Records(uid=uid, directory=Path(place))


def is_running(record: MountRecord) -> bool:
    """Whether the recorded process, and not a later one with its number, is still there."""
    return _start_time(record.pid) == record.started


def _start_time(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return None if fields[0] in "ZX" else int(fields[19])


def _socket_name(mountpoint: Path, pid: int) -> str:
    """Of each process its own: one that still uploads does not lose it to the next mount there."""
    return f"{_file_name(mountpoint)}.{pid}.socket"


def _dead_sockets(record: Path) -> Iterator[Path]:
    for socket in record.parent.glob(f"{record.name}.*.socket"):
        if _start_time(int(socket.name.split(".")[1])) is None:
            yield socket


def _file_name(mountpoint: Path) -> str:
    return sha256(os.fsencode(mountpoint)).hexdigest()[:32]
