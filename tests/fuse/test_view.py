"""For how long the kernel may trust what it is told."""

from collections.abc import AsyncIterator

import pytest

from cosfs.fuse.view import KernelView
from tests.support.engines import Files, make_quiet_api, opened_files


@pytest.fixture
async def files() -> AsyncIterator[Files]:
    async with opened_files(make_quiet_api()) as files:
        yield files


async def test_attributes_of_a_new_file_need_not_be_asked_for(files: Files) -> None:
    view, handle = KernelView(files.fs), files.create("f")

    made, asked = view.created(handle.file.node), view.entry(handle.file.node)

    assert (made.entry_timeout, made.attr_timeout) == (0, files.fs.namespace.ttl_s)
    assert (asked.entry_timeout, asked.attr_timeout) == (0, 0)


@pytest.mark.parametrize("mode", [0o4755, 0o2755])
async def test_new_file_that_lends_rights_is_asked_for(files: Files, mode: int) -> None:
    """A write takes them away, and the kernel, which forgets size and times, keeps the mode."""
    handle = files.create("f", mode=mode)

    assert KernelView(files.fs).created(handle.file.node).attr_timeout == 0
