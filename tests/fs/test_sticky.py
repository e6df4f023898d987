"""A file that has lost written data says so in every call, until its last handle is closed."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied, UploadFailed
from cosfs.fs.handles import FileHandle
from cosfs.namespace.attributes import AttributeChange
from tests.support.engines import PART, Files, some_bytes, unfinished_uploads
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

DENIED = Fault(operation="UploadPart", status=403, code="AccessDenied")
Call = Callable[[Files, FileHandle], Awaitable[object]]


@pytest.fixture
async def failed(files: Files) -> FileHandle:
    """A file whose first parts did not reach COS, which works again."""
    await files.put("f", b"old")
    handle = await files.open("f")
    await handle.file.truncate(0)
    files.api.faults.set([DENIED])
    await files.fs.write(handle, 0, some_bytes(2 * PART))
    await trio.testing.wait_all_tasks_blocked()
    files.api.faults.set([])
    return handle


async def write(files: Files, handle: FileHandle) -> None:
    await files.fs.write(handle, 2 * PART, b"more")


async def write_again(files: Files, handle: FileHandle) -> None:
    await files.fs.write(handle, 0, b"again")


async def read(files: Files, handle: FileHandle) -> None:
    await files.fs.read(handle, 2 * PART - 1, 10)


async def read_first(files: Files, handle: FileHandle) -> None:
    await files.fs.read(handle, 0, 10)


async def fsync(files: Files, handle: FileHandle) -> None:
    await files.fs.fsync(handle)


async def close(files: Files, handle: FileHandle) -> None:
    await files.fs.flush(handle)


async def truncate(files: Files, handle: FileHandle) -> None:
    await files.fs.set_attributes(handle.file.node, AttributeChange(), size=0)


async def extend(files: Files, handle: FileHandle) -> None:
    await files.fs.set_attributes(handle.file.node, AttributeChange(), size=4 * PART)


async def open_truncating(files: Files, handle: FileHandle) -> None:
    await files.fs.open(handle.file.node, writable=True, truncate=True, pid=1)


async def rename(files: Files, _handle: FileHandle) -> None:
    await files.fs.names.rename(files.root, "f", files.root, "g", replace=True)


CALLS = [
    *(write, write_again, read, read_first, fsync, close),
    *(truncate, extend, open_truncating, rename),
]


@pytest.mark.parametrize("call", CALLS)
async def test_every_call_says_that_data_is_lost(
    files: Files, failed: FileHandle, call: Call
) -> None:
    for _ in range(2):
        with pytest.raises((AccessDenied, UploadFailed)):
            await call(files, failed)

    assert files.stored("f") == b"old"


@pytest.mark.parametrize("call", CALLS)
async def test_handle_opened_later_says_so_too(
    files: Files, failed: FileHandle, call: Call
) -> None:
    later = await files.fs.open(failed.file.node, writable=True, pid=2)

    with pytest.raises((AccessDenied, UploadFailed)):
        await call(files, later)


async def test_close_of_one_handle_leaves_the_error_to_the_others(
    files: Files, failed: FileHandle
) -> None:
    later = await files.fs.open(failed.file.node, writable=True, pid=2)
    with pytest.raises((AccessDenied, UploadFailed)):
        await files.close(failed)

    for call in (write, fsync, close):
        with pytest.raises((AccessDenied, UploadFailed)):
            await call(files, later)


async def test_copy_of_the_handle_s_descriptor_says_so_at_its_close(
    files: Files, failed: FileHandle
) -> None:
    """After dup(2) or fork(2), each close is a flush of the same handle."""
    for _ in range(3):
        with pytest.raises((AccessDenied, UploadFailed)):
            await files.fs.flush(failed)


async def test_file_without_a_name_says_so_too(files: Files, failed: FileHandle) -> None:
    await files.fs.names.unlink(files.root, "f")

    for call in (write, read, fsync, close):
        with pytest.raises((AccessDenied, UploadFailed)):
            await call(files, failed)


async def test_last_close_ends_it(files: Files, failed: FileHandle) -> None:
    with pytest.raises((AccessDenied, UploadFailed)):
        await files.close(failed)

    again = await files.open("f")
    assert await files.fs.read(again, 0, 10) == b"old"
    await files.fs.write(again, 0, b"new")
    await files.close(again)

    assert files.stored("f") == b"new"
    assert unfinished_uploads(files.api) == []
