"""Names and attributes over time: what is asked again when, and what survives a restart."""

import os
import stat
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.mounted.programs import attempt, eventually, run, shell
from tests.support.commands import cosfs
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import mounted
from tests.support.sdk import Sdk

OLD = {"x-cos-meta-mode": "33152", "x-cos-meta-mtime": "1000000000"}
FOR_EVER = ("--metadata-ttl", "indefinite", "--negative-ttl", "indefinite")


@pytest.fixture
def sdk(own_emulator: EmulatorProcess) -> Sdk:
    return Sdk(own_emulator.port)


def operations(emulator: EmulatorProcess) -> Counter[str]:
    return Counter(request["operation"] for request in emulator.requests())


def fill(sdk: Sdk, count: int, prefix: str = "") -> None:
    for number in range(count):
        sdk.put(f"{prefix}f{number:03}", b"x", metadata=OLD)


def test_ls_after_a_restart_costs_its_listing(
    own_emulator: EmulatorProcess, sdk: Sdk, tmp_path: Path
) -> None:
    fill(sdk, 50)
    time.sleep(2.1)  # what is younger may change without a trace in a listing
    shown = []
    for _ in range(2):
        with mounted(own_emulator, options=["--state-dir", str(tmp_path)]) as mount:
            own_emulator.forget_requests()
            shown.append(run("ls", "-l", cwd=mount.path))
            asked = operations(own_emulator)
            mount.unmount()

    assert shown[0] == shown[1]
    assert "-rw------- " in shown[0]
    assert asked == {"GetBucket": 1}


def test_attributes_are_known_after_a_kill(
    own_emulator: EmulatorProcess, sdk: Sdk, tmp_path: Path
) -> None:
    fill(sdk, 50)
    time.sleep(2.1)
    with mounted(own_emulator, options=["--state-dir", str(tmp_path)]) as mount:
        run("ls", "-l", cwd=mount.path)
        time.sleep(3)  # rows are written a second after they came
        mount.process.kill()
        mount.process.wait()
    with mounted(own_emulator, options=["--state-dir", str(tmp_path)]) as mount:
        own_emulator.forget_requests()
        run("ls", "-l", cwd=mount.path)

        assert operations(own_emulator) == {"GetBucket": 1}


def test_a_mount_without_a_state_directory_works(
    own_emulator: EmulatorProcess, sdk: Sdk, tmp_path: Path
) -> None:
    fill(sdk, 3)
    (tmp_path / "file").write_bytes(b"")

    with mounted(own_emulator, options=["--state-dir", str(tmp_path / "file" / "below")]) as mount:
        assert "-rw------- " in run("ls", "-l", cwd=mount.path)


def test_what_is_trusted_for_ever_is_asked_for_after_refresh(
    own_emulator: EmulatorProcess, sdk: Sdk
) -> None:
    fill(sdk, 1, "d/")
    with mounted(own_emulator, options=FOR_EVER) as mount:
        directory = mount.path / "d"
        assert (os.listdir(directory), (directory / "f000").stat().st_size) == (["f000"], 1)
        assert not (directory / "new").exists()
        sdk.put("d/f000", b"longer", metadata=OLD)
        sdk.put("d/new", b"new")
        time.sleep(1.5)
        assert (os.listdir(directory), (directory / "f000").stat().st_size) == (["f000"], 1)
        assert not (directory / "new").exists()

        assert cosfs("refresh", str(mount.path)).code == 0

        eventually((directory / "new").exists)
        assert sorted(os.listdir(directory)) == ["f000", "new"]
        assert (directory / "f000").stat().st_size == 6
        assert (directory / "f000").read_bytes() == b"longer"


def test_refresh_of_one_name_leaves_the_others(own_emulator: EmulatorProcess, sdk: Sdk) -> None:
    fill(sdk, 2, "d/")
    with mounted(own_emulator, options=FOR_EVER) as mount:
        a, b = mount.path / "d" / "f000", mount.path / "d" / "f001"
        assert [a.stat().st_size, b.stat().st_size] == [1, 1]
        for name in ("f000", "f001"):
            sdk.put(f"d/{name}", b"longer", metadata=OLD)

        assert cosfs("refresh", str(a)).code == 0

        eventually(lambda: a.stat().st_size == 6)
        assert b.stat().st_size == 1


def test_refresh_finds_a_name_that_was_missing(own_emulator: EmulatorProcess, sdk: Sdk) -> None:
    with mounted(own_emulator, options=FOR_EVER) as mount:
        new = mount.path / "new"
        assert not new.exists()
        sdk.put("new", b"new")

        assert cosfs("refresh", str(new)).code == 0

        eventually(new.exists)


def test_refresh_outside_of_a_mount_says_so(tmp_path: Path) -> None:
    done = cosfs("refresh", str(tmp_path))

    assert (done.code, "is in no cosfs mount" in done.complaint) == (4, True)


def test_missing_names_are_answered_by_the_kernel(own_emulator: EmulatorProcess) -> None:
    """Until somebody makes them here; the mount is not asked, so it may even be stopped."""
    with mounted(own_emulator, options=FOR_EVER) as mount:
        new = mount.path / "new"
        assert not new.exists()
        own_emulator.forget_requests()

        assert not any(new.exists() for _ in range(20))
        assert operations(own_emulator) == {}
        new.write_text("made")
        assert new.read_text() == "made"
        new.unlink()
        assert not new.exists()


def test_a_listed_name_is_found_although_it_was_missing(
    own_emulator: EmulatorProcess, sdk: Sdk
) -> None:
    options = ["--metadata-ttl", "minimal", "--negative-ttl", "indefinite"]
    with mounted(own_emulator, options=options) as mount:
        sdk.put("d/old", b"x")
        new = mount.path / "d" / "new"
        assert not new.exists()
        sdk.put("d/new", b"new")
        assert cosfs("refresh", str(mount.path / "d" / "old")).code == 0  # the listing, not "new"

        assert "new" in os.listdir(mount.path / "d")

        eventually(new.exists)
        assert new.read_text() == "new"


def test_minimal_trust_sees_every_change(own_emulator: EmulatorProcess, sdk: Sdk) -> None:
    sdk.put("f", b"1")
    with mounted(own_emulator, options=["--metadata-ttl", "minimal"]) as mount:
        for size in range(1, 5):
            sdk.put("f", b"x" * size)
            time.sleep(0.15)

            assert (mount.path / "f").stat().st_size == size


def test_listings_alone_tell_the_attributes_when_nobody_needs_more(
    own_emulator: EmulatorProcess, sdk: Sdk
) -> None:
    fill(sdk, 30)
    sdk.put("link", b"f000", metadata={"x-cos-meta-mode": "41471"})
    with mounted(own_emulator, options=["--stat", "list"]) as mount:
        own_emulator.forget_requests()
        shown = run("ls", "-l", cwd=mount.path)

        assert operations(own_emulator) == {"GetBucket": 1}
        assert shown.count("-rw-r--r-- ") == 31
        assert (mount.path / "link").read_bytes() == b"f000"
        made = attempt("ln", "-s", "f000", "other", cwd=mount.path)
        assert "not supported" in made.stderr


def test_files_that_only_a_listing_has_shown_keep_what_is_stored_with_them(
    own_emulator: EmulatorProcess, sdk: Sdk
) -> None:
    """They are changed, renamed and removed as any other."""
    fill(sdk, 6)
    with mounted(own_emulator, options=["--stat", "list"]) as mount:
        run("ls", "-l", cwd=mount.path)
        script = "echo y >> f000; mv f001 g; chmod 640 f002; rm f003; truncate -s 5 f004; sync ."
        shell(script, mount.path)
        assert (mount.path / "f000").read_bytes() == b"xy\n"

    keys = sdk.keys()
    assert keys == ["f000", "f002", "f004", "f005", "g"]
    assert [sdk.get(key) for key in keys] == [b"xy\n", b"x", b"x\0\0\0\0", b"x", b"x"]
    modes = {key: int(sdk.head(key)["x-cos-meta-mode"]) for key in keys}
    assert stat.S_IMODE(modes.pop("f002")) == 0o640
    assert {stat.S_IMODE(mode) for mode in modes.values()} == {0o600}


def test_two_mounts_see_each_others_changes_when_the_readme_says(
    own_emulator: EmulatorProcess, sdk: Sdk
) -> None:
    """New names after a fifth of the time to live, changes after all of it, content at open."""
    sdk.put("f", b"1", metadata=OLD)
    sdk.put("gone", b"1", metadata=OLD)
    with (
        mounted(own_emulator, options=["--metadata-ttl", "5s"]) as one,
        mounted(own_emulator) as other,
    ):
        here = one.path
        assert (here / "f").stat().st_size == (here / "gone").stat().st_size == 1
        began = time.monotonic()
        shell("echo new > new; echo longer > f; rm gone", other.path)

        eventually((here / "new").exists, timeout_s=3)
        assert (here / "f").read_text() == "longer\n"
        eventually(lambda: not (here / "gone").exists(), timeout_s=8)

        assert time.monotonic() - began < 10


def test_a_directory_of_many_names_is_shown_while_it_is_listed(
    own_emulator: EmulatorProcess,
) -> None:
    with mounted(own_emulator, options=["--metadata-ttl", "60s"]) as mount:
        directory = mount.path / "d"
        directory.mkdir()
        shell("for i in $(seq 1000 2199); do echo d/$i; done | xargs -P4 -n50 touch", mount.path)
    with mounted(own_emulator) as mount:
        own_emulator.set_faults("operation=GetBucket nth=4 delay=7")
        began = time.monotonic()
        with os.scandir(mount.path / "d") as entries:
            first = [next(entries).name for _ in range(500)]
            took_s = time.monotonic() - began
        own_emulator.set_faults("")

        assert first == [str(number) for number in range(1000, 1500)]
        assert took_s < 5
        everything = os.listdir(mount.path / "d")
        assert sorted(everything) == [str(number) for number in range(1000, 2200)]


def test_a_directory_is_read_whole_while_its_names_are_removed(
    own_emulator: EmulatorProcess, sdk: Sdk
) -> None:
    with mounted(own_emulator) as mount:
        (mount.path / "d").mkdir()
        shell("for i in $(seq 1000 2499); do echo d/$i; done | xargs -P4 -n50 touch", mount.path)

        run("rm", "-r", "d", cwd=mount.path)

        assert os.listdir(mount.path) == []
    assert sdk.keys() == []
