"""Large directories: what a listing costs, and that it ends."""

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import pytest

from cosfs.emulator.bodies import DiskBodies
from cosfs.emulator.index import open_index
from cosfs.emulator.intake import Received
from cosfs.emulator.records import Properties, Stored
from cosfs.emulator.store import Store
from tests.mounted.programs import shell
from tests.support.emulated import BUCKET, emulator_process
from tests.support.mounted import mounted

NAMES: Final = 20_500
PAGES: Final = 21
TTL_S: Final = 0.5
PLAIN: Final = Properties(headers={}, storage_class="STANDARD")


def fill(root: Path, keys: Iterable[str]) -> None:
    """Put empty objects into the bucket that an emulator keeps there."""
    store = Store(open_index(root / "index.sqlite"), DiskBodies(root / "bodies"))
    store.make_bucket(BUCKET, now=0)
    for key in keys:
        content = store.add_content(Received(file=None, size=0, crc64=0, md5=None))
        stored = Stored(key=key, content=content, etag="e", modified=0, properties=PLAIN)
        store.put(BUCKET, stored)
    store.close()


def test_large_directory_costs_its_pages_however_often_it_is_listed(tmp_path: Path) -> None:
    fill(tmp_path, (f"d/{number:06}" for number in range(NAMES)))
    with (
        emulator_process("--root", str(tmp_path)) as emulator,
        mounted(emulator, options=["--metadata-ttl", f"{TTL_S}s"]) as mount,
    ):
        (mount.path / "d").stat()
        for _ in range(3):
            time.sleep(TTL_S + 0.1)
            emulator.forget_requests()

            assert shell("ls -f d | sort -u | wc -l", mount.path) == f"{NAMES + 2}\n"

            asked = [request["query"] for request in emulator.requests()]
            assert len([query for query in asked if "prefix=d%2F" in query]) == PAGES


def test_listing_without_a_name_that_can_be_shown_ends_within_the_timeout(tmp_path: Path) -> None:
    """The pages take four seconds, and there is nothing to answer with between them."""
    fill(tmp_path, (f"d/{number:06}{'x' * 250}" for number in range(8_000)))
    with (
        emulator_process("--root", str(tmp_path), "--latency", "0.5") as emulator,
        mounted(emulator, options=["--timeout", "3s"]) as mount,
    ):
        with pytest.raises(OSError, match="timed out") as refused:
            os.listdir(mount.path / "d")

        assert refused.value.errno == errno.ETIMEDOUT
        assert os.listdir(mount.path) == ["d"]
