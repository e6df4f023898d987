"""System calls made as some user, and what they leave: for tables of cases."""

import errno
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from qcloud_cos import CosServiceError

from tests.mounted.conftest import Place
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import Mounted, mounted

OK: Final = "OK"
Call = Callable[[], object]
CHAR: Final = os.makedev(1, 3)
BLOCK: Final = os.makedev(7, 0)

KINDS: Final[dict[str, Callable[[Path], object]]] = {
    "file": lambda at: os.close(os.open(at, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)),
    "directory": lambda at: os.mkdir(at, 0o755),
    "fifo": lambda at: os.mkfifo(at, 0o644),
    "socket": lambda at: os.mknod(at, stat.S_IFSOCK | 0o644),
    "char": lambda at: os.mknod(at, stat.S_IFCHR | 0o644, CHAR),
    "block": lambda at: os.mknod(at, stat.S_IFBLK | 0o644, BLOCK),
    "symlink": lambda at: os.symlink("target", at),
}

BY_ANYBODY: Final = tuple(kind for kind in KINDS if kind not in ("char", "block"))


def answer(call: Call, directory: Path, user: int = 0, groups: Sequence[int] = ()) -> str:
    """ "OK" or the errno's name, of a call that a process of *user* makes in *directory*.

    Its first group is *groups*'s first, or has the user's number.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writing, _called(call, directory, user, groups).encode())
        finally:
            os._exit(0)  # whatever pytest has to clean up is not this process's
    os.close(writing)
    with open(reading) as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    return told


def shape(path: Path) -> str:
    """Mode and owner, as in "0644 0:0"."""
    status = path.lstat()
    return f"{stat.S_IMODE(status.st_mode):04o} {status.st_uid}:{status.st_gid}"


def times(path: Path) -> tuple[int, int]:
    """The nanoseconds of mtime and ctime."""
    status = path.lstat()
    return status.st_mtime_ns, status.st_ctime_ns


def stored(place: Place, name: str) -> str:
    """What COS holds of a file, or of a directory: all of its st_mode, and its owner."""
    with suppress(CosServiceError):
        return _stored(place.sdk.head(place.prefix + name))
    return _stored(place.sdk.head(place.prefix + name + "/"))


def _stored(metadata: Mapping[str, str]) -> str:
    mode, uid, gid = (int(metadata[f"x-cos-meta-{name}"]) for name in ("mode", "uid", "gid"))
    return f"{mode:o} {uid}:{gid}"


@contextmanager
def shared_mount(emulator: EmulatorProcess, *options: str) -> Iterator[Mounted]:
    """A mount that all users can reach."""
    with mounted(emulator, options=["-o", "allow_other", *options]) as mount:
        mount.path.parent.chmod(0o711)
        yield mount


def _called(call: Call, directory: Path, user: int, groups: Sequence[int]) -> str:
    try:
        os.umask(0o022)
        if user:
            os.setgroups(groups)
            os.setgid(groups[0] if groups else user)
            os.setuid(user)
        os.chdir(directory)
        call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    except Exception as error:  # noqa: BLE001 - the test shows it, this process ends
        return repr(error)
    return OK
