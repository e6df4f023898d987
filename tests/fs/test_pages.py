"""Which pages the kernel is told to keep: those of the version that is opened, and of no other."""

from collections.abc import Awaitable, Callable

import pytest
import trio

from cosfs.fs.handles import FileHandle
from cosfs.fs.pages import PageUse
from tests.support.engines import MIB, Files, some_bytes
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

KEEP = PageUse(keep=True, bypass=False)
DROP = PageUse(keep=False, bypass=False)
Use = Callable[[Files, FileHandle], Awaitable[None]]


async def opened(files: Files) -> tuple[FileHandle, PageUse]:
    """The file "f" open to be read, and what the kernel is told of its pages."""
    handle = await files.open("f", writable=False)
    return handle, files.fs.page_use(handle)


async def read(files: Files, handle: FileHandle) -> None:
    await files.fs.read(handle, 0, 4096)


async def close(files: Files, handle: FileHandle) -> None:
    await files.close(handle)


@pytest.mark.parametrize("use", [read, close])
async def test_pages_are_kept_once_it_is_known_that_older_ones_are_dropped(
    files: Files, use: Use
) -> None:
    """The kernel drops them after our answer, when the thread that opens the file runs again."""
    await files.put("f", some_bytes(3 * MIB, seed=1))
    first, told_first = await opened(files)
    second, told_second = await opened(files)
    await use(files, second)
    _, told_third = await opened(files)

    assert (told_first, told_second, told_third) == (DROP, DROP, KEEP)
    await read(files, first)
    assert (await opened(files))[1] == KEEP


async def test_pages_of_the_old_object_are_dropped_by_each_open_until_they_are_gone(
    files: Files,
) -> None:
    await files.put("f", some_bytes(3 * MIB, seed=1))
    old, _ = await opened(files)
    await read(files, old)
    await files.close(old)

    await files.put("f", some_bytes(3 * MIB, seed=2))
    await trio.sleep(6)
    slow, told_slow = await opened(files)
    quick, told_quick = await opened(files)

    assert (told_slow, told_quick) == (DROP, DROP)
    await read(files, slow)
    assert (await opened(files))[1] == DROP
    await read(files, quick)


async def test_use_of_a_handle_says_nothing_of_pages_that_were_doubted_since(
    files: Files,
) -> None:
    await files.put("f", some_bytes(3 * MIB, seed=1))
    reader, _ = await opened(files)
    writer = await files.open("f")
    files.fs.page_use(writer)
    await files.fs.write(writer, 0, b"changed")
    await files.close(writer)
    await read(files, reader)

    assert not (await opened(files))[1].keep
