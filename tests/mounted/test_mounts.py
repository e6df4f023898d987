"""Mounts of another kind: read-only, of a prefix, several of one bucket."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounted.programs import attempt, content, eventually, run, shell
from tests.support.emulated import BUCKET, EmulatorProcess
from tests.support.mounted import mounted
from tests.support.sdk import Sdk


@pytest.mark.parametrize(
    "command",
    ["echo x > new", "echo x > f", "echo x >> f", "rm f", "mkdir d", "mv f g", "chmod 600 f"],
)
def test_a_read_only_mount_refuses_every_change(read_only: Path, command: str, sdk: Sdk) -> None:
    done = attempt("bash", "-c", command, cwd=read_only)

    assert done.returncode != 0
    assert "Read-only file system" in done.stderr
    assert sdk.get("f") == b"there"
    assert (read_only / "f").read_bytes() == b"there"


@pytest.fixture(scope="module")
def read_only(emulator: EmulatorProcess, sdk: Sdk) -> Iterator[Path]:
    sdk.put("f", b"there")
    with mounted(emulator, options=["-o", "ro"]) as mount:
        yield mount.path


@pytest.mark.parametrize("separator", ["/", ":/"])
def test_a_mount_of_a_prefix_sees_and_makes_keys_below_it_only(
    emulator: EmulatorProcess, sdk: Sdk, separator: str
) -> None:
    sdk.put("above", b"above")
    sdk.put("team/目录/old", b"old")
    sdk.put("team/目录-sibling", b"sibling")

    with mounted(emulator, source=f"{BUCKET}{separator}team/目录") as mount:
        assert os.listdir(mount.path) == ["old"]
        shell("echo new > new; mkdir d; mv old d; ls ..", mount.path)
        (mount.path / "large").write_bytes(content(20 << 20))
        shell("mv large d; rm new", mount.path)

    below = [key for key in sdk.keys("team/") if key != "team/目录/"]
    assert below == [
        "team/目录-sibling",
        *(f"team/目录/d/{name}" for name in ("", "large", "old")),
    ]
    shell_clean(sdk, emulator)


def shell_clean(sdk: Sdk, emulator: EmulatorProcess) -> None:
    with mounted(emulator) as mount:
        run("rm", "-r", mount.path / "team", mount.path / "above")
    assert sdk.keys("team/") == []


def test_a_prefix_that_holds_nothing_yet_can_be_mounted(
    emulator: EmulatorProcess, sdk: Sdk
) -> None:
    with mounted(emulator, source=f"{BUCKET}/brand/new") as mount:
        assert os.listdir(mount.path) == []
        (mount.path / "f").write_text("x")

    assert sdk.get("brand/new/f") == b"x"


def test_what_one_mount_writes_the_other_sees(emulator: EmulatorProcess) -> None:
    options = ["--metadata-ttl", "1s"]
    with (
        mounted(emulator, options=options) as first,
        mounted(emulator, options=options) as second,
    ):
        (first.path / "shared").mkdir()
        here, there = first.path / "shared", second.path / "shared"
        eventually(there.is_dir)
        assert os.listdir(there) == []

        (here / "f").write_text("one")
        eventually((there / "f").exists)
        assert (there / "f").read_text() == "one"

        (here / "f").write_text("longer")
        assert (there / "f").read_text() == "longer"  # open looks anew

        # Before the other writes: what it stored itself, it lists for 10 s more.
        (here / "f").rename(here / "g")
        eventually(lambda: os.listdir(there) == ["g"])

        (there / "g").write_text("back")
        assert (here / "g").read_text() == "back"

        (there / "g").unlink()
        with pytest.raises(FileNotFoundError):
            (here / "g").read_text()


def test_the_mount_that_closes_last_wins(emulator: EmulatorProcess, sdk: Sdk) -> None:
    first_data, second_data = content(20 << 20, seed=1), content(30 << 20, seed=2)
    with mounted(emulator) as first, mounted(emulator) as second:
        with (first.path / "f").open("wb") as one, (second.path / "f").open("wb") as two:
            one.write(first_data)
            two.write(second_data)
        # The files were closed in the opposite order of their opening.
        assert sdk.get("f") == first_data
        assert (second.path / "f").read_bytes() == first_data
