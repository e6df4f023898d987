"""Unmounting what is not there; the rest needs a mount."""

from pathlib import Path

import pytest

from tests.support.commands import cosfs


def test_directory_without_mount_is_told(mountpoint: Path) -> None:
    done = cosfs("umount", str(mountpoint))

    assert done.code == 4
    assert done.complaint == f"cosfs: cosfs is not mounted on {mountpoint}"


def test_mount_of_another_kind_is_left_alone() -> None:
    done = cosfs("umount", "/proc")

    assert done.code == 4
    assert "is a mount of proc, not of cosfs" in done.complaint


@pytest.mark.parametrize("timeout", ["", "soon", "-1"])
def test_wrong_timeout_is_usage(timeout: str, mountpoint: Path) -> None:
    done = cosfs("umount", str(mountpoint), f"--timeout={timeout}")

    assert done.code == 2
    assert "give a time" in done.complaint
