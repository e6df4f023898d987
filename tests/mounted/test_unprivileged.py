"""Mounts of a user who is not root, and of root beside them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from cosfs.cli.mounts import records_of
from tests.mounted.programs import eventually
from tests.support.commands import Finished
from tests.support.emulated import BUCKET, SECRET_ID, SECRET_KEY, EmulatorProcess
from tests.support.mounted import COSFS
from tests.support.person import Person, person
from tests.support.sdk import Sdk

NOT_CONNECTED: Final = "Transport endpoint is not connected"
MIB: Final = 1 << 20
WRITER: Final = """
import sys, time
with open(sys.argv[1], "wb", buffering=0) as file:
    file.write(bytes(3 << 20))
    print("written", flush=True)
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def user() -> Iterator[Person]:
    with person() as user:
        user.make_file(".passwd-cosfs", f"{SECRET_ID}:{SECRET_KEY}\n", mode=0o600)
        yield user


@pytest.fixture
def mountpoint(user: Person) -> Iterator[Path]:
    """An empty directory of the user's, where nothing is mounted any more at the end."""
    path = user.home / "mount"
    assert user.run("mkdir", path).code == 0
    yield path
    pid = pid_of(user, path)
    user.run("fusermount3", "-u", "-z", path)
    if pid is not None:
        eventually(lambda: not Path(f"/proc/{pid}").exists())
        records_of(user.uid).forget(path)
    assert user.run("rmdir", path).code == 0


@pytest.fixture
def locked(user: Person) -> Iterator[Path]:
    """A directory that the user cannot enter."""
    path = user.home / "locked"
    assert user.run("mkdir", "--mode=0", path).code == 0
    yield path
    assert user.run("rmdir", path).code == 0


@pytest.fixture
def by_root(user: Person) -> None:
    if not user.is_root_in_disguise:
        pytest.skip("only root can be root beside the user")


def mount(user: Person, emulator: EmulatorProcess, path: Path, *options: str) -> Finished:
    return user.cosfs("mount", BUCKET, path, f"--endpoint={emulator.url}", *options)


def pid_of(user: Person, mountpoint: Path) -> int | None:
    record = records_of(user.uid).find(mountpoint)
    return None if record is None else record.pid


def kill_mount(user: Person, mountpoint: Path) -> None:
    pid = pid_of(user, mountpoint)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: NOT_CONNECTED in user.run("ls", mountpoint).errors)


def test_programs_copy_in_and_out(
    user: Person, emulator: EmulatorProcess, mountpoint: Path
) -> None:
    made = user.run("bash", "-euc", "mkdir -p tree/d; seq 9999 > tree/d/f; ln -s d/f tree/link")
    assert made.code == 0
    assert mount(user, emulator, mountpoint).code == 0
    script = """
        cp -r tree mount/copied; rsync -a tree/ mount/synced/
        tar -cf mount/t.tar tree; tar -C mount -xf mount/t.tar
        chmod 600 mount/copied/d/f
    """

    copied = user.run("bash", "-euc", script)
    ended = user.cosfs("umount", mountpoint)
    again = mount(user, emulator, mountpoint)
    same = user.run(
        "bash", "-euc", "for each in copied synced tree; do diff -r tree mount/$each; done"
    )

    assert [done.errors for done in (copied, ended, again, same)] == [""] * 4
    assert [done.code for done in (copied, ended, again, same)] == [0] * 4
    owner = user.run("stat", "--format=%u %a", mountpoint / "copied/d/f")
    assert owner.output == f"{user.uid} 600\n"


def test_state_is_kept_at_home_for_the_user_alone(
    user: Person, emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(user, emulator, mountpoint)

    kept = user.run("stat", "--format=%a", user.home / ".local/state/cosfs")

    assert kept.output == "700\n"


def test_mount_is_asked_by_its_user(
    user: Person, emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(user, emulator, mountpoint)

    status, why, refresh = (
        user.cosfs(*words) for words in (["status"], ["why", mountpoint], ["refresh", mountpoint])
    )

    assert status.code == 0
    assert f"cos://{BUCKET} on {mountpoint}\n" in status.output
    assert "no error is known of" in why.complaint
    assert (refresh.code, refresh.errors) == (0, "")


@pytest.mark.parametrize("command", [["fusermount3", "-u"], ["umount"], [*COSFS, "umount"]])
def test_user_unmounts(
    user: Person, emulator: EmulatorProcess, mountpoint: Path, command: list[str]
) -> None:
    mount(user, emulator, mountpoint)
    pid = pid_of(user, mountpoint)

    done = user.run(*command, mountpoint)

    assert (done.code, done.errors) == (0, "")
    assert user.cosfs("status", mountpoint).code == 4
    eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_environment_does_not_hide_a_mount(
    user: Person, emulator: EmulatorProcess, mountpoint: Path
) -> None:
    """As after ``su``, which keeps root's runtime directory, or once its user has logged out."""
    runtime = user.home / "runtime"
    user.run("mkdir", "--mode=700", runtime)
    environ = {"XDG_RUNTIME_DIR": str(runtime), "TMPDIR": str(runtime)}
    words = ["mount", BUCKET, str(mountpoint), f"--endpoint={emulator.url}"]
    assert user.cosfs(*words, **environ).code == 0
    user.run("rm", "-r", runtime)

    assert user.cosfs("status", mountpoint).code == 0
    assert user.cosfs("umount", mountpoint, XDG_RUNTIME_DIR="/run/user/0").code == 0


def test_dead_mount_is_told_and_cleared(
    user: Person, emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(user, emulator, mountpoint)
    kill_mount(user, mountpoint)

    told = [user.cosfs("status"), user.cosfs("status", mountpoint)]
    again = mount(user, emulator, mountpoint)

    advice = f"its process was killed; clear it with: cosfs umount {mountpoint}"
    assert [done.output for done in told] == [f"{mountpoint}: {advice}\n"] * 2
    assert again.code == 0
    assert "cleared the dead end" in again.complaint
    assert user.run("ls", mountpoint).code == 0


def test_dead_mount_is_unmounted(
    user: Person, emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(user, emulator, mountpoint)
    kill_mount(user, mountpoint)

    done = user.cosfs("umount", mountpoint)

    assert done.code == 1
    assert "its process was killed" in done.complaint
    assert user.cosfs("umount", mountpoint).code == 4


def test_foreground_ends_with_an_interrupt(
    user: Person, emulator: EmulatorProcess, mountpoint: Path
) -> None:
    words = ["mount", BUCKET, str(mountpoint), f"--endpoint={emulator.url}", "--foreground"]
    with user.start(*COSFS, *words) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("mounted ")
        assert user.run("cp", "/etc/passwd", mountpoint).code == 0
        os.kill(process.pid, signal.SIGINT)  # all that is put before it has become it by exec

        assert process.wait(timeout=20) == 0
        assert process.stderr.read() == ""
    assert Sdk(emulator.port).get("passwd") == Path("/etc/passwd").read_bytes()


def test_interrupted_upload_is_listed_and_aborted(
    user: Person, emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(user, emulator, mountpoint, "--part-size=1M")
    sdk = Sdk(emulator.port)
    with user.start("python3", "-c", WRITER, mountpoint / "f") as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        # The first of a part: the journal knows the upload by then.
        eventually(lambda: "UploadPart" in {each["operation"] for each in emulator.requests()})
        kill_mount(user, mountpoint)
        os.kill(writer.pid, signal.SIGKILL)

    listed, aborted = (
        user.cosfs("uploads", *words, f"--endpoint={emulator.url}")
        for words in (["list", BUCKET], ["abort", BUCKET, "--older-than=0s"])
    )

    assert "interrupted" in listed.output
    assert (listed.code, aborted.code) == (0, 0)
    assert sdk.uploads() == []


@pytest.mark.parametrize(
    ("mode", "complaint"),
    [(0o640, "others can read it; chmod 600 "), (0, "not readable by this user; name another ")],
)
def test_key_file_that_must_not_or_cannot_be_read_is_named(
    user: Person, emulator: EmulatorProcess, mountpoint: Path, mode: int, complaint: str
) -> None:
    file = user.make_file("keys", "id:key", mode=mode)

    done = mount(user, emulator, mountpoint, f"--credentials-file={file}")

    assert done.code == 1
    assert f"credentials file {file}: {complaint}" in done.complaint


def test_home_of_somebody_else_is_told_like_one_without_keys(
    user: Person, emulator: EmulatorProcess, mountpoint: Path, locked: Path
) -> None:
    """As programs find it that changed their user and kept HOME."""
    words = ["mount", BUCKET, str(mountpoint), f"--endpoint={emulator.url}"]

    done = user.cosfs(*words, HOME=str(locked))

    assert done.code == 1
    assert "no credentials: set COS_SECRET_ID" in done.complaint


@pytest.mark.parametrize("option", ["allow_other", "allow_root"])
def test_letting_others_in_needs_the_administrator(
    user: Person, emulator: EmulatorProcess, mountpoint: Path, option: str
) -> None:
    if not user.is_root_in_disguise and "\nuser_allow_other" in Path("/etc/fuse.conf").read_text():
        pytest.skip("the administrator has given leave")

    done = mount(user, emulator, mountpoint, "-o", option)

    assert done.code == 1
    assert done.complaint == f"cosfs: {option} needs the line user_allow_other in /etc/fuse.conf"


@pytest.mark.parametrize(
    ("place", "complaint"),
    [("/", "is not writable for this user"), ("/var/tmp", "belongs to all users")],
)
def test_directory_of_others_is_no_mountpoint(
    user: Person, emulator: EmulatorProcess, place: str, complaint: str
) -> None:
    done = mount(user, emulator, Path(place))

    assert done.code == 1
    assert f"mountpoint {place} {complaint}" in done.complaint


@pytest.mark.parametrize("command", ["status", "why", "refresh", "umount"])
def test_path_that_cannot_be_entered_is_in_no_mount(
    user: Person, locked: Path, command: str
) -> None:
    done = user.cosfs(command, locked / "deeper" / "f")

    assert done.code == 4
    assert str(locked) in done.complaint


@pytest.mark.usefixtures("by_root")
def test_root_cannot_look_in_but_asks_and_unmounts(
    user: Person, emulator: EmulatorProcess, mountpoint: Path
) -> None:
    mount(user, emulator, mountpoint)

    place = str(mountpoint)
    looked, told, over, ended = (
        user.run_as_root(*words)
        for words in (
            ["ls", place],
            [*COSFS, "status", place],
            [*COSFS, "mount", BUCKET, place, f"--endpoint={emulator.url}"],
            [*COSFS, "umount", place],
        )
    )

    assert "Permission denied" in looked.complaint
    assert (told.code, ended.code) == (0, 0)
    assert f"cos://{BUCKET} on {mountpoint}\n" in told.output
    assert over.complaint.endswith(f"end it with: cosfs umount {mountpoint}")
    assert user.cosfs("status", mountpoint).code == 4


@pytest.mark.usefixtures("by_root")
def test_mount_of_root_is_not_the_user_s(
    user: Person, emulator: EmulatorProcess, mountpoint: Path
) -> None:
    words = ["mount", BUCKET, str(mountpoint), f"--endpoint={emulator.url}", "-o", "allow_other"]
    keys = {"COS_SECRET_ID": SECRET_ID, "COS_SECRET_KEY": SECRET_KEY}
    assert user.run_as_root(*COSFS, *words, **keys).code == 0

    ended, asked = (user.cosfs(command, mountpoint) for command in ("umount", "refresh"))
    told = user.cosfs("status", mountpoint)
    user.run_as_root(*COSFS, "umount", mountpoint)

    assert [ended.code, asked.code, told.code] == [1, 3, 3]
    assert "only root and who mounted it (uid 0) may do that" in ended.complaint
    reason = "only root and who mounted it (uid 0) may ask its process"
    assert reason in asked.complaint
    assert told.output == f"{mountpoint}: {reason}\n"
