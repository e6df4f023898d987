"""Objects that are damaged on their way to a reader."""

import pytest

from cosfs.emulator.faults import Fault
from cosfs.errors import IntegrityError
from cosfs.fs.handles import FileHandle
from tests.support.engines import MIB, Files, some_bytes
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

CONTENT = some_bytes(3 * MIB + 5)


@pytest.fixture
async def handle(files: Files) -> FileHandle:
    """A file that is open, whose first MiB has been read, damaged."""
    await files.put("f", CONTENT)
    handle = await files.open("f", writable=False)
    files.api.faults.set([Fault(operation="GetObject", nth=1, corrupt=True)])
    assert bytes(await files.fs.read(handle, 0, MIB)) != CONTENT[:MIB]
    return handle


async def read_on(files: Files, handle: FileHandle) -> bytes:
    """The rest, as the kernel asks for it: once more for what it could not read ahead."""
    read = b""
    for start in range(MIB, len(CONTENT), MIB):
        try:
            read += await files.fs.read(handle, start, MIB)
        except IntegrityError:
            read += await files.fs.read(handle, start, MIB)
    return read


async def test_damage_is_told_although_the_last_bytes_are_read_again(
    files: Files, handle: FileHandle
) -> None:
    with pytest.raises(IntegrityError):
        await read_on(files, handle)


async def test_damage_is_told_to_all_who_have_the_file_open(
    files: Files, handle: FileHandle
) -> None:
    other = await files.open("f", writable=False)
    with pytest.raises(IntegrityError):
        await read_on(files, handle)

    with pytest.raises(IntegrityError):
        await files.fs.read(other, 0, MIB)


async def test_file_that_is_opened_again_is_read(files: Files, handle: FileHandle) -> None:
    with pytest.raises(IntegrityError):
        await read_on(files, handle)

    again = await files.open("f", writable=False)

    assert not files.fs.page_use(again).keep
    assert bytes(await files.fs.read(again, 0, len(CONTENT))) == CONTENT
