"""Files whose name or object changes while they are open."""

import pytest
import trio

from cosfs.emulator.faults import Fault
from cosfs.errors import StaleFile
from cosfs.fs.handles import FileHandle
from cosfs.namespace.attributes import AttributeChange
from tests.support.engines import MIB, PART, Files, keys, some_bytes
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)


async def test_handle_does_not_go_on_in_an_object_that_others_stored(files: Files) -> None:
    await files.put("f", some_bytes(3 * MIB, seed=1))
    handle = await files.open("f", writable=False)
    assert await files.fs.read(handle, 0, 10) == some_bytes(10, seed=1)

    await files.put("f", some_bytes(3 * MIB, seed=2))
    await trio.sleep(6)
    await files.fs.attributes(handle.file.node)

    with pytest.raises(StaleFile):
        await files.fs.read(handle, MIB, 10)
    fresh = await files.open("f", writable=False)
    assert await files.fs.read(fresh, 0, 10) == some_bytes(10, seed=2)
    await files.close(fresh)
    await files.close(handle)


@pytest.mark.parametrize("found_by", ["stat of the file", "stat of the name", "open"])
async def test_object_that_others_stored_is_another_file_beside_readers_of_the_old_one(
    files: Files, found_by: str
) -> None:
    """The kernel would end reading at the new size, and show its pages to both."""
    await files.put("f", some_bytes(3 * MIB, seed=1))
    old = await files.open("f", writable=False)
    await files.put("f", some_bytes(MIB, seed=2))
    await trio.sleep(6)

    if found_by == "open":
        with pytest.raises(StaleFile):
            await files.fs.open(old.file.node, writable=False, pid=1)
    elif found_by == "stat of the file":
        await files.fs.attributes(old.file.node)
    new = await files.open("f", writable=False)

    assert new.file.node is not old.file.node
    assert (await files.fs.attributes(old.file.node)).size == 3 * MIB
    assert (await files.fs.attributes(new.file.node)).size == MIB
    assert await files.fs.read(new, 0, 10) == some_bytes(10, seed=2)
    with pytest.raises(StaleFile):
        await files.fs.read(old, 2 * MIB, 10)
    with pytest.raises(StaleFile):
        await files.fs.set_attributes(old.file.node, AttributeChange(mode=0o600))
    await files.close(new)
    await files.close(old)


async def test_object_that_others_stored_is_the_same_file_to_those_who_write(
    files: Files,
) -> None:
    await files.put("f", b"old")
    writer = await files.open("f")
    await files.put("f", b"longer")
    await trio.sleep(6)

    node = await files.fs.lookup(files.root, "f")

    assert node is writer.file.node
    assert node.attributes.size == 6
    await files.close(writer)


async def test_handle_goes_on_after_changes_of_its_own_mount(files: Files) -> None:
    await files.put("f", b"content")
    reader = await files.open("f", writable=False)
    writer = await files.open("f")
    await writer.file.write(0, b"CON")
    await files.close(writer)
    await files.fs.set_attributes(reader.file.node, AttributeChange(mode=0o600))
    await files.fs.fsync(reader)
    await files.fs.names.rename(files.root, "f", files.root, "g", replace=True)

    assert await files.fs.read(reader, 0, 100) == b"CONtent"
    await files.close(reader)


@pytest.mark.parametrize("change", ["rename", "chmod"])
async def test_handle_does_not_go_on_where_a_change_here_finds_what_others_stored(
    files: Files, change: str
) -> None:
    await files.put("f", some_bytes(3 * MIB, seed=1))
    reader = await files.open("f", writable=False)
    await files.put("f", some_bytes(3 * MIB, seed=2))

    if change == "rename":
        await rename(files, "f", "g")
    else:
        await files.fs.set_attributes(reader.file.node, AttributeChange(mode=0o600))
        await files.fs.fsync(reader)

    with pytest.raises(StaleFile):
        await files.fs.read(reader, MIB, 10)
    await files.close(reader)


async def test_handle_of_a_replaced_file_reads_on_in_the_old_one(files: Files) -> None:
    await files.put("old", some_bytes(100, seed=1))
    await files.put("new", some_bytes(100, seed=2))
    handle = await files.open("old", writable=False)

    await files.fs.names.rename(files.root, "new", files.root, "old", replace=True)

    assert await files.fs.read(handle, 0, 10) == some_bytes(10, seed=1)
    await files.close(handle)
    assert keys(files) == ["old"]


@pytest.mark.parametrize("size", [100, 3 * PART])
async def test_file_made_while_its_directory_is_renamed_is_stored_in_it(
    files: Files, size: int
) -> None:
    await files.put("d/other", b"content")
    directory = await files.fs.lookup(files.root, "d")
    files.fs.namespace.inodes.remember(directory)
    files.api.faults.add(Fault(operation="CopyObject", times=1, delay=5.0))
    content = some_bytes(size)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rename, files, "d", "e")
        await trio.sleep(1)
        handle = files.create_in(directory, "f")
        await handle.file.write(0, content)
        await trio.sleep(1)
        nursery.start_soon(files.close, handle)

    assert (files.stored("e/f"), files.stored("d/f")) == (content, None)
    assert files.stored("e/other") == b"content"


async def rename(files: Files, name: str, new_name: str) -> None:
    await files.fs.names.rename(files.root, name, files.root, new_name, replace=True)


@pytest.mark.parametrize("operation", ["CopyObject", "DeleteObject"])
async def test_open_waits_for_a_rename_of_the_file(files: Files, operation: str) -> None:
    await files.put("f", b"content")
    node = await files.fs.lookup(files.root, "f")
    files.api.faults.set([Fault(operation=operation, times=1, delay=5.0)])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rename, files, "f", "g")
        await trio.sleep(1)
        handle = await files.fs.open(node, writable=False, pid=1)
        assert await files.fs.read(handle, 0, 100) == b"content"

    assert await files.fs.read(handle, 3, 100) == b"tent"
    await files.close(handle)


async def test_open_of_a_file_that_is_being_replaced_asks_for_another_lookup(
    files: Files,
) -> None:
    """The kernel makes it, once it is told that the file it had found is stale."""
    await files.put("f", b"old")
    await files.put("new", b"new")
    node = await files.fs.lookup(files.root, "f")
    files.fs.namespace.inodes.remember(node)
    files.api.faults.set([Fault(operation="CopyObject", times=1, delay=5.0)])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rename, files, "new", "f")
        await trio.sleep(1)
        with pytest.raises(StaleFile):
            await files.fs.open(node, writable=False, pid=1)

    handle = await files.open("f", writable=False)
    assert await files.fs.read(handle, 0, 100) == b"new"
    await files.close(handle)


async def test_file_that_is_replaced_while_it_is_opened_is_the_old_one(files: Files) -> None:
    await files.put("f", b"old")
    await files.put("new", b"longer")
    node = await files.fs.lookup(files.root, "f")
    files.fs.namespace.inodes.remember(node)
    await files.fs.lookup(files.root, "new")
    files.api.faults.set([Fault(operation="HeadObject", times=1, delay=5.0)])
    opened: list[FileHandle] = []

    async def open_it() -> None:
        opened.append(await files.fs.open(node, writable=False, pid=1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(open_it)
        await trio.sleep(1)
        await rename(files, "new", "f")

    assert await files.fs.read(opened[0], 0, 100) == b"old"
    assert files.fs.known_attributes(node).size == 3
    await files.close(opened[0])
    assert keys(files) == ["f"]


async def test_file_that_is_being_replaced_is_the_old_one_until_it_is_done(files: Files) -> None:
    """Its key holds the new object already."""
    await files.put("f", b"old")
    await files.put("new", b"longer")
    handle = await files.open("f", writable=False)
    files.api.faults.set([Fault(operation="DeleteObject", times=1, delay=20.0)])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rename, files, "new", "f")
        await trio.sleep(10)
        assert files.stored("f") == b"longer"
        assert (await files.fs.attributes(handle.file.node)).size == 3
        assert await files.fs.read(handle, 0, 100) == b"old"

    assert await files.fs.read(handle, 0, 100) == b"old"
    await files.close(handle)
    assert keys(files) == ["f"]
