"""A mount that is killed in the middle of a copy: the same copy again sends what is missing."""

import os
import signal
import sqlite3
import subprocess
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.mounted.programs import digest, eventually, run
from tests.support.emulated import EmulatorProcess, emulator_process
from tests.support.mounted import mounted
from tests.support.sdk import Sdk

MIB = 1 << 20
SIZE = 48 * MIB
PART = 4 * MIB
ON_THE_WAY = 4  # parts in flight when the mount dies
OPTIONS = ("--part-size", "4M", "--parallel", str(ON_THE_WAY))


def sent(emulator: EmulatorProcess) -> int:
    """Bytes of all parts that arrived whole."""
    records = emulator.requests()
    parts = [record for record in records if record["operation"] == "UploadPart"]
    return sum(record["bytes_in"] for record in parts if record["status"] == 200)


@pytest.mark.parametrize("program", [("cp",), ("rsync", "-a"), ("dd", "bs=1M")])
def test_copy_after_a_kill_sends_what_is_missing(program: Sequence[str], tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(SIZE))

    def command(target: Path) -> list[str]:
        if program[0] == "dd":
            return [*program, f"if={source}", f"of={target}"]
        return [*program, str(source), str(target)]

    with emulator_process("--bandwidth", str(8 * MIB)) as emulator:
        with mounted(emulator, options=OPTIONS) as mount:
            copying = subprocess.Popen(
                command(mount.path / "copy"),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            eventually(lambda: sent(emulator) >= SIZE // 3)
            mount.process.send_signal(signal.SIGKILL)
            assert copying.wait(timeout=30) != 0
        before = sent(emulator)
        emulator.forget_requests()
        with mounted(emulator, options=OPTIONS) as mount:
            run(*command(mount.path / "copy"))
            log = mount.log.read_text()
            mount.unmount()
        again = sent(emulator)
        sdk = Sdk(emulator.port)

        assert sdk.digests("") == {"copy": digest(source.read_bytes())}
        assert before + again <= SIZE + ON_THE_WAY * PART
        assert "parts were already there" in log


def test_mount_aborts_old_uploads_that_nobody_took_up(tmp_path: Path) -> None:
    state = tmp_path / "state"
    environment = {"COSFS_STATE_DIR": str(state)}
    with emulator_process("--bandwidth", str(MIB)) as emulator:
        sdk = Sdk(emulator.port)
        with mounted(emulator, options=OPTIONS, environment=environment) as mount:
            file = (mount.path / "copy").open("wb", buffering=0)
            file.write(bytes(PART))
            eventually(lambda: sdk.uploads() == ["copy"])
            mount.process.kill()
            mount.process.wait(timeout=30)
            with pytest.raises(OSError, match=r"connected|abort"):
                file.close()
        (journal,) = state.glob("*.uploads")
        with closing(sqlite3.connect(journal)) as database, database:
            database.execute("UPDATE uploads SET begun = begun - 8 * 86400")

        with mounted(emulator, options=OPTIONS, environment=environment):
            eventually(lambda: sdk.uploads() == [])
