"""The end of a mount, with files still being written."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mounted.programs import attempt, content, run
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import COSFS, Mounted, mount_environment, mounted
from tests.support.sdk import Sdk

MIB = 1 << 20
DATA = content(20 * MIB)


def command(emulator: EmulatorProcess, *words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COSFS, *words],
        env=mount_environment(emulator.url),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextmanager
def slow_parts(emulator: EmulatorProcess) -> Iterator[None]:
    emulator.set_faults("operation=UploadPart delay=1\noperation=PutObject delay=1")
    try:
        yield
    finally:
        emulator.set_faults("")


def assert_ended_well(mount: Mounted) -> None:
    assert mount.process.wait(timeout=30) == 0, mount.log.read_text()
    assert not os.path.ismount(mount.path)


@pytest.mark.parametrize(
    ("number", "size"),
    [(signal.SIGTERM, 5), (signal.SIGTERM, 20 * MIB), (signal.SIGINT, 20 * MIB)],
)
def test_a_signal_ends_the_mount_when_open_files_are_stored(
    emulator: EmulatorProcess, number: signal.Signals, size: int
) -> None:
    key = f"signal-{number}-{size}"
    with mounted(emulator) as mount:
        file = os.open(mount.path / key, os.O_CREAT | os.O_WRONLY)
        try:
            assert os.write(file, DATA[:size]) == size
            with slow_parts(emulator):
                mount.process.send_signal(number)
                assert_ended_well(mount)
        finally:
            with pytest.raises(OSError, match=r"not connected|Software caused"):
                os.close(file)

    assert Sdk(emulator.port).get(key) == DATA[:size]


def test_a_mount_in_use_stays(emulator: EmulatorProcess, mount: Mounted) -> None:
    with (mount.path / "busy").open("wb") as file:
        file.write(DATA)
        plain = attempt("fusermount3", "-u", mount.path)
        ours = command(emulator, "umount", mount.path)
        file.write(DATA)

    assert plain.returncode != 0
    assert ours.returncode == 1
    assert "in use" in ours.stderr
    assert (mount.path / "busy").read_bytes() == DATA + DATA


@pytest.mark.parametrize("program", ["fusermount3", "cosfs"])
def test_unmounting_after_the_last_close_loses_nothing(
    emulator: EmulatorProcess, program: str
) -> None:
    with mounted(emulator) as mount:
        (mount.path / f"closed-{program}").write_bytes(DATA)
        (mount.path / f"mapped-{program}").write_bytes(bytes(4096))
        mapped_write(mount.path / f"mapped-{program}")
        if program == "cosfs":
            assert command(emulator, "umount", mount.path).returncode == 0
            assert mount.process.wait(timeout=1) == 0
        else:
            run("fusermount3", "-u", mount.path)
            assert_ended_well(mount)

    assert Sdk(emulator.port).get(f"closed-{program}") == DATA
    assert Sdk(emulator.port).get(f"mapped-{program}") == b"changed" + bytes(4089)


MAPPED = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
file = os.open(sys.argv[1], os.O_RDWR)
memory = libc.mmap(None, 4096, 3, 1, file, 0)  # readable and writable, shared
os.close(file)
ctypes.memmove(memory, b"changed", 7)
"""


def mapped_write(path: Path) -> None:
    """Change a file after its last close, through a mapping that goes with the process.

    The mmap of Python has a descriptor of its own, whose close is a flush.
    """
    run(sys.executable, "-c", MAPPED, path)


def test_lazily_unmounted_files_are_stored_when_they_are_closed(
    emulator: EmulatorProcess,
) -> None:
    with mounted(emulator) as mount:
        file = os.open(mount.path / "lazy", os.O_CREAT | os.O_WRONLY)
        os.write(file, DATA)
        assert command(emulator, "umount", "--lazy", mount.path).returncode == 0
        os.write(file, DATA)
        os.close(file)
        assert_ended_well(mount)

    assert Sdk(emulator.port).get("lazy") == DATA + DATA


ABORTED = """
import errno, sys
import pyfuse3
from cosfs.cli.main import main
work = pyfuse3._session_loop
async def abort(*arguments):
    await work(*arguments)
    print("worker aborted", file=sys.stderr, flush=True)
    raise OSError(errno.ECONNABORTED, "fuse_session_receive_buf failed")
pyfuse3._session_loop = abort
sys.exit(main())
"""


def test_mount_that_the_kernel_calls_aborted_ends_well(emulator: EmulatorProcess) -> None:
    """It does so when it is unmounted between two steps of taking a request; here, always."""
    with mounted(emulator, command=(sys.executable, "-c", ABORTED)) as mount:
        held = os.open(mount.path / "held", os.O_CREAT | os.O_WRONLY)
        os.write(held, DATA)
        run("umount", "--force", "--lazy", mount.path)
        assert mount.process.wait(timeout=20) == 0, mount.log.read_text()
        with pytest.raises(OSError, match=r"not connected|abort"):
            os.close(held)
        assert set(mount.log.read_text().splitlines()) == {"worker aborted"}

    assert Sdk(emulator.port).get("held") == DATA


def test_unmounting_from_outside_returns_while_the_mount_stores_the_rest(
    emulator: EmulatorProcess,
) -> None:
    with mounted(emulator) as mount:
        (mount.path / "changed").write_bytes(b"content")
        emulator.set_faults("operation=CopyObject delay=2")
        (mount.path / "changed").chmod(0o600)
        run("fusermount3", "-u", mount.path)
        returned_early = mount.process.poll() is None
        assert_ended_well(mount)
        emulator.set_faults("")

    assert returned_early
    assert Sdk(emulator.port).head("changed")["x-cos-meta-mode"] == str(0o100600)


def test_umount_tells_of_a_file_that_could_not_be_stored(emulator: EmulatorProcess) -> None:
    with mounted(emulator) as mount:
        (mount.path / "refused").write_bytes(bytes(4096))
        emulator.set_faults("operation=PutObject status=403 code=AccessDenied key=refused")
        mapped_write(mount.path / "refused")
        done = command(emulator, "umount", mount.path)
        emulator.set_faults("")
        log = mount.log.read_text()

    assert "file lost path=refused" in log
    assert done.returncode == 1
    assert "not stored: 'refused'" in done.stderr
