"""Writes at the end of what is buffered: where they wait, and where they do not."""

from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cosfs.emulator.api import Api
from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied
from cosfs.fs.handles import FileHandle
from tests.support.engines import PART, SMALL, Files, asked, opened_files, some_bytes
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

STEP = 4096


async def write_on(files: Files, handle: FileHandle, content: bytes, start: int = 0) -> None:
    for offset in range(start, len(content), STEP):
        await files.fs.write(handle, offset, content[offset : offset + STEP])


async def test_small_writes_become_full_parts(files: Files) -> None:
    content = some_bytes(3 * PART + STEP // 2)
    handle = files.create("f")
    await write_on(files, handle, content)
    await files.close(handle)

    assert files.stored("f") == content
    assert len(asked(files.api, "UploadPart")) == 4
    assert files.memory.used == 0


async def test_writes_wait_for_memory(files: Files) -> None:
    handle = files.create("f")
    await files.fs.write(handle, 0, bytes(STEP))
    taken = 0
    while files.memory.try_acquire(STEP):
        taken += STEP
    files.memory.load(taken)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(files.fs.write, handle, STEP, bytes(STEP))
        await wait_all_tasks_blocked()
        assert handle.file.attributes.size == STEP
        files.memory.loaded(taken)
        files.memory.release(taken)
    await files.close(handle)

    assert files.stored("f") == bytes(2 * STEP)


async def test_writes_wait_for_a_commit_under_way(files: Files) -> None:
    files.api.faults.add(Fault(operation="PutObject", delay=1.0, times=1))
    handle = files.create("f")
    await files.fs.write(handle, 0, b"first")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(files.fs.fsync, handle)
        await wait_all_tasks_blocked()
        await files.fs.write(handle, 5, b" second")
        assert files.stored("f") == b"first"
    await files.close(handle)

    assert files.stored("f") == b"first second"


async def test_writes_wait_while_a_directory_above_moves(files: Files) -> None:
    directory = await files.fs.names.make_directory(files.root, "d", mode=0o755, uid=0, gid=0)
    await files.put("d/other", b"")
    handle = files.create_in(directory, "f")
    await files.fs.write(handle, 0, b"first")
    files.api.faults.add(Fault(operation="CopyObject", delay=1.0))
    began = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            partial(files.fs.names.rename, files.root, "d", files.root, "e", replace=True)
        )
        await wait_all_tasks_blocked()
        await files.fs.write(handle, 5, b" second")
        assert trio.current_time() > began
    await files.close(handle)

    assert files.stored("e/f") == b"first second"


async def test_a_write_after_data_was_lost_says_so(api: Api) -> None:
    api.faults.add(Fault(operation="UploadPart", status=403, code="AccessDenied"))
    async with opened_files(api, SMALL) as files:
        handle = files.create("f")
        await write_on(files, handle, some_bytes(PART + STEP))
        await wait_all_tasks_blocked()

        with pytest.raises(AccessDenied):
            await files.fs.write(handle, PART + STEP, bytes(STEP))
        await files.fs.release(handle)
