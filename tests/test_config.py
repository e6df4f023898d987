"""The memory that a mount takes when nobody chose, and how a mount names its source."""

from pathlib import Path

import pytest

from cosfs.config import (
    DEFAULT_MEMORY,
    LEAST_DEFAULT_MEMORY,
    MountConfig,
    ServiceConfig,
    default_memory,
)

GIB = 1 << 30


def make_files(root: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, DEFAULT_MEMORY),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, DEFAULT_MEMORY),
        (
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{512 << 20}\n"},
            128 << 20,
        ),
        (
            {"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": f"{400 << 20}\n"},
            100 << 20,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu:/\n3:memory:/docker/1f\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{GIB // 2}\n",
            },
            128 << 20,
        ),
        (
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{64 << 20}\n"},
            LEAST_DEFAULT_MEMORY,
        ),
        (
            {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": f"{64 * GIB}\n"},
            DEFAULT_MEMORY,
        ),
    ],
    ids=[
        "no-cgroups",
        "unlimited",
        "a-quarter",
        "limit-of-a-group-above",
        "version-1-in-a-container",
        "never-below-the-least",
        "large-limit",
    ],
)
def test_default_memory_follows_the_control_group(
    files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    make_files(tmp_path, files)

    assert default_memory(tmp_path) == expected


@pytest.mark.parametrize(
    ("prefix", "expected"), [("", "cos://b-1"), ("a/b/", "cos://b-1/a/b")], ids=["whole", "prefix"]
)
def test_source_is_an_address(prefix: str, expected: str) -> None:
    config = MountConfig(
        service=ServiceConfig(bucket="b-1"), mountpoint=Path("/mnt"), prefix=prefix
    )

    assert config.source == expected
