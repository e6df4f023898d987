"""The life of a mount: made in the background, ended by command, by signal, by force."""

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosfs.cli.mounts import is_running, records_of
from cosfs.mounttable import find_mount
from tests.mounted.programs import eventually
from tests.mounted.writers import open_file
from tests.support.commands import Finished, cosfs
from tests.support.emulated import BUCKET, EmulatorProcess
from tests.support.mounted import mount_environment, mounted

RECORDS = records_of(os.getuid())
pytestmark = pytest.mark.usefixtures("clean_emulator")


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    """A directory; whatever is mounted there at the end is detached, and its process ended."""
    path = tmp_path / "mount"
    path.mkdir()
    yield path
    record = RECORDS.find(path)
    subprocess.run(["fusermount3", "-u", "-z", path], check=False, capture_output=True, timeout=20)
    if record is not None and is_running(record):
        os.kill(record.pid, signal.SIGKILL)
    RECORDS.forget(path)


def mount(emulator: EmulatorProcess, mountpoint: Path, *options: str) -> Finished:
    environment = mount_environment(emulator.url)
    return cosfs("mount", BUCKET, str(mountpoint), *options, environment=environment)


def umount(mountpoint: Path, *options: str) -> Finished:
    return cosfs("umount", str(mountpoint), *options)


def kill_mount(mountpoint: Path) -> None:
    record = RECORDS.find(mountpoint)
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    eventually(lambda: not is_running(record))


def test_mount_says_what_it_mounted_and_answers(
    emulator: EmulatorProcess, mountpoint: Path
) -> None:
    done = mount(emulator, mountpoint, "--memory=64M")

    assert done.code == 0
    assert done.output == (
        f"mounted cos://{BUCKET} on {mountpoint} (rw, {emulator.url}, 64 MiB memory)\n"
    )
    assert os.listdir(mountpoint) == []


def test_umount_returns_when_the_process_has_ended(
    emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(emulator, mountpoint)
    record = RECORDS.find(mountpoint)

    done = umount(mountpoint)

    assert (done.code, done.errors) == (0, "")
    assert record is not None
    assert not is_running(record)
    assert find_mount(mountpoint) is None
    assert RECORDS.find(mountpoint) is None


def test_umount_waits_for_what_is_uploaded(emulator: EmulatorProcess, mountpoint: Path) -> None:
    mount(emulator, mountpoint)
    emulator.set_faults("operation=PutObject delay=1")
    with open_file(mountpoint / "late", "data") as writer:
        assert umount(mountpoint, "--lazy").code == 0
        writer.start_closing()

        done = umount(mountpoint)

    assert (done.code, done.errors) == (0, "")
    puts = [each for each in emulator.requests() if each["operation"] == "PutObject"]
    assert [(each["key"], each["status"]) for each in puts] == [("late", 200)]


def test_umount_says_when_it_cannot_know_how_a_mount_ends(
    emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(emulator, mountpoint)
    record = RECORDS.find(mountpoint)
    assert record is not None
    RECORDS.forget(mountpoint)

    done = umount(mountpoint)
    eventually(lambda: not is_running(record))

    assert done.code == 1
    assert "is unmounted, but its process left no word" in done.complaint
    assert find_mount(mountpoint) is None


def test_umount_gives_up_when_its_time_is_over(
    emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(emulator, mountpoint)
    with open_file(mountpoint / "open", "data"):
        umount(mountpoint, "--lazy")

        done = umount(mountpoint, "--timeout=0.2s")

    assert done.code == 3
    assert "is not done after 0.2 s" in done.complaint


def test_umount_of_a_mount_in_use_tells_the_way_out(
    emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(emulator, mountpoint)
    with open_file(mountpoint / "open", "data"):
        done = umount(mountpoint)

        assert done.code == 1
        assert "is in use" in done.complaint
        assert f"cosfs umount --lazy {mountpoint}" in done.complaint
        assert os.listdir(mountpoint) == ["open"]


def test_umount_tells_of_a_mount_that_was_killed(
    emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(emulator, mountpoint)
    kill_mount(mountpoint)

    done = umount(mountpoint)

    assert done.code == 1
    assert "its process was killed" in done.complaint
    assert umount(mountpoint).code == 4


def test_mount_clears_the_dead_end_of_a_killed_one(
    emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(emulator, mountpoint)
    left = RECORDS.find_socket(mountpoint)
    kill_mount(mountpoint)

    done = mount(emulator, mountpoint)

    assert done.code == 0
    assert "cleared the dead end" in done.complaint
    assert os.listdir(mountpoint) == []
    assert left is not None
    assert not left.exists()
    assert cosfs("status", str(mountpoint)).code == 0


def test_process_killed_while_it_stores_leaves_nothing_in_the_way(
    own_emulator: EmulatorProcess, mountpoint: Path
) -> None:
    """As systemd does when TimeoutStopSec is over."""
    mount(own_emulator, mountpoint)
    own_emulator.set_faults("operation=PutObject delay=60")
    with open_file(mountpoint / "open", "data"):
        record = RECORDS.find(mountpoint)
        assert record is not None
        os.kill(record.pid, signal.SIGTERM)
        eventually(
            lambda: any(each["operation"] == "PutObject" for each in own_emulator.requests())
        )
        kill_mount(mountpoint)
        own_emulator.set_faults("")

        again = mount(own_emulator, mountpoint)

    assert again.code == 0
    assert os.listdir(mountpoint) == []
    assert umount(mountpoint).code == 0


def test_mounting_anew_where_one_still_stores_lets_it_finish(
    emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(emulator, mountpoint)
    emulator.set_faults("operation=PutObject delay=3")
    with open_file(mountpoint / "late", "data") as writer:
        first = RECORDS.find(mountpoint)
        assert umount(mountpoint, "--lazy").code == 0
        writer.start_closing()

        assert mount(emulator, mountpoint).code == 0
        second = RECORDS.find(mountpoint)
        told = cosfs("status", "--json").output
    assert first is not None
    assert second is not None
    eventually(lambda: not is_running(first))

    assert f'"pid": {first.pid}' in told
    assert f'"pid": {second.pid}' in told
    assert is_running(second)
    assert (mountpoint / "late").read_text() == "data"
    assert umount(mountpoint).code == 0


def test_end_of_a_detached_mount_leaves_the_next_one_there_alone(
    emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(emulator, mountpoint)
    with open_file(mountpoint / "open", "data"):
        first = RECORDS.find(mountpoint)
        assert first is not None
        umount(mountpoint, "--lazy")
        mount(emulator, mountpoint)

        os.kill(first.pid, signal.SIGTERM)
        eventually(lambda: not is_running(first))

    assert find_mount(mountpoint) is not None
    assert (mountpoint / "open").read_text() == "data"


def test_mount_over_a_mount_is_refused(emulator: EmulatorProcess, mountpoint: Path) -> None:
    mount(emulator, mountpoint)

    done = mount(emulator, mountpoint)

    assert done.code == 32
    assert f"is mounted on {mountpoint} already" in done.complaint


def test_nonempty_directory_is_covered_when_asked_for(
    emulator: EmulatorProcess, mountpoint: Path
) -> None:
    (mountpoint / "below").touch()

    done = mount(emulator, mountpoint, "-o", "nonempty")

    assert done.code == 0
    assert os.listdir(mountpoint) == []


def test_read_only_mount_refuses_changes(emulator: EmulatorProcess, mountpoint: Path) -> None:
    done = mount(emulator, mountpoint, "-o", "ro")

    assert "(ro, " in done.output
    with pytest.raises(OSError, match="Read-only file system"):
        (mountpoint / "new").touch()


def test_prefix_alone_is_asked_for_and_shown(emulator: EmulatorProcess, mountpoint: Path) -> None:
    mount(emulator, mountpoint)
    (mountpoint / "inside").mkdir()
    (mountpoint / "inside" / "file").write_text("x")
    (mountpoint / "outside").write_text("x")
    umount(mountpoint)
    emulator.forget_requests()

    with mounted(emulator, source=f"cos://{BUCKET}/inside") as inside:
        assert os.listdir(inside.path) == ["file"]

    asked = [each for each in emulator.requests() if each["operation"] == "GetBucket"]
    assert asked
    assert all("prefix=inside" in each["query"] for each in asked)
    assert all(
        not each["key"] or each["key"].startswith("inside/") for each in emulator.requests()
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signal_stores_what_is_open_and_unmounts(
    number: signal.Signals, emulator: EmulatorProcess
) -> None:
    with mounted(emulator) as mount, open_file(mount.path / "open", "data"):
        mount.process.send_signal(number)

        assert mount.process.wait(timeout=20) == 0
        assert find_mount(mount.path) is None
    puts = [each for each in emulator.requests() if each["operation"] == "PutObject"]
    assert [(each["key"], each["bytes_in"]) for each in puts] == [("open", 4)]


def test_second_signal_does_not_wait_for_uploads(own_emulator: EmulatorProcess) -> None:
    own_emulator.set_faults("operation=PutObject delay=60")
    with mounted(own_emulator) as mount, open_file(mount.path / "open", "data"):
        mount.process.send_signal(signal.SIGTERM)
        eventually(
            lambda: any(each["operation"] == "PutObject" for each in own_emulator.requests())
        )
        mount.process.send_signal(signal.SIGTERM)

        assert mount.process.wait(timeout=20) == 8
        assert "before its uploads were finished" in mount.log.read_text()


def test_unmounting_from_outside_ends_the_process(emulator: EmulatorProcess) -> None:
    with mounted(emulator) as mount:
        mount.unmount()

        assert mount.log.read_text() == ""


def test_log_tells_no_secret(emulator: EmulatorProcess, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with mounted(emulator, options=[f"--log-file={log}", "--log-level=debug"]) as mount:
        (mount.path / "file").write_text("x")
        mount.unmount()

    text = log.read_text()
    assert "PUT Object" in text
    assert mount_environment()["COS_SECRET_KEY"] not in text
    assert "q-signature" not in text


@pytest.mark.skipif(
    shutil.which("mount.fuse3", path="/sbin:/usr/sbin") is None, reason="no helper"
)
def test_line_of_fstab_is_understood(
    emulator: EmulatorProcess, mountpoint: Path, tmp_path: Path
) -> None:
    """What mount(8) runs for type fuse.cosfs, with a PATH of ours."""
    command = tmp_path / "cosfs"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cosfs.cli.main "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    environment = mount_environment(PATH=f"{tmp_path}:{os.environ['PATH']}")
    options = f"rw,_netdev,nofail,x-systemd.automount,noatime,url={emulator.url}"
    helper = shutil.which("mount.fuse3", path="/sbin:/usr/sbin") or ""

    done = subprocess.run(
        [helper, f"cosfs#{BUCKET}", mountpoint, "-o", options],
        capture_output=True,
        text=True,
        timeout=45,
        check=False,
        env=environment,
    )

    assert done.returncode == 0, done.stderr
    assert os.listdir(mountpoint) == []
