"""``cosfs why`` and ``cosfs status``, asked of real mounts in good and bad times."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosfs import __version__
from tests.mounted.programs import content, eventually
from tests.mounted.writers import open_file
from tests.support.commands import Finished, cosfs
from tests.support.emulated import (
    BUCKET,
    SECRET_ID,
    SECRET_KEY,
    EmulatorProcess,
)
from tests.support.mounted import Mounted, mounted

MIB = 1 << 20
DENIED = "operation=PutObject status=403 code=AccessDenied"
OPTIONS = ["--part-size", "1M", "--timeout", "2s"]
pytestmark = pytest.mark.usefixtures("clean_emulator")


@pytest.fixture
def mount(emulator: EmulatorProcess) -> Iterator[Mounted]:
    with mounted(emulator, options=OPTIONS) as mount:
        yield mount


def why(path: Path) -> Finished:
    return cosfs("why", str(path))


def status(mount: Mounted) -> dict[str, object]:
    done = cosfs("status", "--json", str(mount.path))
    assert done.code == 0, done.errors
    (answer,) = json.loads(done.output)
    assert isinstance(answer, dict)
    return answer


def test_why_tells_call_errno_answer_request_id_and_what_to_do(
    emulator: EmulatorProcess, mount: Mounted
) -> None:
    emulator.set_faults(DENIED)
    with pytest.raises(PermissionError):
        (mount.path / "f").write_text("x")

    done = why(mount.path / "f")

    assert done.code == 0
    assert done.output.startswith(f"{mount.path}/f: close failed (EACCES)\n")
    assert "PUT Object of 'f', 1 attempt\n" in done.output
    assert "403 AccessDenied, request id " in done.output
    assert "cos:PutObject" in done.output


def test_why_for_programs_is_json(emulator: EmulatorProcess, mount: Mounted) -> None:
    (mount.path / "d").mkdir()
    emulator.set_faults(DENIED)
    with pytest.raises(PermissionError):
        (mount.path / "d" / "f").write_text("x")

    trouble = json.loads(cosfs("why", "--json", str(mount.path / "d" / "f")).output)

    assert (trouble["mountpoint"], trouble["path"]) == (str(mount.path), "d/f")
    assert (trouble["call"], trouble["errno"]) == ("close", "EACCES")
    assert (trouble["code"], trouble["operation"]) == ("AccessDenied", "PUT Object")
    assert trouble["request_id"]


def test_why_knows_nothing_of_what_went_well_or_was_never_there(mount: Mounted) -> None:
    (mount.path / "fine").write_text("x")

    for name in ("fine", "missing"):
        done = why(mount.path / name)
        assert (done.code, done.output) == (1, "")
        assert "no error is known of" in done.complaint


def test_why_tells_of_a_name_as_it_was_when_the_call_failed(
    emulator: EmulatorProcess, mount: Mounted
) -> None:
    (mount.path / "before").write_bytes(content(3 * MIB))
    emulator.set_faults("operation=GetObject status=403 code=AccessDenied")
    with pytest.raises(PermissionError):
        (mount.path / "before").read_bytes()
    emulator.set_faults("")
    (mount.path / "before").rename(mount.path / "after")

    assert why(mount.path / "before").code == 0
    assert why(mount.path / "after").code == 1


def test_why_finds_a_mount_through_symlinks_and_dots(
    emulator: EmulatorProcess, mount: Mounted, tmp_path: Path
) -> None:
    emulator.set_faults(DENIED)
    with pytest.raises(PermissionError):
        (mount.path / "f").write_text("x")
    (tmp_path / "link").symlink_to(mount.path)

    assert why(tmp_path / "link" / "d" / ".." / "f").code == 0


def test_why_and_status_outside_of_a_mount_are_told(tmp_path: Path) -> None:
    for command in ("why", "status"):
        done = cosfs(command, str(tmp_path))

        assert done.code == 4
        assert "is in no cosfs mount" in done.complaint


def test_why_and_status_do_not_hang_with_the_mount(mount: Mounted) -> None:
    """Stopped, its process answers nobody: both commands say so, and touch nothing that hangs."""
    mount.process.send_signal(signal.SIGSTOP)
    try:
        told = [cosfs(command, str(mount.path / "f")) for command in ("why", "status")]
    finally:
        mount.process.send_signal(signal.SIGCONT)

    assert [done.code for done in told] == [3, 3]
    assert "does not answer" in told[0].complaint
    assert "does not answer" in told[1].output


def test_status_and_why_work_while_the_server_is_away(own_emulator: EmulatorProcess) -> None:
    with mounted(own_emulator, options=OPTIONS) as mount:
        own_emulator.process.kill()
        own_emulator.process.wait(timeout=10)
        with pytest.raises(OSError, match=r"timed out|Input/output"):
            (mount.path / "f").write_text("x")

        told = why(mount.path / "f")
        answer = status(mount)
        shown = cosfs("status", str(mount.path)).output

    assert told.code == 0
    assert "to do:    check the network" in told.output
    assert answer["failed_calls"]
    assert isinstance(answer["health"], dict)
    assert (answer["health"]["state"], answer["health"]["url"]) == ("away", own_emulator.url)
    assert " has not answered for 0 min " in shown


def test_status_tells_what_a_mount_is_doing(own_emulator: EmulatorProcess) -> None:
    own_emulator.set_faults("operation=UploadPart nth=2 delay=60")
    with (
        mounted(own_emulator, options=["--part-size", "1M"]) as mount,
        open_file(mount.path / "big", "x" * 1024, times=4096),
    ):
        eventually(lambda: stored_of(mount, "big") == 3 * MIB)
        answer = status(mount)
        shown = cosfs("status", str(mount.path)).output
        mount.process.kill()

    assert (answer["source"], answer["mountpoint"]) == (f"cos://{BUCKET}", str(mount.path))
    assert (answer["pid"], answer["version"]) == (mount.process.pid, __version__)
    assert (answer["files_open"], answer["files_dirty"]) == (1, 1)
    assert answer["bytes_left"] == MIB
    assert answer["requests"] == {"metadata": 0, "small": 0, "data": 1, "merge": 0}
    assert f"cos://{BUCKET} on {mount.path}\n" in shown
    assert "big: 3 MiB of 4 MiB stored so far" in shown


def stored_of(mount: Mounted, path: str) -> int | None:
    files = status(mount)["dirty"]
    assert isinstance(files, list)
    return next((file["stored"] for file in files if file["path"] == path), None)


def test_status_without_a_mountpoint_lists_the_user_s_mounts(
    emulator: EmulatorProcess, mount: Mounted
) -> None:
    with mounted(emulator) as other:
        found = json.loads(cosfs("status", "--json").output)

    places = {answer["mountpoint"] for answer in found}
    assert {str(mount.path), str(other.path)} <= places


def test_answers_hold_no_secret(emulator: EmulatorProcess, mount: Mounted) -> None:
    emulator.set_faults("status=403 code=SignatureDoesNotMatch")
    with pytest.raises(PermissionError):
        (mount.path / "f").write_text("x")

    told = why(mount.path / "f").output + cosfs("status", "--json").output

    assert "check the secret id" in told
    assert SECRET_KEY not in told
    assert SECRET_ID not in told
    assert "q-signature" not in told
