"""Changing files that exist, and what becomes of open ones whose name changes."""

import stat
from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cosfs.config import OnConflict
from cosfs.emulator.api import Api
from cosfs.emulator.faults import Fault
from cosfs.errors import EntryExists, FileTooLarge, IsADirectory, NoSuchEntry, StaleFile
from cosfs.namespace.attributes import AttributeChange, new_attributes
from tests.support.engines import (
    MIB,
    PART,
    SMALL,
    Files,
    asked,
    keys,
    opened_files,
    some_bytes,
    unfinished_uploads,
)
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

BASE = some_bytes(5 * MIB + 3, seed=5)


async def test_append_copies_what_is_there(files: Files) -> None:
    await files.put("f", BASE)
    handle = await files.open("f")
    await handle.file.write(len(BASE), b"tail")
    await files.close(handle)

    assert files.stored("f") == BASE + b"tail"
    assert len(asked(files.api, "UploadPartCopy")) == 1


async def test_append_to_a_small_file_is_one_put(files: Files) -> None:
    await files.put("f", b"head ")
    handle = await files.open("f")
    await handle.file.write(5, b"tail")
    await files.close(handle)

    assert files.stored("f") == b"head tail"
    assert asked(files.api, "InitiateMultipartUpload") == []


@pytest.mark.parametrize("offset", [0, 1, MIB - 1, 2 * MIB, 5 * MIB, 5 * MIB + 2])
async def test_write_in_the_middle_keeps_the_rest(files: Files, offset: int) -> None:
    await files.put("f", BASE)
    handle = await files.open("f")
    await handle.file.write(offset, b"xyz")
    await files.close(handle)

    expected = bytearray(BASE)
    expected[offset : offset + 3] = b"xyz"
    assert files.stored("f") == bytes(expected)


async def test_changed_file_reads_as_it_will_be(files: Files) -> None:
    await files.put("f", BASE)
    handle = await files.open("f")
    await handle.file.write(MIB, b"xyz")
    await handle.file.truncate(6 * MIB)

    assert (
        await files.fs.read(handle, MIB - 2, 7)
        == BASE[MIB - 2 : MIB] + b"xyz" + BASE[MIB + 3 : MIB + 5]
    )
    assert await files.fs.read(handle, len(BASE) - 1, 10) == BASE[-1:] + bytes(9)
    assert await files.fs.read(handle, 6 * MIB - 1, 10) == bytes(1)
    await files.close(handle)


@pytest.mark.parametrize("size", [0, 1, MIB, 5 * MIB + 2, 5 * MIB + 3, 7 * MIB])
async def test_truncation_by_name_is_stored_at_once(files: Files, size: int) -> None:
    await files.put("f", BASE)
    node = await files.fs.lookup(files.root, "f")

    attributes = await files.fs.set_attributes(node, AttributeChange(), size=size)

    assert attributes.size == size
    assert files.stored("f") == BASE[:size] + bytes(max(0, size - len(BASE)))
    assert files.memory.used == 0


async def test_sparse_file_is_filled_with_zeros(files: Files) -> None:
    handle = files.create("f")
    await handle.file.write(3 * MIB + 7, b"end")
    await files.close(handle)

    assert files.stored("f") == bytes(3 * MIB + 7) + b"end"


async def test_write_past_what_cos_can_hold_is_refused(files: Files) -> None:
    handle = files.create("f")

    with pytest.raises(FileTooLarge):
        await handle.file.write(50_000 << 30, b"x")
    with pytest.raises(FileTooLarge):
        await handle.file.truncate((50_000 << 30) + 1)
    await files.fs.release(handle)


async def test_two_handles_share_one_content(files: Files) -> None:
    first = files.create("f")
    second = await files.fs.open(first.file.node, writable=True, pid=2)
    await first.file.write(0, b"first ")
    await second.file.write(6, b"second")

    assert await files.fs.read(first, 0, 100) == b"first second"
    await files.close(first)
    await files.close(second)
    assert files.stored("f") == b"first second"
    assert asked(files.api, "PutObject") == ["PutObject"]


async def test_edit_of_an_object_replaced_meanwhile_fails_and_leaves_it(files: Files) -> None:
    await files.put("f", BASE)
    handle = await files.open("f")
    await handle.file.write(MIB, b"xyz")
    await files.put("f", b"theirs")

    with pytest.raises(Exception, match="PreconditionFailed"):
        await files.close(handle)

    assert files.stored("f") == b"theirs"
    assert unfinished_uploads(files.api) == []


async def test_edit_of_an_object_replaced_meanwhile_may_win(api: Api) -> None:
    theirs = some_bytes(len(BASE), seed=9)
    overwriting = replace(SMALL, on_conflict=OnConflict.OVERWRITE)
    async with opened_files(api, overwriting) as files:
        await files.put("f", BASE)
        handle = await files.open("f")
        await handle.file.write(MIB, b"xyz")
        await files.put("f", theirs)
        await files.close(handle)

        assert files.stored("f") == theirs[:MIB] + b"xyz" + theirs[MIB + 3 :]


async def test_reader_of_a_replaced_object_is_told(files: Files) -> None:
    await files.put("f", BASE)
    handle = await files.open("f", writable=False)
    await files.put("f", b"theirs")

    with pytest.raises(StaleFile):
        await files.fs.read(handle, 0, 10)


async def test_opening_sees_what_others_have_stored(files: Files) -> None:
    await files.put("f", b"ours")
    await files.close(await files.open("f", writable=False))
    await files.put("f", b"theirs, and longer")
    await trio.sleep(1)  # a lookup just before an open would count as its own

    handle = await files.open("f", writable=False)

    assert await files.fs.read(handle, 0, 100) == b"theirs, and longer"


async def test_unsent_file_is_renamed_without_a_request(files: Files) -> None:
    handle = files.create("f.part")
    await handle.file.write(0, b"content")
    await files.fs.names.rename(files.root, "f.part", files.root, "f", replace=True)
    await files.close(handle)

    assert files.stored("f") == b"content"
    assert files.stored("f.part") is None
    assert asked(files.api, "CopyObject") == []


async def test_file_whose_upload_runs_is_stored_before_it_is_renamed(files: Files) -> None:
    content = some_bytes(2 * PART + 9)
    handle = files.create("f.part")
    await handle.file.write(0, content)
    await files.fs.names.rename(files.root, "f.part", files.root, "f", replace=True)
    await handle.file.write(len(content), b"more")
    await files.close(handle)

    assert files.stored("f") == content + b"more"
    assert files.stored("f.part") is None
    assert unfinished_uploads(files.api) == []


async def test_dirty_file_moves_with_its_directory(files: Files) -> None:
    directory = await files.fs.namespace.make_directory(files.root, "a", mode=0o755, uid=1, gid=1)
    attributes = new_attributes(stat.S_IFREG | 0o644, 1, 1)
    handle = files.fs.create(directory, "f", attributes, pid=1)
    await handle.file.write(0, some_bytes(PART + 1))
    await files.fs.names.rename(files.root, "a", files.root, "b", replace=True)
    await files.close(handle)

    assert files.stored("b/f") == some_bytes(PART + 1)
    assert files.stored("a/f") is None


async def test_rename_over_an_open_file_leaves_the_new_one(files: Files) -> None:
    old, new = files.create("f"), files.create("f.part")
    await old.file.write(0, some_bytes(2 * PART, seed=1))
    await new.file.write(0, b"new")
    await files.fs.names.rename(files.root, "f.part", files.root, "f", replace=True)
    await files.close(new)
    await files.close(old)

    assert files.stored("f") == b"new"
    assert unfinished_uploads(files.api) == []
    assert files.memory.used == 0


async def test_rename_without_replacing_keeps_both(files: Files) -> None:
    await files.put("f", b"there")
    handle = files.create("g")
    await handle.file.write(0, b"content")

    with pytest.raises(EntryExists):
        await files.fs.names.rename(files.root, "g", files.root, "f", replace=False)
    await files.close(handle)

    assert (files.stored("f"), files.stored("g")) == (b"there", b"content")


@pytest.mark.parametrize("size", [10, 3 * PART])
async def test_removed_open_file_leaves_nothing(files: Files, size: int) -> None:
    handle = files.create("f")
    await handle.file.write(0, some_bytes(size))
    await files.fs.names.unlink(files.root, "f")
    await handle.file.write(size, b"more")
    await files.close(handle)

    assert files.stored("f") is None
    assert unfinished_uploads(files.api) == []
    assert files.memory.used == 0
    with pytest.raises(NoSuchEntry):
        await files.fs.lookup(files.root, "f")


async def test_removed_small_file_can_still_be_read(files: Files) -> None:
    """What programs do with temporary files, as long as none of it had to be sent."""
    handle = files.create("f")
    await files.fs.names.unlink(files.root, "f")
    await handle.file.write(0, b"0123456789")
    await handle.file.write(3, b"xyz")

    assert await files.fs.read(handle, 0, 100) == b"012xyz6789"
    await files.close(handle)


@pytest.mark.parametrize("before", [0, 100, 3 * PART])
async def test_removed_file_lives_on_for_those_who_have_it_open(files: Files, before: int) -> None:
    content = bytearray(some_bytes(before + 3 * PART))
    handle = files.create("f")
    await handle.file.write(0, bytes(content[:before]))
    await files.fs.names.unlink(files.root, "f")
    await handle.file.write(before, bytes(content[before:]))
    await files.fs.flush(handle)
    await handle.file.write(PART + 5, b"changed")
    content[PART + 5 : PART + 12] = b"changed"

    assert await files.fs.read(handle, 0, len(content)) == bytes(content)
    assert files.stored("f") is None
    await files.close(handle)
    assert keys(files) == []
    assert unfinished_uploads(files.api) == []


async def test_stored_file_lives_on_when_it_is_removed(files: Files) -> None:
    await files.put("f", b"content")
    handle = await files.open("f", writable=False)
    await files.fs.names.unlink(files.root, "f")

    assert await files.fs.read(handle, 0, 100) == b"content"
    assert files.stored("f") is None
    await files.close(handle)
    assert keys(files) == []


async def test_removal_does_not_fail_when_the_file_cannot_live_on(files: Files) -> None:
    await files.put("f", b"content")
    handle = await files.open("f", writable=False)
    files.api.faults.add(Fault(operation="CopyObject", status=403, code="AccessDenied"))

    await files.fs.names.unlink(files.root, "f")

    with pytest.raises(StaleFile):
        await files.fs.read(handle, 0, 100)
    await files.close(handle)
    assert keys(files) == []


async def test_name_of_a_removed_open_file_is_free(files: Files) -> None:
    old = files.create("f")
    await old.file.write(0, some_bytes(2 * PART))
    await files.fs.names.unlink(files.root, "f")
    new = files.create("f")
    await new.file.write(0, b"new")
    await files.close(new)
    await files.close(old)

    assert files.stored("f") == b"new"


async def test_directory_cannot_be_opened_or_removed_as_a_file(files: Files) -> None:
    node = await files.fs.namespace.make_directory(files.root, "d", mode=0o755, uid=1, gid=1)

    with pytest.raises(IsADirectory):
        await files.fs.open(node, writable=False, pid=1)
    with pytest.raises(IsADirectory):
        await files.fs.names.unlink(files.root, "d")
    with pytest.raises(IsADirectory):
        await files.fs.set_attributes(node, AttributeChange(), size=0)


async def test_symlink_is_a_file_with_its_target(files: Files) -> None:
    attributes = new_attributes(stat.S_IFLNK | 0o777, 1, 1)
    node = await files.fs.names.make_symlink(files.root, "link", b"../target \xff", attributes)

    assert await files.fs.read_link(node) == b"../target \xff"
    assert files.stored("link") == b"../target \xff"
    assert node.attributes.is_symlink


async def test_reads_wait_for_a_commit_under_way(files: Files) -> None:
    """They see neither a hole nor the old object while the bytes are on their way."""
    await files.put("f", b"old old old")
    handle = await files.open("f")
    await handle.file.truncate(0)
    await handle.file.write(0, b"new")
    files.api.faults.set([Fault(operation="PutObject", delay=5)])
    found: list[bytes] = []

    async def read() -> None:
        found.append(bytes(await files.fs.read(handle, 0, 100)))

    files.engines.nursery.start_soon(files.fs.flush, handle)
    await wait_all_tasks_blocked()
    files.engines.nursery.start_soon(read)
    await wait_all_tasks_blocked()
    assert found == []
    await files.fs.fsync(handle)
    await wait_all_tasks_blocked(0.1)

    assert found == [b"new"]
    await files.close(handle)
