"""What programs are told where a bucket is no disk, and how they notice."""

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.mounted.conftest import Place
from tests.mounted.programs import attempt, content, run, shell
from tests.support.mounted import Mounted

LIBC = ctypes.CDLL(None, use_errno=True)
MIB = 1 << 20
RENAME_EXCHANGE = 2  # linux/fs.h
AT_FDCWD = -100  # linux/fcntl.h
PAST = (1_000_000_000 * 10**9, 1_100_000_000 * 10**9)


def errno_of(call: Callable[[], int]) -> int | None:
    """The errno that a function of libc sets; None when it succeeds."""
    return ctypes.get_errno() if call() else None


@contextmanager
def refused_puts(place: Place) -> Iterator[None]:
    place.emulator.set_faults("operation=PutObject status=403 code=AccessDenied")
    try:
        yield
    finally:
        place.emulator.set_faults("")


def test_exchanging_two_names_is_refused(place: Place) -> None:
    shell("echo a > a; echo b > b", place.path)
    names = [os.fsencode(place.path / name) for name in "ab"]

    def exchange() -> int:
        return int(LIBC.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE))

    assert errno_of(exchange) == errno.EINVAL
    assert [(place.path / name).read_bytes() for name in "ab"] == [b"a\n", b"b\n"]


def test_fallocate_is_refused(place: Place) -> None:
    with (place.path / "f").open("wb") as file:
        span = ctypes.c_long(0), ctypes.c_long(MIB)

        def reserve() -> int:
            return int(LIBC.fallocate(file.fileno(), 0, *span))

        assert errno_of(reserve) == errno.EOPNOTSUPP


LOCK_TWICE = """
import fcntl, subprocess, sys
file = open("f", "a")
fcntl.{kind}(file, fcntl.LOCK_EX)
other = "import fcntl; fcntl.{kind}(open('f', 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
sys.exit(subprocess.run([sys.executable, "-c", other]).returncode)
"""


@pytest.mark.parametrize("kind", ["flock", "lockf"])
def test_locks_hold_between_programs_of_this_machine(place: Place, kind: str) -> None:
    script = LOCK_TWICE.format(kind=kind)

    done = attempt(sys.executable, "-c", script, cwd=place.path, timeout_s=20)

    assert done.returncode == 1
    assert "BlockingIOError" in done.stderr


def test_reading_leaves_the_time_of_access(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    os.utime(path, ns=PAST)

    assert path.read_bytes() == b"content"
    os.listdir(place.path)

    assert path.stat().st_atime_ns == PAST[0]


def test_another_mount_shows_the_stored_times_of_a_directory(place: Place) -> None:
    (place.path / "d").mkdir()
    os.utime(place.path / "d", ns=PAST)
    run("sync", "d", cwd=place.path)
    (place.path / "d" / "f").touch()

    assert (place.path / "d").stat().st_mtime_ns > PAST[1]
    with place.fresh() as path:
        assert (path / "d").stat().st_mtime_ns == PAST[1]


def test_no_local_disk_is_used(place: Place, mount: Mounted) -> None:
    data = content(40 * MIB)
    before = written_to_disk(mount)

    (place.path / "f").write_bytes(data)
    with (place.path / "f").open("r+b") as file:
        file.seek(5 * MIB)
        file.write(data[:MIB])
    assert (place.path / "f").read_bytes() == data[: 5 * MIB] + data[:MIB] + data[6 * MIB :]

    assert written_to_disk(mount) - before < MIB  # its log


def written_to_disk(mount: Mounted) -> int:
    with open(f"/proc/{mount.process.pid}/io") as counters:
        values = dict(line.split(": ") for line in counters)
    return int(values["write_bytes"])


@pytest.mark.parametrize(
    "command",
    [
        "cp ../../source f",
        "cat ../../source > f",
        "/bin/echo x > f",
        "dd if=/dev/zero of=f bs=100 count=1",
        "{ echo x; sync f; } > f",
        "truncate -s 0 f",
        "ln -s x link",
        "mkfifo pipe",
    ],
)
def test_programs_report_what_close_says(place: Place, command: str) -> None:
    shell("echo old > f", place.path)
    (place.path.parent.parent / "source").write_bytes(b"content")

    with refused_puts(place):
        done = attempt("bash", "-c", command, cwd=place.path, timeout_s=20)

    assert done.returncode != 0
    assert "Permission denied" in done.stderr
    assert place.sdk.get(place.prefix + "f") == b"old\n"


def test_bash_does_not_report_what_close_says(place: Place) -> None:
    """The reason for the advice: should this fail one day, the advice can go."""
    shell("echo old > f", place.path)

    with refused_puts(place):
        done = attempt("bash", "-c", "echo x > f", cwd=place.path, timeout_s=20)

    assert (done.returncode, done.stderr) == (0, "")
    assert place.sdk.get(place.prefix + "f") == b"old\n"


def test_sync_in_the_group_stores_what_it_wrote(place: Place) -> None:
    run("bash", "-euc", "{ echo x; sync f; } > f", cwd=place.path)

    assert place.sdk.get(place.prefix + "f") == b"x\n"
