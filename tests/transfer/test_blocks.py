"""Blocks of objects in memory: fetched once, never mixed, given up when others need the memory."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cosfs.cos.client import CosClient
from cosfs.cos.model import ByteRange, ETag, Key
from cosfs.emulator.api import Api
from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied, CosError, IntegrityError, PreconditionFailed
from cosfs.transfer.blocks import GRANULE, BlockCache
from cosfs.transfer.loads import Load
from cosfs.transfer.memory import MemoryLimiter
from cosfs.transfer.prefetch import Prefetcher
from cosfs.transfer.version import Version
from tests.support.engines import MIB, PLAIN, asked, some_bytes
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

KEY = Key("f")
KIB = 1 << 10
CONTENT = some_bytes(9 * MIB + 7)
BUDGET = 6 * MIB


class Reading:
    """A cache with its memory, and one version of the object."""

    def __init__(self, client: CosClient, nursery: trio.Nursery) -> None:
        self.client = client
        self.memory = MemoryLimiter(BUDGET)
        self.cache = BlockCache(client, self.memory, nursery)
        self.version = Version(KEY, ETag(""), 0)

    async def store(self, content: bytes) -> Version:
        stored = await self.client.put_object(KEY, [content], properties=PLAIN)
        self.version = Version(KEY, stored.etag, len(content), stored.crc64)
        return self.version

    async def read(self, start: int, stop: int) -> bytes:
        return bytes(await self.cache.read(self.version, ByteRange(start, stop)))


@pytest.fixture
async def reading(api: Api, client: CosClient) -> AsyncIterator[Reading]:
    async with trio.open_nursery() as nursery:
        reading = Reading(client, nursery)
        await reading.store(CONTENT)
        api.requests.clear()
        yield reading
        nursery.cancel_scope.cancel()


def bytes_received(api: Api) -> int:
    return sum(record.bytes_out for record in api.requests.records("GetObject"))


async def read_into(found: list[bytes], reading: Reading, start: int, stop: int) -> None:
    found.append(await reading.read(start, stop))


async def expect_error(reading: Reading, refused: list[CosError]) -> None:
    with pytest.raises(CosError) as caught:
        await reading.read(0, MIB)
    refused.append(caught.value)


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (MIB - 1, MIB + 1), (5, 3 * MIB + 5), (9 * MIB, 9 * MIB + 7), (MIB, 2 * MIB)],
)
async def test_read_finds_the_bytes(reading: Reading, start: int, stop: int) -> None:
    assert await reading.read(start, stop) == CONTENT[start:stop]


async def test_block_in_memory_is_not_fetched_again(api: Api, reading: Reading) -> None:
    await reading.read(0, MIB)
    await reading.read(100, MIB)

    assert asked(api) == ["GetObject"]
    assert reading.memory.used == MIB


async def test_readers_of_one_block_share_its_download(api: Api, reading: Reading) -> None:
    found: list[bytes] = []
    async with trio.open_nursery() as nursery:
        for start in range(8):
            nursery.start_soon(read_into, found, reading, start, 100)

    assert asked(api) == ["GetObject"]
    assert sorted(found) == sorted(CONTENT[start:100] for start in range(8))


async def test_error_reaches_every_reader_and_the_next_one_tries_again(
    api: Api, reading: Reading
) -> None:
    api.faults.set([Fault(operation="GetObject", nth=1, status=403, code="AccessDenied")])
    refused: list[CosError] = []
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(expect_error, reading, refused)

    assert [type(error) for error in refused] == [AccessDenied] * 3
    assert reading.memory.used == 0
    assert await reading.read(0, 10) == CONTENT[:10]


async def test_replaced_object_is_an_error_and_no_mixture(reading: Reading) -> None:
    await reading.read(0, MIB)
    old = reading.version
    await reading.store(some_bytes(len(CONTENT), seed=9))

    with pytest.raises(PreconditionFailed):
        await reading.cache.read(old, ByteRange(0, 2 * MIB))
    assert await reading.read(0, 9) == some_bytes(9, seed=9)


async def test_object_replaced_on_the_way_is_an_error(api: Api, reading: Reading) -> None:
    """The connection breaks in the middle of a block; what follows would be another object's."""
    api.faults.set([Fault(operation="GetObject", nth=1, cut=1000, bandwidth=500)])
    refused: list[CosError] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_error, reading, refused)
        while not asked(api, "GetObject"):
            await trio.lowlevel.checkpoint()
        await trio.sleep(1)  # of the two that the first 1000 bytes take
        await reading.client.put_object(KEY, [b"other"], properties=PLAIN)

    assert [type(error) for error in refused] == [PreconditionFailed]
    assert reading.memory.used == 0


async def test_broken_download_goes_on_where_it_broke(api: Api, reading: Reading) -> None:
    api.faults.set([Fault(operation="GetObject", nth=1, cut=MIB // 2)])

    assert await reading.read(0, MIB) == CONTENT[:MIB]
    assert asked(api) == ["GetObject", "GetObject"]


async def test_blocks_make_room_for_those_who_need_it(reading: Reading) -> None:
    for number in range(6):
        await reading.read(number * MIB, (number + 1) * MIB)
    assert reading.memory.used == BUDGET

    assert reading.memory.try_acquire(2 * MIB)

    assert reading.memory.used == BUDGET


async def test_least_recently_read_block_goes_first(api: Api, reading: Reading) -> None:
    for number in range(6):
        await reading.read(number * MIB, (number + 1) * MIB)
    await reading.read(0, 1)
    await reading.read(7 * MIB, 8 * MIB)
    api.requests.clear()

    await reading.read(0, 1)
    assert asked(api) == []
    await reading.read(MIB, MIB + 1)
    assert asked(api) == ["GetObject"]


async def test_read_larger_than_the_budget_succeeds(reading: Reading) -> None:
    assert await reading.read(0, len(CONTENT)) == CONTENT


async def test_readers_that_waited_for_memory_load_their_block_once(
    api: Api, reading: Reading
) -> None:
    assert reading.memory.try_acquire(BUDGET)
    reading.memory.depart(BUDGET)
    found: list[bytes] = []
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read_into, found, reading, 0, 5)
        await wait_all_tasks_blocked()
        assert asked(api) == []
        reading.memory.arrive(BUDGET)

    assert found == [CONTENT[:5]] * 3
    assert asked(api) == ["GetObject"]
    assert reading.memory.used == GRANULE


async def test_prefetch_asks_once_for_a_run_of_blocks(api: Api, reading: Reading) -> None:
    await reading.read(2 * MIB, 2 * MIB + 1)
    api.requests.clear()

    assert reading.cache.prefetch(reading.version, ByteRange(0, 5 * MIB), set())
    await reading.read(0, 5 * MIB)

    assert asked(api) == ["GetObject", "GetObject"]
    assert reading.memory.used == 5 * MIB


async def test_prefetch_does_not_wait_for_memory(api: Api, reading: Reading) -> None:
    assert reading.memory.try_acquire(5 * MIB)

    assert not reading.cache.prefetch(reading.version, ByteRange(0, 2 * MIB), set())
    await wait_all_tasks_blocked()
    assert asked(api) == []


async def test_sequential_reads_are_read_ahead(api: Api, reading: Reading) -> None:
    prefetcher = Prefetcher(reading.cache, most=lambda: 2 * MIB)
    for start in range(0, 4 * MIB, MIB // 2):
        span = ByteRange(start, start + MIB // 2)
        prefetcher.follow(reading.version, span)
        assert await reading.cache.read(reading.version, span) == CONTENT[start : span.stop]
    await wait_all_tasks_blocked(0.1)

    api.requests.clear()
    await reading.read(4 * MIB, 5 * MIB)
    assert asked(api) == []


@pytest.mark.parametrize(
    "starts",
    [
        (1 * MIB, 5 * MIB, 2 * MIB, 8 * MIB),
        range(8 * MIB, 6 * MIB, -(64 << 10)),
        range(64 << 10, 8 * MIB, 256 << 10),
    ],
    ids=["random", "backwards", "strided"],
)
async def test_other_than_sequential_reads_read_nothing_ahead(
    api: Api, reading: Reading, starts: Sequence[int]
) -> None:
    prefetcher = Prefetcher(reading.cache, most=lambda: 4 * MIB)
    for start in starts:
        span = ByteRange(start, start + (64 << 10))
        prefetcher.follow(reading.version, span)
        assert await reading.read(start, span.stop) == CONTENT[start : span.stop]

    assert bytes_received(api) == len(starts) * (64 << 10)


async def test_random_read_loads_what_it_needs_and_no_place_twice(
    api: Api, reading: Reading
) -> None:
    for _ in range(2):
        await reading.read(3 * MIB + 100, 3 * MIB + 4100)
    assert bytes_received(api) == GRANULE

    await reading.read(3 * MIB, 4 * MIB)
    assert bytes_received(api) == MIB
    assert reading.memory.used == MIB


async def test_readers_in_turn_through_several_handles_are_one_sequence(
    api: Api, reading: Reading
) -> None:
    """The kernel's pages serve all: a handle is asked only for what no other has read."""
    pair = [Prefetcher(reading.cache, most=lambda: 2 * MIB) for _ in range(2)]
    for number in range(9):
        span = ByteRange(number * MIB, (number + 1) * MIB)
        pair[number % 2].follow(reading.version, span)
        await reading.read(span.start, span.stop)

    await reading.read(9 * MIB, len(CONTENT))
    assert bytes_received(api) == len(CONTENT)


async def test_bytes_are_read_before_the_rest_of_their_range_has_come(
    api: Api, reading: Reading
) -> None:
    api.faults.set([Fault(operation="GetObject", bandwidth=MIB)])
    held: set[Load] = set()
    assert reading.cache.prefetch(reading.version, ByteRange(0, 5 * MIB), held)

    with trio.fail_after(1.5):
        assert await reading.read(0, MIB) == CONTENT[:MIB]


async def test_what_nobody_waits_for_is_cancelled_at_the_end(api: Api, reading: Reading) -> None:
    api.faults.set([Fault(operation="GetObject", bandwidth=MIB)])
    first, second = (Prefetcher(reading.cache, most=lambda: 4 * MIB) for _ in range(2))
    for prefetcher in (first, second):
        prefetcher.follow(reading.version, ByteRange(0, MIB))
    await reading.read(0, MIB)

    first.close()
    await reading.read(MIB, 2 * MIB)
    assert len(asked(api)) == 1  # the second one still wanted it

    second.close()
    await wait_all_tasks_blocked(0.1)
    await trio.sleep(20)
    assert bytes_received(api) < 4 * MIB
    assert reading.memory.used == 2 * MIB


async def test_seek_cancels_what_was_read_ahead(api: Api, reading: Reading) -> None:
    api.faults.set([Fault(operation="GetObject", nth=1, bandwidth=MIB)])
    prefetcher = Prefetcher(reading.cache, most=lambda: 4 * MIB)
    prefetcher.follow(reading.version, ByteRange(0, MIB))
    await reading.read(0, MIB)

    prefetcher.follow(reading.version, ByteRange(8 * MIB, 9 * MIB))
    await reading.read(8 * MIB, 9 * MIB)

    await trio.sleep(20)
    assert reading.memory.used == 2 * MIB


async def test_reader_goes_on_when_others_cancel_what_it_was_to_wait_for(
    api: Api, reading: Reading
) -> None:
    api.faults.set([Fault(operation="GetObject", bandwidth=MIB)])
    held: list[set[Load]] = [set(), set()]
    reading.cache.prefetch(reading.version, ByteRange(0, MIB), held[0])
    reading.cache.prefetch(reading.version, ByteRange(MIB, 2 * MIB), held[1])
    found: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_into, found, reading, MIB - 10, MIB + 10)
        await trio.sleep(0.5)
        reading.cache.let_go(held[1])

    assert found == [CONTENT[MIB - 10 : MIB + 10]]


async def read_to_the_end(reading: Reading, pieces: list[int]) -> None:
    for start, stop in pairwise([0, *pieces, len(CONTENT)]):
        await reading.read(start, stop)
        await reading.memory.acquire(BUDGET)  # what was read is dropped, be it half a block
        reading.memory.release(BUDGET)


@pytest.mark.parametrize("damaged", [1, 2, 3, 4])
async def test_damage_is_found_although_memory_was_short_between_the_reads(
    api: Api, reading: Reading, damaged: int
) -> None:
    api.faults.set([Fault(operation="GetObject", nth=damaged, corrupt=True)])

    with pytest.raises(IntegrityError):
        await read_to_the_end(reading, [192 * KIB, 2 * MIB, 5 * MIB])


async def test_damage_is_found_although_parts_were_read_twice(api: Api, reading: Reading) -> None:
    api.faults.set([Fault(operation="GetObject", nth=1, corrupt=True)])
    await reading.read(0, 192 * KIB)
    await reading.memory.acquire(BUDGET)
    reading.memory.release(BUDGET)

    with pytest.raises(IntegrityError):
        await reading.read(128 * KIB, len(CONTENT))


async def test_damaged_object_is_an_error_at_its_last_byte(api: Api, reading: Reading) -> None:
    """COS's CRC64 is known to be another: the damage could be anywhere."""
    api.faults.set([Fault(operation="GetObject", nth=2, corrupt=True)])
    for start in (5 * MIB, 0):
        await reading.read(start, start + 4 * MIB)
    await reading.read(4 * MIB, 5 * MIB)

    with pytest.raises(IntegrityError):
        await reading.read(9 * MIB, 9 * MIB + 1)

    assert reading.memory.used == 0
    assert await reading.read(0, len(CONTENT)) == CONTENT


async def test_object_whose_checksum_nobody_knows_is_read(api: Api, reading: Reading) -> None:
    reading.version = replace(reading.version, crc64=None)
    api.faults.set([Fault(operation="GetObject", nth=1, corrupt=True)])

    assert (await reading.read(0, len(CONTENT)))[1:] == CONTENT[1:]


async def test_large_reads_at_random_places_ask_for_twice_their_size_at_most(
    api: Api, reading: Reading
) -> None:
    """The kernel hands a read of 2 MiB on as two."""
    prefetcher = Prefetcher(reading.cache, most=lambda: 4 * MIB)
    for start in (5 * MIB, 6 * MIB):
        prefetcher.follow(reading.version, ByteRange(start, start + MIB))
        await reading.read(start, start + MIB)
    await wait_all_tasks_blocked(0.1)

    assert bytes_received(api) <= 4 * MIB


async def test_window_begins_anew_after_a_seek(reading: Reading) -> None:
    prefetcher = Prefetcher(reading.cache, most=lambda: 4 * MIB)
    for start in range(0, 3 * MIB, MIB):
        prefetcher.follow(reading.version, ByteRange(start, start + MIB))
    await wait_all_tasks_blocked(0.1)
    reading.memory.try_acquire(BUDGET)
    reading.memory.release(BUDGET)

    for start in (6 * MIB, 6 * MIB + GRANULE):
        prefetcher.follow(reading.version, ByteRange(start, start + GRANULE))
    await wait_all_tasks_blocked(0.1)

    assert reading.memory.used == 2 * MIB


async def test_reading_ahead_ends_with_the_object(reading: Reading) -> None:
    prefetcher = Prefetcher(reading.cache, most=lambda: 4 * MIB)
    for start in range(7 * MIB, 9 * MIB, MIB):
        prefetcher.follow(reading.version, ByteRange(start, start + MIB))
    prefetcher.follow(reading.version, ByteRange(9 * MIB, len(CONTENT)))
    await wait_all_tasks_blocked(0.1)

    assert reading.memory.used == len(CONTENT) - 7 * MIB
    assert await reading.read(9 * MIB, len(CONTENT)) == CONTENT[9 * MIB :]


async def test_what_a_reader_has_passed_goes_before_what_is_read_ahead(
    api: Api, reading: Reading
) -> None:
    prefetcher = Prefetcher(reading.cache, most=lambda: 4 * MIB)
    for number in range(9):
        span = ByteRange(number * MIB, (number + 1) * MIB)
        prefetcher.follow(reading.version, span)
        await reading.read(span.start, span.stop)
    await reading.read(9 * MIB, len(CONTENT))

    assert bytes_received(api) == len(CONTENT)


async def test_long_run_keeps_little_of_what_it_has_passed(client: CosClient) -> None:
    content = some_bytes(90 * MIB)
    async with trio.open_nursery() as nursery:
        reading = Reading(client, nursery)
        reading.memory.limit = 256 * MIB
        await reading.store(content)
        prefetcher = Prefetcher(reading.cache, most=lambda: 4 * MIB)
        for number in range(90):
            span = ByteRange(number * MIB, (number + 1) * MIB)
            prefetcher.follow(reading.version, span)
            assert await reading.read(span.start, span.stop) == content[span.start : span.stop]
        nursery.cancel_scope.cancel()

    assert 64 * MIB <= reading.memory.used <= 70 * MIB


async def test_window_shrinks_when_memory_is_short(reading: Reading) -> None:
    """Reading ahead takes what is free and leaves the reader itself its block."""
    assert reading.memory.try_acquire(4 * MIB)
    prefetcher = Prefetcher(reading.cache, most=lambda: 4 * MIB)
    for start in range(0, 6 * MIB, MIB):
        prefetcher.follow(reading.version, ByteRange(start, start + MIB))
        assert await reading.read(start, start + MIB) == CONTENT[start : start + MIB]

    assert reading.memory.used <= BUDGET


async def test_memory_of_a_block_fits_a_write_of_its_size(reading: Reading) -> None:
    """Else what is written could not go where blocks were, and both would add up."""
    view = await reading.cache.read(reading.version, ByteRange(0, MIB))

    assert isinstance(view, memoryview)
    assert isinstance(view.obj, bytearray)
    assert view.obj.__alloc__() >= bytes(MIB).__sizeof__()
