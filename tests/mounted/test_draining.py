"""The end of a mount that has files to store: what is stored, shown and named."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest

from cosfs.cli.mounts import records_of
from cosfs.mounttable import find_mount
from tests.mounted.programs import attempt, eventually
from tests.mounted.writers import open_file
from tests.support.commands import Finished, cosfs
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import COSFS, Mounted, mounted
from tests.support.sdk import Sdk

KIB = "x" * 1024
MANY_PARTS = 5 << 10  # KiB, with parts of 1 MiB
PARTS = ["--part-size", "1M"]


pytestmark = pytest.mark.usefixtures("clean_emulator")


@pytest.fixture
def mount(emulator: EmulatorProcess) -> Iterator[Mounted]:
    with mounted(emulator, options=PARTS) as mount:
        yield mount


def umount(mount: Mounted, *options: str) -> Finished:
    return cosfs("umount", str(mount.path), *options)


def detach_lazily(mount: Mounted) -> None:
    done = attempt("umount", "-l", mount.path)
    assert done.returncode == 0, done.stderr


def is_asked(emulator: EmulatorProcess, operation: str) -> bool:
    return any(each["operation"] == operation for each in emulator.requests())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, MANY_PARTS], ids=["nothing-sent", "upload-runs"])
def test_signal_stores_what_is_open(
    emulator: EmulatorProcess, mount: Mounted, number: signal.Signals, times: int
) -> None:
    with open_file(mount.path / "f", KIB, times=times):
        mount.process.send_signal(number)
        assert mount.process.wait(timeout=30) == 0, mount.log.read_text()

    assert find_mount(mount.path) is None
    assert Sdk(emulator.port).get("f") == KIB.encode() * times
    assert Sdk(emulator.port).uploads() == []


def test_signal_stores_attributes_that_were_collected(
    emulator: EmulatorProcess, mount: Mounted
) -> None:
    (mount.path / "f").write_text("content")
    (mount.path / "f").chmod(0o600)
    mount.process.send_signal(signal.SIGTERM)

    assert mount.process.wait(timeout=30) == 0, mount.log.read_text()
    assert Sdk(emulator.port).head("f")["x-cos-meta-mode"] == str(0o100600)


@pytest.mark.parametrize("times", [1, MANY_PARTS], ids=["nothing-sent", "upload-runs"])
def test_file_without_a_name_leaves_nothing_on_cos(
    emulator: EmulatorProcess, mount: Mounted, times: int
) -> None:
    (mount.path / "f").write_text("stored before")
    with open_file(mount.path / "f", KIB, times=times):
        (mount.path / "f").unlink()
        mount.process.send_signal(signal.SIGTERM)
        assert mount.process.wait(timeout=30) == 0, mount.log.read_text()

    assert Sdk(emulator.port).keys() == []
    assert Sdk(emulator.port).uploads() == []


def test_log_tells_what_was_stored_at_the_end_and_how_long_it_took(
    emulator: EmulatorProcess,
) -> None:
    with (
        mounted(emulator, options=["--log-level", "info"]) as mount,
        open_file(mount.path / "f", KIB),
    ):
        mount.process.send_signal(signal.SIGTERM)
        assert mount.process.wait(timeout=30) == 0
        log = mount.log.read_text()

    assert "mount stops signal=SIGTERM" in log
    assert f"mount ends mountpoint={mount.path} unstored=1" in log
    assert "file stored path=f" in log
    assert re.search(rf"mount ended mountpoint={mount.path} lost=0 seconds=\d+\.\d", log)


def test_close_under_way_at_a_signal_is_finished(
    emulator: EmulatorProcess, mount: Mounted
) -> None:
    emulator.set_faults("operation=CompleteMultipartUpload delay=2")
    with open_file(mount.path / "f", KIB, times=MANY_PARTS) as writer:
        writer.start_closing()
        eventually(lambda: is_asked(emulator, "CompleteMultipartUpload"))
        mount.process.send_signal(signal.SIGTERM)
        assert mount.process.wait(timeout=30) == 0, mount.log.read_text()

    assert writer.process.returncode == 0
    assert Sdk(emulator.port).get("f") == KIB.encode() * MANY_PARTS


def test_second_signal_does_not_wait_for_a_close_under_way(
    own_emulator: EmulatorProcess,
) -> None:
    own_emulator.set_faults("operation=PutObject delay=60")
    with mounted(own_emulator) as mount, open_file(mount.path / "f", KIB) as writer:
        writer.start_closing()
        eventually(lambda: is_asked(own_emulator, "PutObject"))
        mount.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert mount.process.poll() is None
        mount.process.send_signal(signal.SIGTERM)
        assert mount.process.wait(timeout=10) == 8
        assert "which are lost: 'f'" in mount.log.read_text()


def test_writer_that_waits_for_memory_does_not_keep_the_mount_from_ending(
    emulator: EmulatorProcess,
) -> None:
    emulator.set_faults("operation=UploadPart bandwidth=8000000")
    with mounted(emulator, options=["--memory", "32M", "--part-size", "1M"]) as mount:
        writer = subprocess.Popen(
            ["dd", "if=/dev/zero", f"of={mount.path}/f", "bs=1M", "count=300", "status=none"],
            stderr=subprocess.DEVNULL,
        )
        eventually(lambda: is_asked(emulator, "UploadPart"))
        mount.process.send_signal(signal.SIGTERM)
        assert mount.process.wait(timeout=60) == 0, mount.log.read_text()
        assert writer.wait(timeout=20) != 0

    stored = Sdk(emulator.port).get("f")
    assert stored == bytes(len(stored))
    assert stored


def test_lazily_detached_files_are_stored_while_they_are_written_on(
    emulator: EmulatorProcess, mount: Mounted
) -> None:
    writer = subprocess.Popen(
        ["bash", "-c", "for i in {1..20}; do head -c 200000 /dev/zero; sleep 0.1; done > f"],
        cwd=mount.path,
    )
    eventually((mount.path / "f").exists)
    detach_lazily(mount)

    assert writer.wait(timeout=30) == 0
    assert mount.process.wait(timeout=30) == 0, mount.log.read_text()
    assert Sdk(emulator.port).get("f") == bytes(20 * 200_000)


def test_server_that_is_away_at_the_end_costs_a_bounded_time_and_is_told(
    own_emulator: EmulatorProcess,
) -> None:
    with (
        mounted(own_emulator, options=["--timeout", "3s", *PARTS]) as mount,
        open_file(mount.path / "small", KIB),
        open_file(mount.path / "large", KIB, times=MANY_PARTS),
    ):
        (mount.path / "changed").write_text("content")
        own_emulator.process.kill()
        own_emulator.process.wait(timeout=10)
        (mount.path / "changed").chmod(0o600)
        mount.process.send_signal(signal.SIGTERM)

        assert mount.process.wait(timeout=45) == 32
        log = mount.log.read_text()
        done = umount(mount)

    assert "file lost path=small" in log
    assert "file lost path=large" in log
    assert "attributes lost name=changed" in log
    assert done.code == 1
    assert "did not end well: not stored: " in done.complaint
    named = [name for name in ("small", "large", "changed") if repr(name) in done.complaint]
    assert named == ["small", "large", "changed"], done.complaint


def test_umount_shows_lines_where_there_is_no_terminal(
    emulator: EmulatorProcess, mount: Mounted
) -> None:
    emulator.set_faults("operation=PutObject delay=5")
    with open_file(mount.path / "f", KIB) as writer:
        detach_lazily(mount)
        writer.start_closing()
        done = umount(mount)

    assert done.code == 0
    assert done.errors == f"cosfs: {mount.path}: 1 file and 1 KiB to upload\n"


def test_umount_is_quiet_when_asked_to_be(emulator: EmulatorProcess, mount: Mounted) -> None:
    emulator.set_faults("operation=PutObject delay=4")
    with open_file(mount.path / "f", KIB) as writer:
        detach_lazily(mount)
        writer.start_closing()
        done = umount(mount, "--quiet")

    assert (done.code, done.errors) == (0, "")


def test_umount_shows_a_bar_in_a_terminal(emulator: EmulatorProcess, mount: Mounted) -> None:
    emulator.set_faults("operation=PutObject delay=3")
    words = " ".join([*COSFS, "umount", str(mount.path)])
    with open_file(mount.path / "f", KIB) as writer:
        detach_lazily(mount)
        writer.start_closing()
        done = attempt("script", "-qec", words, "/dev/null", timeout_s=45)

    assert done.returncode == 0
    assert "1 file and 1 KiB to upload" in done.stdout
    assert "━" in done.stdout


def test_umount_names_what_is_not_stored_in_time(
    own_emulator: EmulatorProcess,
) -> None:
    own_emulator.set_faults("operation=PutObject delay=20")
    with mounted(own_emulator) as mount, open_file(mount.path / "slow", KIB):
        detach_lazily(mount)
        done = umount(mount, "--timeout", "1s")
        own_emulator.process.kill()
        mount.process.kill()

    assert done.code == 3
    assert "is not done with 'slow' after 1 s" in done.complaint


def test_what_a_killed_process_leaves_is_cleared_though_somebody_is_in_it(mount: Mounted) -> None:
    with open_file(mount.path / "f", KIB):
        record = records_of(os.getuid()).find(mount.path)
        socket = records_of(os.getuid()).find_socket(mount.path)
        mount.process.kill()
        mount.process.wait(timeout=10)

        done = umount(mount)

    assert record is not None
    assert socket is not None
    assert done.code == 1
    assert "its process was killed; what it had not uploaded is lost" in done.complaint
    assert find_mount(mount.path) is None
    assert not socket.exists()
    assert umount(mount).code == 4
