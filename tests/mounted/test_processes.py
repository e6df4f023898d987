"""Several programs on one file, and files that only their descriptors know."""

import errno
import io
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.programs import content, eventually, run, shell
from tests.support.emulated import BUCKET, EmulatorProcess
from tests.support.mounted import mounted
from tests.support.sdk import Sdk

MIB = 1 << 20


@contextmanager
def started(*commands: Sequence[str], place: Place) -> Iterator[list[subprocess.Popen[str]]]:
    """Programs that run at once in the directory, killed if the block leaves them behind."""
    with ExitStack() as stack:
        processes = []
        for command in commands:
            process = subprocess.Popen(
                command, cwd=place.path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
        yield processes


def finish(processes: Sequence[subprocess.Popen[str]]) -> list[str]:
    """Wait until all have succeeded; returns what they printed."""
    told = [process.communicate(timeout=40)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes)
    return told


APPENDER = """
import os, sys
file = os.open("log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for n in range(400):
    os.write(file, b"%s %d %s\\n" % (sys.argv[1].encode(), n, b"x" * (n * 7 % 3000)))
os.close(file)
"""


def test_lines_that_processes_append_at_once_all_arrive_whole(place: Place) -> None:
    writers = [f"writer{number}" for number in range(5)]
    commands = [(sys.executable, "-c", APPENDER, name) for name in writers]

    with started(*commands, place=place) as processes:
        finish(processes)

    data = place.sdk.get(place.prefix + "log")
    lines = data.decode().splitlines()
    for name in writers:
        assert [line for line in lines if line.startswith(name + " ")] == [
            f"{name} {number} {'x' * (number * 7 % 3000)}" for number in range(400)
        ]
    assert len(lines) == 400 * len(writers)
    place.assert_holds({"log": data})


def test_a_reader_follows_a_writer(place: Place) -> None:
    """What is read while another process writes is always a beginning of what it writes."""
    data = content(20 * MIB)
    (place.path / "source").write_bytes(data)
    writer = "f = open('f', 'wb', buffering=0); s = open('source', 'rb')\n"
    writer += "while b := s.read(100_003): f.write(b)"
    (place.path / "f").touch()

    with started((sys.executable, "-c", writer), place=place) as processes:
        seen = 0
        with (place.path / "f").open("rb") as reader:
            while seen < len(data):
                more = reader.read(MIB)
                assert data.startswith(more, seen)
                assert more or processes[0].poll() in (None, 0)
                seen += len(more)
        finish(processes)

    place.assert_holds({"f": data, "source": data})


def test_tail_follows_a_growing_file(place: Place) -> None:
    (place.path / "log").touch()
    command = ("timeout", "20", "tail", "-n", "+1", "-s", "0.05", "-f", "log")

    with started(command, place=place) as (tail,), (place.path / "log").open("a") as log:
        assert tail.stdout is not None
        for number in range(20):
            log.write(f"line {number}\n")
            log.flush()
            assert tail.stdout.readline() == f"line {number}\n"
        shell("echo the last >> log", place.path)
        assert tail.stdout.readline() == "the last\n"
        tail.terminate()


def test_flock_lets_one_program_in_at_a_time(place: Place) -> None:
    """Each adds one to a number that is read, written anew and closed."""
    (place.path / "number").write_text("0\n")
    script = (
        "for i in $(seq 12); do flock lock bash -c 'read n < number; echo $((n + 1)) > number'"
    )
    script += "; done"

    with started(*[("bash", "-euc", script)] * 4, place=place) as processes:
        finish(processes)

    place.assert_holds({"number": b"48\n", "lock": b""})


def test_a_temporary_file_without_a_name_keeps_its_content(place: Place) -> None:
    data, other = content(20 * MIB), content(3 * MIB, seed=2)
    with (place.path / "temporary").open("w+b", buffering=0) as file:
        file.write(data[: 11 * MIB])
        (place.path / "temporary").unlink()
        file.write(data[11 * MIB :])
        assert os.pread(file.fileno(), 20 * MIB, 0) == data

        os.pwrite(file.fileno(), other, 7 * MIB)
        os.ftruncate(file.fileno(), 18 * MIB + 5)
        expected = data[: 7 * MIB] + other + data[10 * MIB : 18 * MIB + 5]
        assert os.pread(file.fileno(), 20 * MIB, 0) == expected
        file.seek(0)
        file.write(other)
        assert os.pread(file.fileno(), 20 * MIB, 0) == other + expected[3 * MIB :]
        assert os.fstat(file.fileno()).st_nlink == 0
        assert os.listdir(place.path) == []

    eventually(lambda: place.sdk.keys(".cosfs-removed/") == [])
    assert place.sdk.keys(place.prefix) == [place.prefix]
    assert place.sdk.uploads() == []


def test_a_shared_mapping_is_written_back(place: Place) -> None:
    """Without msync: what is stored is what munmap and close leave."""
    data = bytearray(content(17 * MIB + 123))
    (place.path / "f").write_bytes(data)

    with (place.path / "f").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        assert mapped[:] == data
        for at in range(0, len(data) - 4, 1_000_003):
            mapped[at : at + 4] = data[at : at + 4] = b"here"
        mapped[-3:] = data[-3:] = b"end"
        mapped.flush()
        with (place.path / "f").open("rb") as reader:
            assert reader.read() == data
        mapped[0:5] = data[0:5] = b"again"
    run("sync", place.path / "f")

    place.assert_holds({"f": bytes(data)})


def test_a_mapping_shows_what_others_write(place: Place) -> None:
    data = bytearray(content(5 * MIB))
    (place.path / "f").write_bytes(data)

    with (place.path / "f").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        assert mapped[:] == data
        run("dd", "if=/dev/zero", f"of={place.path}/f", "bs=4096", "count=1", "conv=notrunc")
        shell("echo change | dd of=f conv=notrunc oflag=seek_bytes seek=3000001", place.path)
        data[:4096], data[3000001:3000008] = bytes(4096), b"change\n"
        assert mapped[:] == data
        mapped.close()

    place.assert_holds({"f": bytes(data)})


def test_file_that_is_replaced_all_the_time_is_always_read_whole(place: Place) -> None:
    """As a program does that saves its state by renaming a new file over the old one."""
    states = [f"{number} ".encode() * 1000 for number in range(60)]
    (place.path / "state").write_bytes(states[0])

    def save_all() -> None:
        for state in states[1:]:
            (place.path / ".new").write_bytes(state)
            (place.path / ".new").rename(place.path / "state")

    with ThreadPoolExecutor(1) as pool:
        saving = pool.submit(save_all)
        seen = []
        while not saving.done():
            with opened_again(place.path / "state") as file:
                seen.append(file.read())
        saving.result()

    assert len(seen) > 1
    assert set(seen) <= set(states)
    run("sync", place.path)  # the last of many renames leaves the old object for a moment
    place.assert_holds({"state": states[-1]})


def opened_again(path: Path) -> io.FileIO:
    """The file, as soon as it is not replaced twice while the kernel opens it."""
    while True:
        try:
            return io.FileIO(path)
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise


@pytest.mark.parametrize(("options", "asked"), [([], 1), (["-o", "ro"], 0)])
def test_a_mount_that_may_looks_for_what_a_killed_one_has_left(
    emulator: EmulatorProcess, sdk: Sdk, options: list[str], asked: int
) -> None:
    """What is young may be in use elsewhere."""
    young = f"forsaken/.cosfs-removed/{32 * 'a'}"
    sdk.put(young, b"x")
    emulator.forget_requests()

    with mounted(emulator, source=f"{BUCKET}/forsaken", options=options) as mount:
        mount.unmount()

    requests = [each for each in emulator.requests() if ".cosfs-removed" in each["query"]]
    assert [each["operation"] for each in requests] == ["GetBucket"] * asked
    assert sdk.keys("forsaken/") == [young]
