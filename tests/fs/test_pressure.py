"""Writers short of memory: what is buffered leaves early, and nobody waits for what is lost."""

from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cosfs.config import TransferConfig
from cosfs.emulator.api import Api
from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied, CosfsError
from tests.support.engines import MIB, Files, asked, keys, opened_files, some_bytes
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

TIGHT = TransferConfig(part_size=8 * MIB, parallel=2, memory=8 * MIB, read_ahead=MIB)


async def write_in_pieces(files: Files, name: str, content: bytes) -> None:
    handle = files.create(name)
    for start in range(0, len(content), MIB // 2):
        await handle.file.write(start, content[start : start + MIB // 2])
        await trio.lowlevel.checkpoint()  # as each request of the kernel is a task's turn
    await files.close(handle)


async def test_unfinished_parts_leave_when_memory_is_short(api: Api) -> None:
    """Four writers whose parts are as large as the whole budget."""
    async with opened_files(api, TIGHT) as files:
        async with trio.open_nursery() as nursery:
            for number in range(4):
                content = some_bytes(5 * MIB, number)
                nursery.start_soon(write_in_pieces, files, f"f{number}", content)

        assert all(files.stored(f"f{n}") == some_bytes(5 * MIB, n) for n in range(4))
        assert files.memory.used == 0
    assert "UploadPart" in asked(api)


async def test_longest_run_leaves_first(api: Api) -> None:
    async with opened_files(api, TIGHT) as files:
        long, short = files.create("long"), files.create("short")
        await long.file.write(0, bytes(5 * MIB))
        await short.file.write(0, bytes(3 * MIB))
        await short.file.write(3 * MIB, b"more")
        await wait_all_tasks_blocked(0.1)

        assert [record.key for record in api.requests.records("UploadPart")] == ["long"]
        await files.fs.close()


async def test_writer_does_not_wait_for_a_file_that_is_lost(api: Api) -> None:
    """Its buffered bytes cannot leave any more, and its owner has not been told yet."""
    api.faults.set([Fault(operation="UploadPart", key="lost", status=403, code="AccessDenied")])
    config = TransferConfig(part_size=4 * MIB, parallel=2, memory=8 * MIB, read_ahead=MIB)
    async with opened_files(api, config) as files:
        lost, other = files.create("lost"), files.create("other")
        await lost.file.write(0, bytes(7 * MIB))
        await wait_all_tasks_blocked(0.1)
        with trio.fail_after(60):
            for start in range(0, 12 * MIB, MIB):
                await other.file.write(start, some_bytes(MIB, start))
            await files.close(other)

        with pytest.raises(AccessDenied):
            await files.close(lost)
        assert files.memory.used == 0


async def test_cancelled_writer_leaves_its_place(api: Api) -> None:
    api.faults.set([Fault(operation="UploadPart", delay=20)])
    async with opened_files(api, TIGHT) as files:
        handle = files.create("f")
        await handle.file.write(0, some_bytes(8 * MIB))
        with trio.move_on_after(5) as gave_up:
            await handle.file.write(8 * MIB, b"never")
        await handle.file.write(8 * MIB, b"more")
        await files.close(handle)

        assert gave_up.cancelled_caught
        assert files.stored("f") == some_bytes(8 * MIB) + b"more"
        assert files.memory.used == 0


async def test_reader_gets_its_block_from_a_full_budget(api: Api) -> None:
    async with opened_files(api, TIGHT) as files:
        await files.put("f", some_bytes(2 * MIB))
        writer = files.create("new")
        await writer.file.write(0, bytes(8 * MIB - 1))
        reader = await files.open("f", writable=False)
        with trio.fail_after(60):
            assert await files.fs.read(reader, 0, MIB) == some_bytes(MIB)
        await files.close(writer)


@pytest.mark.parametrize("base_size", [0, 6 * MIB])
async def test_scattered_writes_stay_in_the_budget(api: Api, base_size: int) -> None:
    """No two of them touch, so no part of them alone is ever full."""
    expected = bytearray(some_bytes(base_size))
    config = TransferConfig(part_size=MIB, parallel=4, memory=2 * MIB, read_ahead=MIB)
    async with opened_files(api, config) as files:
        await files.put("f", bytes(expected))
        expected.extend(bytes(6 * MIB - base_size))
        handle = await files.open("f")
        for start in range(0, 6 * MIB, 96 << 10):
            await handle.file.write(start, some_bytes(64 << 10, start))
            expected[start : start + (64 << 10)] = some_bytes(64 << 10, start)
            assert files.memory.used <= files.memory.limit
        await files.close(handle)

        assert files.stored("f") == bytes(expected[: max(base_size, start + (64 << 10))])
        assert files.memory.used == 0


async def test_scattered_writes_stay_within_the_memory(api: Api) -> None:
    """Pieces of 64 KiB with 2 MiB between them: no run of them makes a part."""
    async with opened_files(api, TIGHT) as files:
        wanted = bytearray(300 * 2 * MIB)
        handle = files.create("f")
        await handle.file.truncate(len(wanted))
        most = 0
        for number in range(300):
            piece = some_bytes(64 << 10, number)
            wanted[number * 2 * MIB : number * 2 * MIB + len(piece)] = piece
            await handle.file.write(number * 2 * MIB, piece)
            await trio.lowlevel.checkpoint()
            most = max(most, files.memory.used)
        await files.close(handle)

        assert files.stored("f") == bytes(wanted)
        assert most <= TIGHT.memory + MIB


async def test_many_readers_download_nothing_twice(api: Api) -> None:
    """Sixteen files of 3 MiB, read side by side through 32 MiB of memory."""
    async with opened_files(api, replace(TIGHT, memory=32 * MIB, read_ahead=8 * MIB)) as files:
        for number in range(16):
            await files.put(f"f{number}", some_bytes(3 * MIB, number))
        handles = [await files.open(f"f{number}", writable=False) for number in range(16)]
        for start in range(0, 3 * MIB, MIB // 4):
            for number, handle in enumerate(handles):
                found = await files.fs.read(handle, start, MIB // 4)
                assert found == some_bytes(3 * MIB, number)[start : start + MIB // 4]

        assert sum(record.bytes_out for record in api.requests.records("GetObject")) == 48 * MIB
        for handle in handles:
            await files.close(handle)


async def write_until_refused(files: Files, name: str, refused: list[float]) -> None:
    """Write without end; how long the call took that failed, and what its close stores."""
    handle = files.create(name)
    offset = 0
    while True:
        began = trio.current_time()
        try:
            await files.fs.write(handle, offset, bytes(MIB))
        except CosfsError:
            refused.append(trio.current_time() - began)
            break
        offset += MIB
    with pytest.raises(CosfsError):
        await files.close(handle)


@pytest.mark.parametrize("fault", [Fault(stall=0), Fault(reset=True)], ids=["hole", "refused"])
async def test_many_writers_are_told_within_twice_the_timeout_that_cos_is_away(
    files: Files, fault: Fault
) -> None:
    """However many there are: they wait for each other's memory, and not one after the other."""
    files.api.faults.set([fault])
    refused: list[float] = []
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(write_until_refused, files, f"f{number}", refused)

    assert len(refused) == 40
    assert max(refused) <= 2 * 60 + 1
    assert files.memory.used == 0
    files.api.faults.set([])
    assert keys(files) == []
    handle = files.create("next")
    await files.fs.write(handle, 0, b"works")
    await files.close(handle)
    assert files.stored("next") == b"works"
