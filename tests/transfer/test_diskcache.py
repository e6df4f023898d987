"""The cache on disk: never wrong, never too large, shared by mounts and by those that died."""

import os
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from cosfs.cos.checksum import crc64
from cosfs.cos.client import CosClient
from cosfs.cos.model import ByteRange, ETag, Key
from cosfs.emulator.api import Api
from cosfs.emulator.faults import Fault
from cosfs.errors import ConfigError, IntegrityError
from cosfs.transfer.blocks import BlockCache
from cosfs.transfer.diskcache import DiskCache
from cosfs.transfer.memory import MemoryLimiter
from cosfs.transfer.version import BLOCK_SIZE, Version
from tests.support.engines import MIB, PLAIN, asked, some_bytes

KEY = Key("a/b")
CONTENT = some_bytes(5 * MIB + 7)
VERSION = Version(KEY, ETag("e"), len(CONTENT))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def cache(directory: Path) -> DiskCache:
    return opened(directory)


def opened(directory: Path, *, limit: int = 64 * MIB, source: str = "s") -> DiskCache:
    return DiskCache(directory, limit=limit, source=source)


def write(cache: DiskCache, start: int, stop: int, version: Version = VERSION) -> None:
    content = CONTENT[start:stop]
    cache.write(version, ByteRange(start, stop), memoryview(content), crc64([content]))


def read(cache: DiskCache, start: int, stop: int, version: Version = VERSION) -> bytes | None:
    content = bytearray(stop - start)
    found = cache.read(version, ByteRange(start, stop), memoryview(content))
    return bytes(content) if found else None


def files_in(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def file_at(directory: Path, start: int) -> Path:
    """The file of the range from *start*."""
    return next(path for path in files_in(directory) if path.name.startswith(f"{start}-"))


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in files_in(directory))


def test_what_was_written_is_found_after_a_restart(directory: Path, cache: DiskCache) -> None:
    write(cache, MIB, 2 * MIB)
    write(cache, 5 * MIB, 5 * MIB + 7)

    again = opened(directory)
    assert read(again, MIB, 2 * MIB) == CONTENT[MIB : 2 * MIB]
    assert read(again, 5 * MIB, 5 * MIB + 7) == CONTENT[5 * MIB :]
    assert read(again, 2 * MIB, 3 * MIB) is None


def test_part_of_a_block_is_found_in_the_block(cache: DiskCache) -> None:
    write(cache, MIB, 2 * MIB)
    assert read(cache, MIB + 4096, MIB + 8192) == CONTENT[MIB + 4096 : MIB + 8192]


@pytest.mark.parametrize(
    "other",
    [
        Version(KEY, ETag("f"), len(CONTENT)),
        Version(Key("a/c"), ETag("e"), len(CONTENT)),
        Version(KEY, ETag("e"), len(CONTENT) + 1),
    ],
    ids=["etag", "key", "size"],
)
def test_other_version_finds_nothing(cache: DiskCache, other: Version) -> None:
    write(cache, 0, MIB)
    assert read(cache, 0, MIB, other) is None


def test_other_bucket_finds_nothing(directory: Path, cache: DiskCache) -> None:
    write(cache, 0, MIB)
    assert read(opened(directory, source="other"), 0, MIB) is None


@pytest.mark.parametrize("seed", range(8))
def test_damaged_file_is_a_miss_and_removed(directory: Path, cache: DiskCache, seed: int) -> None:
    write(cache, 0, MIB)
    (file,) = files_in(directory)
    chance = random.Random(seed)
    stored = bytearray(file.read_bytes())
    if seed % 2:
        del stored[chance.randrange(len(stored)) :]
    else:
        stored[chance.randrange(len(stored))] ^= 1 << chance.randrange(8)
    file.write_bytes(stored)

    assert read(cache, 0, MIB) is None
    assert files_in(directory) == []
    write(cache, 0, MIB)
    assert read(cache, 0, MIB) == CONTENT[:MIB]


def test_what_a_killed_writer_left_is_not_read_and_is_removed(directory: Path) -> None:
    left = directory / "temporary" / "torn"
    opened(directory)
    left.write_bytes(b"cosfs 1\n")
    os.utime(left, (0, 0))
    cache = opened(directory)

    write(cache, 0, MIB)

    assert not left.exists()


def test_least_recently_used_goes_first_and_the_limit_holds(directory: Path) -> None:
    cache = opened(directory, limit=4 * MIB)
    for number in range(3):
        write(cache, number * MIB, (number + 1) * MIB)
        path = next(
            path for path in files_in(directory) if path.name.startswith(f"{number * MIB}-")
        )
        os.utime(path, (1000 + number, 1000 + number))
    read(cache, 0, MIB)  # the oldest, but for this

    write(cache, 3 * MIB, 4 * MIB)

    assert read(cache, 0, MIB) is not None
    assert read(cache, MIB, 2 * MIB) is None
    assert read(cache, 3 * MIB, 4 * MIB) is not None
    assert size_of(directory) <= 4 * MIB


def test_mounts_that_share_a_directory_keep_the_limit_together(directory: Path) -> None:
    pair = [opened(directory, limit=40 * MIB) for _ in range(2)]
    for number in range(60):
        version = Version(Key(f"k{number // 5}"), ETag("e"), len(CONTENT))
        write(pair[number % 2], number % 5 * MIB, (number % 5 + 1) * MIB, version)
        assert size_of(directory) <= 40 * MIB

    assert read(pair[0], 4 * MIB, 5 * MIB, version) == CONTENT[4 * MIB : 5 * MIB]


def test_directory_that_others_may_enter_is_refused(directory: Path) -> None:
    directory.mkdir(mode=0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        opened(directory)


def test_directory_and_files_are_private(directory: Path, cache: DiskCache) -> None:
    write(cache, 0, MIB)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [file.stat().st_mode & 0o777 for file in files_in(directory)] == [0o600]


def test_file_system_is_not_filled(
    directory: Path, cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A twentieth stays free: older ranges go for it, and then nothing is written."""
    write(cache, 0, MIB)
    status = SimpleNamespace(f_blocks=1000, f_frsize=MIB, f_bavail=50)
    monkeypatch.setattr(os, "statvfs", lambda _: status)

    write(cache, MIB, 2 * MIB)

    assert files_in(directory) == []


def test_failed_write_ends_writing_and_not_reading(
    directory: Path, cache: DiskCache, caplog: pytest.LogCaptureFixture
) -> None:
    write(cache, 0, MIB)
    (directory / "temporary").rmdir()
    (directory / "temporary").touch()

    write(cache, MIB, 2 * MIB)
    write(cache, 2 * MIB, 3 * MIB)

    assert caplog.text.count("cache is written no more") == 1
    assert read(cache, 0, MIB) == CONTENT[:MIB]


class Reading:
    """A mount's reads of one object, with an empty memory and the cache in *directory*."""

    def __init__(self, client: CosClient, nursery: trio.Nursery, directory: Path) -> None:
        self.memory = MemoryLimiter(16 * MIB)
        self.cache = BlockCache(client, self.memory, nursery, opened(directory))

    async def read(self, version: Version, start: int, stop: int) -> bytes:
        return bytes(await self.cache.read(version, ByteRange(start, stop)))


def test_directory_that_is_removed_ends_writing_and_nothing_else(
    directory: Path, cache: DiskCache
) -> None:
    shutil.rmtree(directory)

    write(cache, 0, MIB)

    assert not cache.is_writable
    assert read(cache, 0, MIB) is None


async def store(client: CosClient, content: bytes) -> Version:
    stored = await client.put_object(KEY, [content], properties=PLAIN)
    return Version(KEY, stored.etag, len(content), stored.crc64)


async def until_written(directory: Path, count: int) -> None:
    with trio.fail_after(10):
        while len(files_in(directory / "ranges")) < count:  # noqa: ASYNC110 - threads do it
            await trio.sleep(0.01)


async def test_next_mount_reads_from_the_disk(
    api: Api, client: CosClient, directory: Path
) -> None:
    version = await store(client, CONTENT)
    async with trio.open_nursery() as nursery:
        await Reading(client, nursery, directory).read(version, 0, len(CONTENT))
        await until_written(directory, 6)
        api.requests.clear()

        again = Reading(client, nursery, directory)
        assert await again.read(version, 0, len(CONTENT)) == CONTENT
        assert asked(api) == []
        nursery.cancel_scope.cancel()


async def test_only_what_the_disk_lacks_is_downloaded(
    api: Api, client: CosClient, directory: Path
) -> None:
    version = await store(client, CONTENT)
    async with trio.open_nursery() as nursery:
        await Reading(client, nursery, directory).read(version, 0, len(CONTENT))
        await until_written(directory, 6)
        file_at(directory, MIB).unlink()
        api.requests.clear()

        again = Reading(client, nursery, directory)
        assert await again.read(version, 0, len(CONTENT)) == CONTENT
        assert [record.bytes_out for record in api.requests.records("GetObject")] == [BLOCK_SIZE]
        nursery.cancel_scope.cancel()


async def test_replaced_object_is_not_read_from_the_disk(
    client: CosClient, directory: Path
) -> None:
    other = some_bytes(len(CONTENT), seed=3)
    async with trio.open_nursery() as nursery:
        reading = Reading(client, nursery, directory)
        await reading.read(await store(client, CONTENT), 0, len(CONTENT))
        await until_written(directory, 6)

        assert await reading.read(await store(client, other), 0, len(CONTENT)) == other
        nursery.cancel_scope.cancel()


async def test_damaged_object_leaves_nothing_on_the_disk(
    api: Api, client: CosClient, directory: Path
) -> None:
    version = await store(client, CONTENT)
    api.faults.set([Fault(operation="GetObject", nth=1, corrupt=True)])
    async with trio.open_nursery() as nursery:
        reading = Reading(client, nursery, directory)
        await reading.read(version, 0, MIB)
        await until_written(directory, 1)
        with pytest.raises(IntegrityError):
            await reading.read(version, 0, len(CONTENT))

        assert files_in(directory) == []
        assert await reading.read(version, 0, len(CONTENT)) == CONTENT
        nursery.cancel_scope.cancel()
