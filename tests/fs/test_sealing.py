"""Touching bytes that were sent already: they cannot be read back before the upload completes."""

from dataclasses import replace

import pytest
from trio.testing import wait_all_tasks_blocked

from cosfs.emulator.api import Api
from tests.support.engines import MIB, SMALL, Files, asked, opened_files, some_bytes
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)


async def test_read_of_uploaded_bytes_finds_what_was_written(files: Files) -> None:
    content = some_bytes(3 * MIB + 5)
    handle = files.create("f")
    await handle.file.write(0, content)

    assert await files.fs.read(handle, MIB + 10, 100) == content[MIB + 10 : MIB + 110]
    await files.close(handle)
    assert files.stored("f") == bytes(content)


async def test_read_of_uploaded_bytes_does_not_see_the_old_object(files: Files) -> None:
    """The old object's blocks are in memory: they must not be taken for the new one's."""
    old, new = some_bytes(2 * MIB, seed=1), some_bytes(4 * MIB, seed=2)
    await files.put("f", old)
    handle = await files.open("f")
    assert await files.fs.read(handle, 0, MIB) == old[:MIB]
    await handle.file.truncate(0)
    await handle.file.write(0, new)

    assert await files.fs.read(handle, MIB, MIB) == new[MIB : 2 * MIB]
    assert await files.fs.read(handle, 3 * MIB, MIB) == new[3 * MIB :]
    await files.close(handle)


async def test_write_into_uploaded_bytes_goes_on_from_what_was_sent(files: Files) -> None:
    content = bytearray(some_bytes(3 * MIB + 5))
    handle = files.create("f")
    await handle.file.write(0, bytes(content))

    await handle.file.write(MIB - 2, b"abcd")
    content[MIB - 2 : MIB + 2] = b"abcd"
    await files.close(handle)

    assert files.stored("f") == bytes(content)


async def test_truncation_into_uploaded_bytes_keeps_the_rest(files: Files) -> None:
    content = some_bytes(3 * MIB + 5)
    handle = files.create("f")
    await handle.file.write(0, content)

    await handle.file.truncate(MIB + 7)
    await files.close(handle)

    assert files.stored("f") == content[: MIB + 7]


async def test_header_that_is_written_last_sends_one_part_again(files: Files) -> None:
    content = bytearray(some_bytes(3 * MIB + 5))
    handle = files.create("f")
    await handle.file.write(0, bytes(content))

    await handle.file.write(4, b"size")
    content[4:8] = b"size"
    await files.close(handle)

    assert files.stored("f") == bytes(content)
    assert asked(files.api, "InitiateMultipartUpload") == ["InitiateMultipartUpload"]
    assert len(asked(files.api, "UploadPart")) == 5


async def test_first_part_is_read_back_without_a_request(files: Files) -> None:
    handle = files.create("f")
    await handle.file.write(0, some_bytes(3 * MIB))
    await handle.file.write(4, b"size")

    written = some_bytes(10)
    assert await files.fs.read(handle, 2, 8) == written[2:4] + b"size" + written[8:]
    assert asked(files.api, "CompleteMultipartUpload") == []
    await files.close(handle)


async def test_first_part_is_not_kept_when_an_eighth_of_the_memory_is_taken(files: Files) -> None:
    handles = [files.create(f"f{number}") for number in range(4)]
    for handle in handles:
        await handle.file.write(0, some_bytes(2 * MIB))
    await wait_all_tasks_blocked(0.1)
    assert files.memory.used == 2 * MIB  # of 16 MiB

    for handle in handles:
        await handle.file.write(4, b"size")
        await files.close(handle)

    wanted = bytearray(some_bytes(2 * MIB))
    wanted[4:8] = b"size"
    assert {files.stored(f"f{number}") for number in range(4)} == {bytes(wanted)}
    assert files.memory.used == files.memory.leaving == 0


async def test_file_of_more_parts_than_an_upload_takes_goes_on_in_another(api: Api) -> None:
    content = some_bytes(10 * MIB + 3)
    async with opened_files(api, replace(SMALL, parts_per_upload=4)) as files:
        handle = files.create("f")
        for start in range(0, len(content), 300_000):
            await handle.file.write(start, content[start : start + 300_000])
        await files.close(handle)

        assert files.stored("f") == content
        assert len(asked(api, "InitiateMultipartUpload")) > 2
