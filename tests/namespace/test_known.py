"""What is kept of objects: for the version that was seen, over restarts and kills, in bounds."""

import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from cosfs.config import AttributeConfig, ServiceConfig
from cosfs.cos.model import ETag, Key, ListedObject, ObjectInfo, ObjectProperties
from cosfs.namespace.known import KnownObjects, known_objects
from cosfs.namespace.knownfile import KnownFile
from cosfs.namespace.tree import Namespace
from tests.namespace.conftest import TTL_S, World

OLD_NS = (time.time_ns() // 10**9 - 3600) * 10**9


def info(key: str = "a", **changes: object) -> ObjectInfo:
    made = ObjectInfo(
        key=Key(key),
        size=3,
        etag=ETag("e"),
        modified_ns=OLD_NS,
        crc64=(1 << 64) - 1,
        properties=ObjectProperties(
            content_type="text/plain",
            metadata={"mode": "33152"},
            entity={"cache-control": "no-cache"},
            storage_class="STANDARD_IA",
        ),
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def listed(info: ObjectInfo) -> ListedObject:
    return ListedObject(
        key=info.key,
        size=info.size,
        etag=info.etag,
        modified_ns=info.modified_ns,
        storage_class="STANDARD",
    )


@asynccontextmanager
async def kept_in(path: Path, **options: int) -> AsyncIterator[tuple[KnownObjects, KnownFile]]:
    """Known objects with a file that is written when the block ends."""
    file = KnownFile(path, **options)
    try:
        yield KnownObjects(file), file
    finally:
        file.close()


async def recalled(path: Path, wanted: ListedObject) -> ObjectInfo | None:
    """What another mount finds in the file."""
    async with kept_in(path) as (known, _):
        await known.load([wanted])
        return known.get(wanted)


async def test_what_was_seen_is_known_after_a_restart(tmp_path: Path) -> None:
    async with kept_in(tmp_path / "file") as (known, _):
        known.seen(info())

    assert await recalled(tmp_path / "file", listed(info())) == info()


@pytest.mark.parametrize(
    "other", [info(etag=ETag("f")), info(modified_ns=OLD_NS + 10**9), info("b")]
)
async def test_another_version_is_not_known(tmp_path: Path, other: ObjectInfo) -> None:
    async with kept_in(tmp_path / "file") as (known, _):
        known.seen(info())

        assert known.get(listed(other)) is None
    assert await recalled(tmp_path / "file", listed(other)) is None


async def test_what_may_still_change_unseen_is_not_kept(tmp_path: Path) -> None:
    """Last-Modified has seconds: a chmod in the same one leaves no trace in a listing."""
    now = info(modified_ns=time.time_ns())
    async with kept_in(tmp_path / "file") as (known, _):
        known.expire_racy_after(60)
        known.seen(now)

        assert known.get(listed(now)) == now
    assert await recalled(tmp_path / "file", listed(now)) is None


async def test_what_this_mount_stored_is_known_but_not_kept(tmp_path: Path) -> None:
    async with kept_in(tmp_path / "file") as (known, _):
        known.stored(info())

        assert known.get(listed(info())) == info()
    assert await recalled(tmp_path / "file", listed(info())) is None


async def test_what_this_mount_stored_may_be_dated_a_second_later() -> None:
    """By the answer's Date; the object's own second may have been the one before."""
    known = KnownObjects()
    known.stored(info())

    assert known.get(listed(info(modified_ns=OLD_NS - 10**9))) == info()
    assert known.get(listed(info(modified_ns=OLD_NS + 10**9))) is None
    assert known.get(listed(info(modified_ns=OLD_NS - 2 * 10**9))) is None


async def test_rows_are_written_a_moment_after_they_came(
    tmp_path: Path,
) -> None:
    """Whoever kills the mount then loses nothing. In real time: a thread writes."""
    async with kept_in(tmp_path / "file") as (known, _), trio.open_nursery() as nursery:
        nursery.start_soon(known.keep_writing)
        for number in range(3):
            known.seen(info(f"a{number}"))
        with sqlite3.connect(tmp_path / "file") as database, trio.fail_after(10):
            while not (rows := database.execute("SELECT key FROM objects").fetchall()):  # noqa: ASYNC110  # the file tells nobody
                await trio.sleep(0.01)

        nursery.cancel_scope.cancel()
    assert rows == [("a0",), ("a1",), ("a2",)]


async def test_two_mounts_share_a_file(tmp_path: Path) -> None:
    async with (
        kept_in(tmp_path / "file") as (first, file),
        kept_in(tmp_path / "file") as (second, _),
    ):
        first.seen(info())
        file.close()
        await second.load([listed(info())])

        assert second.get(listed(info())) == info()


async def test_the_oldest_rows_go_past_the_size(tmp_path: Path) -> None:
    path, limit = tmp_path / "file", 200_000
    for batch in range(20):
        async with kept_in(path, max_bytes=limit) as (known, _):
            for number in range(200):
                known.seen(info(f"{batch:02}-{number:03}"))
        with sqlite3.connect(path) as database:
            database.execute("UPDATE objects SET stored_s = stored_s - 1")

    (count,) = database.execute("SELECT count(*) FROM objects").fetchone()
    (first,) = database.execute("SELECT min(key) FROM objects").fetchone()
    assert 200 <= count < 2000
    assert first > "10"
    assert path.stat().st_size < 2 * limit


async def test_a_damaged_file_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no database" * 1000)
    async with kept_in(tmp_path / "file") as (known, _):
        known.seen(info())

    assert await recalled(tmp_path / "file", listed(info())) == info()


async def test_a_file_that_breaks_is_given_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with kept_in(tmp_path / "file") as (known, _):
        with sqlite3.connect(tmp_path / "file") as database:
            database.execute("DROP TABLE objects")
        known.seen(info("a"))
        await known.load([listed(info("b"))])

        assert known.get(listed(info("a"))) == info("a")
    assert "known objects not kept" in caplog.text


def test_memory_has_to_do_where_no_file_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with known_objects(tmp_path / "missing", ServiceConfig(bucket="b", region="r")) as known:
        known.seen(info())

        assert known.get(listed(info())) == info()
    assert "forgotten at the end of the mount" in caplog.text


async def test_memory_is_bounded() -> None:
    known = KnownObjects(max_bytes=100_000)
    for number in range(1000):
        known.seen(info(f"{number:04}"))

    assert known.get(listed(info("0000"))) is None
    assert known.get(listed(info("0999"))) is not None


async def test_listing_an_unchanged_directory_after_a_restart_costs_its_pages(
    world: World, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        await world.put(f"d/{name}", b"1", metadata={"mode": "33152"})
        world.age(f"d/{name}")

    async def stat_all() -> tuple[list[int], list[str]]:
        async with kept_in(tmp_path / "file") as (known, _):
            names = Namespace(
                world.client,
                world.codec,
                prefix="d/",
                config=AttributeConfig(metadata_ttl_s=TTL_S),
                copy=world.copy,
                known=known,
            )
            root = names.inodes.root
            entries = await names.entries(root)
            nodes = [await names.lookup(root, entry.name) for entry in entries]
            return [node.attributes.mode for node in nodes], world.requests()

    cold, asked_cold = await stat_all()
    warm, asked_warm = await stat_all()

    assert cold == warm == [0o100600] * 3
    assert asked_cold == ["GetBucket d/", "HeadObject d/a", "HeadObject d/b", "HeadObject d/c"]
    assert asked_warm == ["GetBucket d/"]


async def test_attributes_changed_by_a_copy_are_asked_for_again(
    world: World, tmp_path: Path
) -> None:
    """The content and with it the ETag are the same; Last-Modified is not."""
    await world.put("a", b"1", metadata={"mode": "33152"})
    world.age("a")
    async with kept_in(tmp_path / "file") as (known, _):
        known.seen(await world.head("a"))
    old = await world.head("a")
    await world.put("a", b"1", metadata={"mode": "33279"})
    (shown,) = (await world.client.list_objects()).objects

    assert shown.etag == old.etag
    assert await recalled(tmp_path / "file", shown) is None
