"""What the kernel keeps of files, and what it must not: reading while others replace objects."""

import os
import threading
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.programs import content, digest, eventually
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import mounted
from tests.support.sdk import Sdk

MIB = 1 << 20


def downloads(place: Place) -> list[int]:
    """The sizes of the bodies that were asked for."""
    requests = place.emulator.requests()
    return [r["bytes_out"] for r in requests if r["operation"] == "GetObject"]


def version(number: int, size: int = 3 * MIB) -> bytes:
    """A content that shows in each page which version it is of."""
    return bytes([number]) * size


def read_pages(path: Path) -> set[int]:
    """The versions that one open of *path* sees in a page of each MiB, in any order."""
    seen: set[int] = set()
    with path.open("rb", buffering=0) as file:
        for offset in (0, 2 * MIB, MIB, 4096, 2 * MIB + 4096, 0):
            seen |= set(os.pread(file.fileno(), 4096, offset))
    return seen


def test_file_that_did_not_change_is_downloaded_once(emulator: EmulatorProcess, sdk: Sdk) -> None:
    """The kernel keeps what the mount has no memory for; an open asks whether it is the same."""
    data = content(40 * MIB)
    with mounted(emulator, options=["--memory", "16M"]) as mount:
        path = mount.path / "kept"
        sdk.put("kept", data)  # of a writer here the kernel may tell after the next open
        assert digest(path.read_bytes()) == digest(data)
        emulator.forget_requests()

        assert digest(path.read_bytes()) == digest(data)

        assert [request["operation"] for request in emulator.requests()] == ["HeadObject"]


def test_pages_of_a_replaced_object_are_dropped_by_the_next_open(place: Place) -> None:
    (place.path / "f").touch()
    for number in range(1, 4):
        place.sdk.put(f"{place.prefix}f", version(number))
        assert (place.path / "f").read_bytes() == version(number)
        assert (place.path / "f").read_bytes() == version(number)


def test_handle_of_the_old_object_sees_nothing_of_the_new_one(place: Place) -> None:
    """What the kernel has read of either is not shown to both."""
    (place.path / "f").write_bytes(version(1))
    with (place.path / "f").open("rb", buffering=0) as old:
        assert os.pread(old.fileno(), 10, 0) == version(1, 10)
        place.sdk.put(f"{place.prefix}f", version(2))
        with (place.path / "f").open("rb") as new:
            assert new.read() == version(2)
            assert os.pread(old.fileno(), 10, 0) == version(1, 10)
            for offset in (MIB, 2 * MIB):
                with pytest.raises(OSError, match="Stale"):
                    os.pread(old.fileno(), 10, offset)
    assert (place.path / "f").read_bytes() == version(2)


def test_write_that_failed_is_not_read_from_pages(place: Place) -> None:
    (place.path / "f").write_bytes(b"old")
    assert (place.path / "f").read_bytes() == b"old"
    place.emulator.set_faults("operation=PutObject status=403 code=AccessDenied")
    descriptor = os.open(place.path / "f", os.O_RDWR)
    os.pwrite(descriptor, b"new", 0)
    with pytest.raises(PermissionError):
        os.close(descriptor)
    place.emulator.set_faults("")

    assert (place.path / "f").read_bytes() == b"old"


def test_readers_see_one_version_while_others_replace_it(place: Place) -> None:
    key = f"{place.prefix}f"
    (place.path / "f").write_bytes(version(1))
    mixed: list[set[int]] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                seen = read_pages(place.path / "f")
            except OSError:
                continue  # ESTALE: it was replaced meanwhile
            if len(seen) != 1:
                mixed.append(seen)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(2, 40):
        place.sdk.put(key, version(number))
    stop.set()
    for reader in readers:
        reader.join(timeout=60)

    assert mixed == []
    assert read_pages(place.path / "f") == {39}


def test_random_reads_of_a_file_ask_for_little_more_than_they_need(place: Place) -> None:
    (place.path / "f").write_bytes(content(40 * MIB))
    place.emulator.forget_requests()
    with (place.path / "f").open("rb", buffering=0) as file:
        for number in range(1, 40, 3):
            os.pread(file.fileno(), 4096, (40 - number) * MIB + 5 * 4096)

    sizes = downloads(place)
    assert len(sizes) == 13
    assert max(sizes) <= 128 << 10


def test_kernel_reads_ahead_as_much_as_one_request_takes(place: Place) -> None:
    device = place.path.stat().st_dev
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    if not os.access(setting, os.W_OK):
        pytest.skip("only root may set it")

    assert setting.read_text() == "1024\n"


def test_sequential_read_asks_for_large_ranges(place: Place) -> None:
    data = content(64 * MIB)
    (place.path / "f").write_bytes(data)
    place.emulator.forget_requests()

    assert digest((place.path / "f").read_bytes()) == digest(data)

    assert len(downloads(place)) <= 16


def test_cache_on_disk_serves_the_next_mount_after_a_kill(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    data = content(24 * MIB)
    options = ["--cache", str(tmp_path / "cache"), "--memory", "16M"]
    with mounted(emulator, options=options) as mount:
        (mount.path / "cached").write_bytes(data)
        assert digest((mount.path / "cached").read_bytes()) == digest(data)
        eventually(lambda: len(list(tmp_path.glob("cache/ranges/*/*/*"))) == 24)
        mount.process.kill()

    emulator.forget_requests()
    with mounted(emulator, options=options) as mount:
        assert digest((mount.path / "cached").read_bytes()) == digest(data)
    assert "GetObject" not in [request["operation"] for request in emulator.requests()]
