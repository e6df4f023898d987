"""Directories that are emptied: what it costs, and what is seen and told of it."""

import os
import stat
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosfs.namespace.attributes import PATH_MAX
from cosfs.namespace.removals import PLAIN_FIRST
from cosfs.namespace.siblings import MOST_AHEAD
from tests.mounted.programs import attempt, content, digests, eventually, run, shell
from tests.support.emulated import EmulatorProcess, emulator_process
from tests.support.mounted import COSFS, END_TIMEOUT_S, Mounted, mount_environment, mounted
from tests.support.sdk import Sdk

MANY = 1500  # more than a page of a listing
SOME = 2 * PLAIN_FIRST
LARGE = b"x" * (PATH_MAX + 1)
LOOKED_AT = PLAIN_FIRST + MOST_AHEAD + 2  # before it is clear that all will be removed
KEPT = "d/f030"  # not among those that are waited for
REFUSED = (
    "operation=DeleteMultipleObjects status=403 code=AccessDenied\n"
    f"operation=DeleteObject key={KEPT} status=403 code=AccessDenied"
)


@pytest.fixture
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as emulator:
        yield emulator


@pytest.fixture
def sdk(emulator: EmulatorProcess) -> Sdk:
    return Sdk(emulator.port)


@pytest.fixture
def mount(emulator: EmulatorProcess) -> Iterator[Mounted]:
    options = ["--metadata-ttl", "60s", "--negative-ttl", "60s"]
    with mounted(emulator, options=options) as mount:
        yield mount


def fill(sdk: Sdk, count: int) -> None:
    sdk.put("d/", b"")
    for number in range(count):
        sdk.put(f"d/f{number:03}", b"x")


def test_rm_of_a_large_directory_deletes_many_files_with_a_request(
    emulator: EmulatorProcess, sdk: Sdk, mount: Mounted
) -> None:
    fill(sdk, MANY)
    emulator.forget_requests()

    run("rm", "-r", mount.path / "d")

    operations = Counter(request["operation"] for request in emulator.requests())
    assert sdk.keys() == []
    assert operations["DeleteObject"] > PLAIN_FIRST
    # How many a batch has is a matter of how quick rm is; several, however slow the machine.
    assert operations["DeleteObject"] + operations["DeleteMultipleObjects"] < MANY // 3
    assert operations["PutObject"] == 0


def test_rsync_of_many_files_leaves_none_of_its_temporary_names(
    emulator: EmulatorProcess, sdk: Sdk, mount: Mounted, tmp_path: Path
) -> None:
    names = [f"f{number:03}" for number in range(SOME)]
    for name in names:
        (tmp_path / name).write_bytes(name.encode())

    run("rsync", "-a", f"{tmp_path}/", mount.path / "d")

    operations = Counter(request["operation"] for request in emulator.requests())
    assert [path.read_bytes() for path in sorted((mount.path / "d").iterdir())] == [
        name.encode() for name in names
    ]
    eventually(lambda: sdk.keys() == ["d/", *(f"d/{name}" for name in names)])
    assert operations["CopyObject"] == SOME
    assert operations["DeleteObject"] + operations["DeleteMultipleObjects"] <= SOME


def test_rm_reports_what_cos_refuses_and_it_is_seen_again(
    emulator: EmulatorProcess, sdk: Sdk, mount: Mounted
) -> None:
    fill(sdk, SOME)
    emulator.set_faults(REFUSED)

    done = attempt("rm", "-rf", mount.path / "d")

    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    left = sdk.keys("d/f")
    assert KEPT in left
    assert sorted(f"d/{path.name}" for path in (mount.path / "d").iterdir()) == left
    assert (mount.path / KEPT).read_bytes() == b"x"
    why = subprocess.run(
        [*COSFS, "why", str(mount.path / KEPT)],
        capture_output=True,
        text=True,
        env=mount_environment(),
        timeout=END_TIMEOUT_S,
        check=True,
    )
    assert "AccessDenied" in why.stdout
    assert "cos:DeleteObject" in why.stdout
    emulator.set_faults("")
    run("rm", "-r", mount.path / "d")
    assert sdk.keys() == []


def test_rm_reports_at_once_that_nothing_may_be_removed(
    emulator: EmulatorProcess, sdk: Sdk, mount: Mounted
) -> None:
    fill(sdk, SOME)
    emulator.set_faults("operation=DeleteObject status=403 code=AccessDenied")

    done = attempt("rm", "-rf", mount.path / "d")

    assert done.stderr.count("Permission denied") == SOME
    assert len(list((mount.path / "d").iterdir())) == SOME


def test_a_name_that_the_kernel_knows_to_be_gone_is_seen_again(
    emulator: EmulatorProcess, sdk: Sdk, mount: Mounted
) -> None:
    fill(sdk, SOME)
    emulator.set_faults(REFUSED.replace("status", "delay=1 status", 1))

    shell("rm d/*", mount.path)
    assert not any((mount.path / KEPT).exists() for _ in range(2))

    eventually((mount.path / KEPT).exists)
    assert [path.name for path in (mount.path / "d").iterdir()] == ["f030"]
    done = attempt("sync", mount.path / "d")
    assert "Permission denied" in done.stderr
    run("sync", mount.path / "d")


@pytest.mark.parametrize(
    "batches", ["delay=0", "delay=0.3", "every=2 lose", "status=403 code=AccessDenied"]
)
def test_what_is_made_where_files_were_removed_is_never_lost(
    emulator: EmulatorProcess, sdk: Sdk, mount: Mounted, tmp_path: Path, batches: str
) -> None:
    emulator.set_faults(f"operation=DeleteMultipleObjects {batches}")
    for turn in range(2):
        source = tmp_path / f"source{turn}"
        source.mkdir()
        for number in range(SOME):
            (source / f"f{number:03}").write_bytes(content(100, seed=turn * SOME + number))
        expected = digests(source)

        run("cp", "-r", source, mount.path / "d")
        assert sdk.digests("d/") == expected
        shell(f"rm -rf d; cp -r {source} d", mount.path)
        assert sdk.digests("d/") == expected
        shell(f"rm d/*; cp {source}/* d", mount.path)
        assert sdk.digests("d/") == expected
        shell(f"rm d/*; mv d e; cp -r {source} d", mount.path)
        assert sdk.digests("d/") == digests(mount.path / "d") == expected
        assert sdk.keys("e/") == ["e/"]
        shell("rm -r d e", mount.path)
        assert sdk.keys() == []

    run("cp", "-r", source, mount.path / "d")
    shell(f"rm -rf d; cp -r {source} d", mount.path)
    with mounted(emulator) as fresh:
        assert digests(fresh.path / "d") == expected


def test_unmounting_after_rm_leaves_nothing(
    emulator: EmulatorProcess, sdk: Sdk, mount: Mounted
) -> None:
    fill(sdk, SOME)
    emulator.set_faults("operation=DeleteMultipleObjects delay=0.5")

    shell("rm d/*", mount.path)
    before = sdk.keys("d/f")
    mount.unmount()

    assert before != []
    assert sdk.keys("d/f") == []


def test_unmounting_names_what_was_not_removed(
    emulator: EmulatorProcess, sdk: Sdk, mount: Mounted
) -> None:
    fill(sdk, SOME)
    emulator.set_faults(REFUSED.replace("status", "delay=0.5 status", 1))

    shell("rm d/*", mount.path)
    run("fusermount3", "-u", mount.path)

    assert mount.process.wait(timeout=END_TIMEOUT_S) == 32
    assert "'d/f030' (not removed: " in mount.log.read_text()


def test_status_tells_how_many_are_still_to_be_deleted(
    emulator: EmulatorProcess, sdk: Sdk, mount: Mounted
) -> None:
    fill(sdk, SOME)
    emulator.set_faults("operation=DeleteMultipleObjects delay=5")

    shell("rm d/*", mount.path)
    told = run(*COSFS, "status", str(mount.path))

    left = len(sdk.keys("d/f"))
    assert f"{left} removed or renamed files are still to be deleted" in told


def test_a_mount_that_is_not_to_wait_tells_that_objects_are_left(
    emulator: EmulatorProcess, sdk: Sdk, mount: Mounted
) -> None:
    fill(sdk, SOME)
    emulator.set_faults("operation=DeleteMultipleObjects delay=30")

    shell("rm d/*", mount.path)
    mount.process.terminate()
    time.sleep(0.5)
    assert mount.process.poll() is None
    mount.process.terminate()

    assert mount.process.wait(timeout=END_TIMEOUT_S) == 8
    left = len(sdk.keys("d/f"))
    assert f"COS may still have {left} removed or renamed files" in mount.log.read_text()


def test_rm_asks_nothing_about_files_that_cannot_be_symlinks(
    emulator: EmulatorProcess, sdk: Sdk, mount: Mounted
) -> None:
    for number in range(2 * LOOKED_AT):
        sdk.put(f"d/f{number:03}", LARGE)
    emulator.forget_requests()

    run("rm", "-r", mount.path / "d")

    operations = Counter(request["operation"] for request in emulator.requests())
    assert sdk.keys() == []
    assert operations["HeadObject"] <= LOOKED_AT


def test_who_removes_many_files_sees_the_others_as_they_are(sdk: Sdk, mount: Mounted) -> None:
    """Also those of which only a listing was known when they were looked up."""
    directory = mount.path / "d"
    metadata = {"x-cos-meta-mode": str(stat.S_IFREG | 0o640)}
    for number in range(LOOKED_AT + 10):
        sdk.put(f"d/f{number:03}", LARGE, metadata)
    names = sorted(os.listdir(directory))
    kept = names[LOOKED_AT:]

    for name in names[:LOOKED_AT]:
        (directory / name).unlink()
    first = (directory / kept[0]).stat()
    content = (directory / kept[1]).read_bytes()
    (directory / kept[2]).chmod(0o604)
    with (directory / kept[3]).open("ab") as file:
        file.write(b"more")
    (directory / kept[4]).rename(directory / "renamed")

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    others = {name: 0o640 for name in [*kept, "renamed"] if name != kept[4]}
    assert stat.S_IMODE(first.st_mode) == 0o640
    assert content == LARGE
    assert modes == others | {kept[2]: 0o604}
    run("sync", directory)
    assert sdk.get(f"d/{kept[3]}") == LARGE + b"more"
    assert sdk.get("d/renamed") == LARGE
