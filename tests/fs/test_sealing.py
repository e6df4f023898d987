"""Touching bytes that were sent already: they cannot be read back before the upload completes."""

import pytest

from tests.support.engines import MIB, Files, some_bytes
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)


async def test_read_of_uploaded_bytes_finds_what_was_written(files: Files) -> None:
    content = some_bytes(3 * MIB + 5)
    handle = files.create("f")
    await handle.file.write(0, content)

    assert await files.fs.read(handle, 10, 100) == content[10:110]
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

    assert await files.fs.read(handle, 0, MIB) == new[:MIB]
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
