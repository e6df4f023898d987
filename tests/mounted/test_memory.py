"""What a mount takes of the machine while the service is slow."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.mounted.programs import run
from tests.support.emulated import emulator_process
from tests.support.mounted import mounted

MIB = 1 << 20
BUDGET = 64 * MIB
SIZE = 48 * MIB  # four of them are three times the budget
ALLOWANCE = 120 * MIB  # the interpreter, its libraries, receive buffers and bodies on the way

OWN = 60 * MIB  # of the process
WAITING = 2 * MIB  # a write's bytes and the buffer that it came in


def write_zeros(path: Path, mebibytes: int = 4) -> None:
    run("dd", "if=/dev/zero", f"of={path}", "bs=1M", f"count={mebibytes}", "status=none")


def peak(pid: int) -> int:
    """The most that the process ever had resident, in bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def test_writers_faster_than_the_service_stay_in_the_budget(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(SIZE))
    options = ["--memory", "64M"]

    with (
        emulator_process("--bandwidth", str(3 * MIB), "--no-md5") as emulator,
        mounted(emulator, options=options) as mount,
    ):
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda n: run("cp", source, mount.path / f"f{n}"), range(4)))
        most = peak(mount.process.pid)
        sizes = [(mount.path / f"f{number}").stat().st_size for number in range(4)]

    assert sizes == [SIZE] * 4
    assert most < BUDGET + ALLOWANCE


def test_many_waiting_writers_take_two_mebibytes_each_beside_the_budget() -> None:
    writers = 32
    options = ["--memory", "64M"]

    with (
        emulator_process("--bandwidth", str(4 * MIB), "--no-md5") as emulator,
        mounted(emulator, options=options) as mount,
    ):
        with ThreadPoolExecutor(writers) as threads:
            list(threads.map(lambda n: write_zeros(mount.path / f"f{n}"), range(writers)))
        most = peak(mount.process.pid)
        sizes = {path.stat().st_size for path in mount.path.iterdir()}

    assert sizes == {4 * MIB}
    assert most < BUDGET + OWN + writers * WAITING


def test_writes_take_the_memory_of_what_was_read() -> None:
    with (
        emulator_process("--no-md5") as emulator,
        mounted(emulator, options=["--memory", "128M"]) as mount,
    ):
        for number in range(3):
            write_zeros(mount.path / f"f{number}", 128)
            run("dd", f"if={mount.path}/f{number}", "of=/dev/null", "bs=1M", "status=none")
        for number in range(3):
            write_zeros(mount.path / f"f{number}", 128)
        most = peak(mount.process.pid)

    assert most < 128 * MIB + ALLOWANCE


def test_a_thousand_small_open_files_fit_the_budget() -> None:
    with (
        emulator_process() as emulator,
        mounted(emulator, options=["--memory", "16M"]) as mount,
    ):
        files = [(mount.path / f"f{number}").open("wb", buffering=0) for number in range(1000)]
        for file in files:
            file.write(bytes(40_000))  # 40 MB in all
        for file in files:
            file.close()
        sizes = {path.stat().st_size for path in mount.path.iterdir()}

    assert sizes == {40_000}
