"""For how long the kernel may trust what it is told."""

from collections.abc import AsyncIterator

import pyfuse3
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


async def test_name_of_a_removed_file_that_is_open_stays_missing_until_it_appears(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[bytes] = []
    monkeypatch.setattr(
        pyfuse3, "invalidate_entry_async", lambda _parent, name, **_: told.append(name)
    )
    await files.put("f", b"x")
    view, handle = KernelView(files.fs), await files.open("f", writable=False)
    await files.fs.names.unlink(files.root, "f")
    absent = view.absent(files.root, "f")

    view.entry(handle.file.node)  # as for fstat(2)
    view.invalidate([files.root])

    assert absent is not None
    assert told == [b"f"]
