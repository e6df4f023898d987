"""COS is away: every call ends in time, what can be saved is, and the next file works.

A stopped emulator is a black hole: the kernel goes on accepting connections and bytes for it.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mounted.programs import attempt, content, digest, eventually, run
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import Mounted, mounted
from tests.support.sdk import Sdk

MIB = 1 << 20
TIMEOUT_S = 3
SLACK_S = 1.5  # a busy machine, and the programs themselves


@pytest.fixture
def mount(own_emulator: EmulatorProcess) -> Iterator[Mounted]:
    options = ["--part-size", "1M", "--timeout", str(TIMEOUT_S), "--metadata-ttl", "0"]
    with mounted(own_emulator, options=options) as mount:
        yield mount


@contextmanager
def away(emulator: EmulatorProcess) -> Iterator[None]:
    emulator.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        emulator.process.send_signal(signal.SIGCONT)


def seconds(*command: str | Path) -> float:
    """For how long a program runs that is told that the time is up."""
    began = time.monotonic()
    done = attempt(*command)
    assert "timed out" in done.stderr, done
    return time.monotonic() - began


COMMANDS = {
    "ls": "ls {}",
    "stat": "stat {}/f",
    "cat": "cat {}/f",
    "cp": "cp /etc/passwd {}/new",
    "echo": "echo x > {}/new",
    "mkdir": "mkdir {}/new",
    "rm": "rm {}/f",
    "mv": "mv {}/f {}/g",
    "ls -l": "ls -l {}/d",
}


def test_every_call_ends_in_time_and_then_fails_fast(
    own_emulator: EmulatorProcess, mount: Mounted
) -> None:
    sdk = Sdk(own_emulator.port)
    sdk.put("f", b"old")
    sdk.put("d/f", b"old")
    commands = [text.replace("{}", str(mount.path)) for text in COMMANDS.values()]
    with away(own_emulator):
        took_s = [seconds("bash", "-c", command) for command in commands]
        began = time.monotonic()
        run("df", mount.path)
        run("stat", mount.path)
        at_once_s = time.monotonic() - began

    assert max(took_s) < TIMEOUT_S + SLACK_S
    assert sum(sorted(took_s)[:5]) < SLACK_S  # most were not even tried
    assert at_once_s < SLACK_S
    assert sdk.get("f") == b"old"
    eventually(lambda: attempt("cp", "/etc/passwd", mount.path / "next").returncode == 0)
    assert sdk.get("next") == Path("/etc/passwd").read_bytes()
    mount.unmount()


def test_close_ends_in_time_and_says_so(own_emulator: EmulatorProcess, mount: Mounted) -> None:
    sdk = Sdk(own_emulator.port)
    sdk.put("f", b"old")
    small, large = (mount.path / "f").open("wb"), (mount.path / "g").open("wb")
    small.write(b"new")
    large.write(content(4 * MIB))
    began = time.monotonic()
    with away(own_emulator):
        for file in (small, large):
            with pytest.raises(OSError, match="timed out"):
                file.close()
        took_s = time.monotonic() - began

    assert took_s < 2 * 2 * TIMEOUT_S + SLACK_S
    # What lay in the sockets may be stored later, by a server that comes to itself.
    assert sdk.get("f") in (b"old", b"new")
    eventually(lambda: attempt("cp", "/etc/passwd", mount.path / "g").returncode == 0)
    assert sdk.get("g") == Path("/etc/passwd").read_bytes()


def test_copy_outlives_an_outage_as_long_as_the_timeout(
    own_emulator: EmulatorProcess, mount: Mounted, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(content(40 * MIB))
    own_emulator.set_faults("operation=UploadPart delay=0.1")
    copy = subprocess.Popen(["cp", source, mount.path / "f"])
    eventually(lambda: len(own_emulator.requests()) > 12)

    with away(own_emulator):
        time.sleep(TIMEOUT_S)

    assert copy.wait(timeout=60) == 0
    assert Sdk(own_emulator.port).digests("f") == {"": digest(source.read_bytes())}


def test_reader_outlives_an_outage_as_long_as_the_timeout(
    own_emulator: EmulatorProcess, mount: Mounted
) -> None:
    Sdk(own_emulator.port).put("f", content(40 * MIB))
    with (mount.path / "f").open("rb", buffering=0) as file:
        read = [file.read(MIB)]
        resumed = threading.Timer(TIMEOUT_S, own_emulator.process.send_signal, [signal.SIGCONT])
        own_emulator.process.send_signal(signal.SIGSTOP)
        resumed.start()
        try:
            while chunk := file.read(MIB):
                read.append(chunk)
        finally:
            resumed.join()

    assert digest(b"".join(read)) == digest(content(40 * MIB))


def test_unmounting_ends_in_time_and_names_what_is_lost(
    own_emulator: EmulatorProcess, mount: Mounted
) -> None:
    file = (mount.path / "f").open("wb")
    file.write(content(3 * MIB))
    with away(own_emulator):
        mount.process.terminate()
        began = time.monotonic()
        code = mount.process.wait(timeout=30)
        took_s = time.monotonic() - began
        with pytest.raises(OSError, match=r"not connected|aborted"):
            file.close()

    assert code != 0
    assert took_s < 3 * TIMEOUT_S + SLACK_S
    assert "not stored: 'f'" in mount.log.read_text()
