"""Everything that can be wrong with a mount before there is one: its line and its exit code."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosfs.cli.mount import exit_code
from cosfs.cli.mountpoint import prepare
from cosfs.config import MountConfig, ServiceConfig
from cosfs.errors import (
    AccessDenied,
    ConfigError,
    CosfsError,
    FuseMissing,
    MountDenied,
    MountFailed,
    MountInterrupted,
)
from tests.support.commands import Finished, cosfs
from tests.support.emulated import BUCKET, EmulatorProcess
from tests.support.mounted import mount_environment


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and that nobody else can take meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def mount(mountpoint: Path, *options: str, source: str = BUCKET, **environ: str) -> Finished:
    environment = mount_environment(**environ)
    return cosfs("mount", source, str(mountpoint), *options, environment=environment)


def make_config(mountpoint: Path) -> MountConfig:
    return MountConfig(service=ServiceConfig(bucket=BUCKET), mountpoint=mountpoint)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["-o", "regoin=ap-guangzhou"], "unknown option 'regoin'; did you mean region?"),
        (["--region", "ap_guangzhou"], "region 'ap_guangzhou'"),
        ([], "no region"),
        (["--endpoint", "127.0.0.1:9000"], "endpoint '127.0.0.1:9000'"),
        (["--region", "ap-guangzhou", "-o", "part_size=1K"], "from 1 MiB to 5 GiB"),
        (["--region", "ap-guangzhou", "--log-file", "/nonexistent/log"], "log file"),
    ],
)
def test_wrong_option_is_usage(options: list[str], complaint: str, mountpoint: Path) -> None:
    done = mount(mountpoint, *options)

    assert done.code == 1
    assert complaint in done.complaint


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("Examplebucket-1250000000", "not a bucket name"),
        ("examplebucket", "not a bucket name"),
        ("/mnt", "the order is SOURCE MOUNTPOINT"),
    ],
)
def test_wrong_source_is_usage(source: str, complaint: str, mountpoint: Path) -> None:
    done = mount(mountpoint, "--region=ap-guangzhou", source=source)

    assert done.code == 1
    assert complaint in done.complaint


def test_missing_mountpoint_is_told_with_its_remedy(tmp_path: Path) -> None:
    path = tmp_path / "absent"

    done = mount(path, "--region=ap-guangzhou")

    assert done.code == 1
    assert done.complaint == f"cosfs: mountpoint {path} does not exist; mkdir -p {path}"


def test_file_is_no_mountpoint(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()

    done = mount(path, "--region=ap-guangzhou")

    assert done.code == 1
    assert "is not a directory" in done.complaint


def test_directory_with_entries_is_no_mountpoint(mountpoint: Path) -> None:
    (mountpoint / "entry").touch()

    done = mount(mountpoint, "--region=ap-guangzhou")

    assert done.code == 1
    assert "is not empty; empty it or add -o nonempty" in done.complaint


def test_no_credentials_tells_what_to_set(
    mountpoint: Path, tmp_path: Path, emulator: EmulatorProcess
) -> None:
    done = mount(
        mountpoint,
        f"--endpoint={emulator.url}",
        COS_SECRET_ID="",
        COS_SECRET_KEY="",
        HOME=str(tmp_path),
    )

    assert done.code == 1
    assert "COS_SECRET_ID and COS_SECRET_KEY" in done.complaint


def test_wrong_key_is_told(mountpoint: Path, emulator: EmulatorProcess) -> None:
    done = mount(mountpoint, f"--endpoint={emulator.url}", COS_SECRET_KEY="wrong")

    assert done.code == 32
    assert "COS refuses the key" in done.complaint
    assert "SignatureDoesNotMatch" in done.complaint


def test_missing_bucket_is_told(mountpoint: Path, emulator: EmulatorProcess) -> None:
    done = mount(mountpoint, f"--endpoint={emulator.url}", source="absent-1250000000")

    assert done.code == 32
    assert f"there is no bucket absent-1250000000 at {emulator.url}" in done.complaint


def test_no_right_to_list_is_told(mountpoint: Path, emulator: EmulatorProcess) -> None:
    emulator.set_faults("operation=GetBucket status=403 code=AccessDenied")

    done = mount(mountpoint, f"--endpoint={emulator.url}", source=f"{BUCKET}/a/b")

    assert done.code == 32
    assert f"no right to list cos://{BUCKET}/a/b" in done.complaint
    assert "grant cos:GetBucket" in done.complaint


def test_start_asks_for_one_name_of_the_prefix_alone(
    mountpoint: Path, emulator: EmulatorProcess
) -> None:
    emulator.set_faults("operation=GetBucket status=403 code=AccessDenied")

    mount(mountpoint, f"--endpoint={emulator.url}", source=f"{BUCKET}/a/b")

    queries = [request["query"] for request in emulator.requests()]
    assert [request["operation"] for request in emulator.requests()] == ["GetBucket"]
    assert "max-keys=1" in queries[0]
    assert "prefix=a%2Fb%2F" in queries[0] or "prefix=a/b/" in queries[0]


def test_refused_connection_is_told_in_time(mountpoint: Path, closed_port: int) -> None:
    endpoint = f"http://127.0.0.1:{closed_port}"

    done = mount(mountpoint, f"--endpoint={endpoint}", "--timeout=1")

    assert done.code == 32
    assert f"cannot reach {endpoint}" in done.complaint
    assert "Connection refused" in done.complaint


def test_unknown_host_is_told_in_time(mountpoint: Path) -> None:
    done = mount(mountpoint, "--endpoint=http://cos.invalid", "--timeout=1")

    assert done.code == 32
    assert "cannot reach http://cos.invalid" in done.complaint


def test_foreground_complains_alike(mountpoint: Path, emulator: EmulatorProcess) -> None:
    done = mount(mountpoint, f"--endpoint={emulator.url}", "-f", source="absent-1250000000")

    assert done.code == 32
    assert "there is no bucket" in done.complaint


def test_missing_fuse_is_told_with_its_remedy(mountpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(FuseMissing, match="modprobe fuse"):
        prepare(make_config(mountpoint), device=tmp_path / "fuse")


PLANT = """
import sys
import cosfs.mount
from cosfs.cli.main import main

async def planted(config, ready, *, control):
    raise ZeroDivisionError("planted")

cosfs.mount.run_mount = planted
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("options", [[], ["--foreground"]], ids=["background", "foreground"])
def test_bug_is_told_with_a_code_of_its_own(mountpoint: Path, options: list[str]) -> None:
    words = ["mount", BUCKET, str(mountpoint), "--region=ap-guangzhou", *options]

    done = subprocess.run(
        [sys.executable, "-c", PLANT, *words],
        env=mount_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 4
    assert "cosfs: internal error: ZeroDivisionError('planted')" in done.stderr.splitlines()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError(""), 1),
        (MountDenied(""), 1),
        (FuseMissing(""), 2),
        (MountInterrupted(""), 8),
        (MountFailed(""), 32),
        (AccessDenied("", operation="", status=403, code=""), 32),
    ],
)
def test_exit_codes_are_those_of_mount(error: CosfsError, code: int) -> None:
    assert exit_code(error) == code
