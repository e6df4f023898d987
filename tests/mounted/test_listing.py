"""A large directory, listed again and again."""

import time
from pathlib import Path
from typing import Final

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


def fill(root: Path) -> None:
    """Put NAMES empty files into a directory "d" of the bucket that an emulator keeps there."""
    store = Store(open_index(root / "index.sqlite"), DiskBodies(root / "bodies"))
    store.make_bucket(BUCKET, now=0)
    for number in range(NAMES):
        content = store.add_content(Received(file=None, size=0, crc64=0, md5=None))
        stored = Stored(
            key=f"d/{number:06}", content=content, etag="e", modified=0, properties=PLAIN
        )
        store.put(BUCKET, stored)
    store.close()


def test_large_directory_costs_its_pages_however_often_it_is_listed(tmp_path: Path) -> None:
    fill(tmp_path)
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
