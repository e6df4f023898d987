"""Renames: files, whole directories, and what is left when one fails."""

from collections.abc import Sequence

import pytest
from trio.testing import MockClock

from cosfs.cos.model import Key, ObjectProperties
from cosfs.emulator.faults import Fault
from cosfs.errors import (
    AccessDenied,
    DirectoryNotEmpty,
    EntryExists,
    InvalidArgument,
    IsADirectory,
    NameTooLong,
    NoSuchEntry,
    NotADirectory,
)
from cosfs.namespace.attributes import AttributeChange
from cosfs.namespace.inodes import Node
from cosfs.namespace.tree import Namespace
from tests.namespace.conftest import World
from tests.namespace.test_tree import create, make, store


async def held(names: Namespace, parent: Node, name: str) -> Node:
    """A node as the kernel holds it."""
    node = await names.lookup(parent, name)
    names.inodes.remember(node)
    return node


async def fill(world: World, keys: Sequence[str]) -> None:
    for key in keys:
        await world.put(key, key.encode())


async def test_renamed_file_costs_a_copy_and_a_delete(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", b"abc")
    node = await held(names, root, "a")
    world.forget_requests()

    await names.rename(node, root, "b")

    assert world.requests() == ["CopyObject b", "DeleteObject a"]
    assert await names.lookup(root, "b") is node
    assert node.object is not None
    assert node.object.key == "b"
    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "a")
    assert world.requests() == []


async def test_renamed_file_keeps_metadata_and_mtime_and_gets_the_type_of_its_name(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", b"abc", metadata={"foreign": "1"}, entity={"cache-control": "no-cache"})
    node = await held(names, root, "a")
    mtime_ns = node.attributes.mtime_ns

    await names.rename(node, root, "a.html")

    after = await world.head("a.html")
    assert after.properties.metadata["foreign"] == "1"
    assert after.properties.entity == {"cache-control": "no-cache"}
    assert after.properties.content_type == "text/html"
    assert world.codec.from_object(after).mtime_ns == mtime_ns


async def test_renamed_file_keeps_a_content_type_that_was_chosen(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", b"abc", content_type="text/x-odd")

    await names.rename(await held(names, root, "a"), root, "a.html")

    assert (await world.head("a.html")).properties.content_type == "text/x-odd"


async def test_rename_replaces_a_file(world: World, names: Namespace, root: Node) -> None:
    await fill(world, ["a", "b"])
    node = await held(names, root, "a")
    replaced = await held(names, root, "b")

    await names.rename(node, root, "b")

    assert await world.keys() == ["b"]
    assert (await world.head("b")).size == 1
    assert replaced.unlinked
    assert await names.lookup(root, "b") is node


async def test_rename_to_itself_costs_nothing(world: World, names: Namespace, root: Node) -> None:
    await world.put("a")
    node = await held(names, root, "a")
    world.forget_requests()

    await names.rename(node, root, "a")

    assert world.requests() == []


async def test_rename_refuses_what_rename2_refuses(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["file", "empty/", "full/a", "full/sub/b"])
    file = await held(names, root, "file")
    empty = await held(names, root, "empty")
    full = await held(names, root, "full")
    sub = await held(names, full, "sub")

    with pytest.raises(IsADirectory):
        await names.rename(file, root, "empty")
    with pytest.raises(NotADirectory):
        await names.rename(empty, root, "file")
    with pytest.raises(DirectoryNotEmpty):
        await names.rename(empty, root, "full")
    with pytest.raises(InvalidArgument):
        await names.rename(full, sub, "x")
    with pytest.raises(EntryExists):
        await names.rename(empty, root, "file", replace=False)

    assert await world.keys() == ["empty/", "file", "full/a", "full/sub/b"]


async def test_pending_file_is_renamed_without_a_request(
    world: World, names: Namespace, root: Node
) -> None:
    await names.entries(root)
    node = create(names, root, "a")
    world.forget_requests()

    await names.rename(node, root, "b")
    assert world.requests() == []

    await store(world, names, node, b"abc")
    assert await world.keys() == ["b"]


async def test_pending_file_over_a_stored_one_replaces_it_with_its_commit(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["b"])
    node = create(names, root, "a")

    await names.rename(node, root, "b")
    assert (await world.head("b")).size == 1

    await store(world, names, node, b"new content")
    assert (await world.head("b")).size == 11


@pytest.mark.parametrize("step", ["remove", "rename"])
async def test_object_that_a_pending_file_replaced_does_not_come_back(
    world: World, names: Namespace, root: Node, step: str
) -> None:
    await fill(world, ["b"])
    node = create(names, root, "a")
    await names.rename(node, root, "b")

    if step == "remove":
        await names.remove_file(node)
    else:
        await names.rename(node, root, "c")

    assert await world.keys() == []
    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "b")


async def test_object_that_an_abandoned_file_replaced_shows_again(
    world: World, names: Namespace, root: Node
) -> None:
    """The file could not be stored: the rename must not cost the user the old one as well."""
    await fill(world, ["b"])
    node = create(names, root, "a")
    await names.rename(node, root, "b")

    names.inodes.unlink(node)

    assert await names.lookup(root, "b") is not node
    assert await world.keys() == ["b"]


async def test_file_whose_copy_fails_stays(world: World, names: Namespace, root: Node) -> None:
    await fill(world, ["a", "b"])
    node = await held(names, root, "a")
    world.fail(Fault(operation="CopyObject", status=403, code="AccessDenied"))

    with pytest.raises(AccessDenied):
        await names.rename(node, root, "b")

    assert await names.lookup(root, "a") is node
    assert await world.keys() == ["a", "b"]


async def test_file_that_cannot_be_deleted_after_its_copy_is_there_twice(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["long name", "b"])
    node = await held(names, root, "long name")
    replaced = await held(names, root, "b")
    world.fail(Fault(operation="DeleteObject", status=403, code="AccessDenied"))

    with pytest.raises(AccessDenied):
        await names.rename(node, root, "b")

    assert await names.lookup(root, "long name") is node
    assert await names.lookup(root, "b") is replaced
    assert replaced.attributes.size == len("long name")


async def test_directory_moves_with_everything_below(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["d/", "d/a", "d/sub/", "d/sub/b", "d/implicit/c", "d//odd"])
    directory = await held(names, root, "d")
    sub = await held(names, directory, "sub")
    node = await held(names, sub, "b")

    await names.rename(directory, root, "e")

    assert await world.keys() == ["e/", "e//odd", "e/a", "e/implicit/c", "e/sub/", "e/sub/b"]
    assert names.key_of(node) == "e/sub/b"
    assert node.object is not None
    assert node.object.key == "e/sub/b"
    assert [entry.name for entry in await names.entries(directory)] == ["a", "implicit", "sub"]
    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "d")


async def test_directory_keeps_metadata_and_mtime_below(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("d/a.txt", b"abc", metadata={"foreign": "1"}, content_type="text/x-odd")
    mtime_ns = world.codec.from_object(await world.head("d/a.txt")).mtime_ns

    await names.rename(await held(names, root, "d"), root, "e")

    after = await world.head("e/a.txt")
    assert after.properties.metadata["foreign"] == "1"
    assert after.properties.content_type == "text/x-odd"
    assert world.codec.from_object(after).mtime_ns == mtime_ns


async def test_directory_over_an_empty_one_takes_its_place(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["d/a", "e/"])
    directory = await held(names, root, "d")
    await held(names, root, "e")

    await names.rename(directory, root, "e")

    assert await names.lookup(root, "e") is directory
    assert [entry.name for entry in await names.entries(directory)] == ["a"]


@pytest.mark.parametrize("nth", [1, 7, 20])
async def test_directory_whose_copy_fails_stays_whole(
    world: World, names: Namespace, root: Node, nth: int
) -> None:
    keys = [f"d/{number:02}" for number in range(20)]
    await fill(world, keys)
    directory = await held(names, root, "d")
    world.fail(Fault(operation="CopyObject", nth=nth, status=403, code="AccessDenied"))

    with pytest.raises(AccessDenied):
        await names.rename(directory, root, "e")

    assert await world.keys() == keys
    assert await names.lookup(root, "d") is directory
    assert len(await names.entries(directory)) == 20
    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "e")


async def test_directory_whose_child_cannot_be_headed_stays_whole(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["d/a", "d/b", "d/c"])
    directory = await held(names, root, "d")
    world.fail(Fault(operation="HeadObject", key="d/b", status=403, code="AccessDenied"))

    with pytest.raises(AccessDenied):
        await names.rename(directory, root, "e")

    assert await world.keys() == ["d/a", "d/b", "d/c"]


async def test_failed_move_over_an_empty_directory_leaves_that_too(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["d/", "d/a", "e/"])
    directory = await held(names, root, "d")
    world.fail(Fault(operation="CopyObject", key="e/a", status=403, code="AccessDenied"))

    with pytest.raises(AccessDenied):
        await names.rename(directory, root, "e")

    assert await world.keys() == ["d/", "d/a", "e/"]


async def test_directory_whose_sources_cannot_be_deleted_loses_nothing(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["d/a", "d/b"])
    directory = await held(names, root, "d")
    world.fail(Fault(operation="DeleteMultipleObjects", status=403, code="AccessDenied"))

    with pytest.raises(AccessDenied):
        await names.rename(directory, root, "e")

    assert await world.keys() == ["d/a", "d/b", "e/a", "e/b"]
    assert [entry.name for entry in await names.entries(directory)] == ["a", "b"]
    assert [entry.name for entry in await names.entries(root)] == ["d", "e"]


async def test_files_of_a_move_that_failed_late_are_asked_for_again(
    world: World, names: Namespace, root: Node
) -> None:
    """Its sources may be deleted in part."""
    await fill(world, ["d/a", "d/b"])
    directory = await held(names, root, "d")
    node = await held(names, directory, "a")
    world.fail(Fault(operation="DeleteMultipleObjects", status=403, code="AccessDenied"))
    with pytest.raises(AccessDenied):
        await names.rename(directory, root, "e")
    await world.delete("d/a")

    with pytest.raises(NoSuchEntry):
        await names.refresh(node)


@pytest.mark.parametrize("forgotten", [True, False])
async def test_file_that_the_listing_misses_moves_with_its_directory(
    world: World, names: Namespace, root: Node, mock_clock: MockClock, *, forgotten: bool
) -> None:
    """A node that is still known is not forgotten, however long the listing lags."""
    directory = await make(names, root, "d")
    await world.client.list_objects(prefix="d/")
    world.transport.lagging = True
    node = create(names, directory, "a")
    names.inodes.remember(node)
    await store(world, names, node)
    names.inodes.unpin(node)
    if forgotten:
        names.inodes.forget(node.inode, 1)
    else:
        mock_clock.jump(1000)

    await names.rename(directory, root, "e")

    world.transport.lagging = False
    assert await world.keys() == ["e/", "e/a"]


async def test_empty_directory_that_the_listing_misses_moves_with_the_one_above(
    world: World, names: Namespace, root: Node
) -> None:
    """Although the kernel has forgotten it."""
    directory = await make(names, root, "d")
    await world.client.list_objects(prefix="d/")
    world.transport.lagging = True
    node = await make(names, directory, "a")
    names.inodes.forget(node.inode, node.lookups)

    await names.rename(directory, root, "e")

    world.transport.lagging = False
    assert await world.keys() == ["e/", "e/a/"]


async def test_removed_file_that_the_listing_still_shows_does_not_stop_a_move(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["d/a", "d/b"])
    directory = await held(names, root, "d")
    node = await names.lookup(directory, "a")
    await world.client.list_objects(prefix="d/")
    world.transport.lagging = True
    await names.remove_file(node)

    await names.rename(directory, root, "e")

    world.transport.lagging = False
    assert await world.keys() == ["e/b"]


async def test_pending_files_move_with_their_directory(
    world: World, names: Namespace, root: Node
) -> None:
    directory = await make(names, root, "d")
    node = create(names, directory, "a")

    await names.rename(directory, root, "e")
    await store(world, names, node)

    assert await world.keys() == ["e/", "e/a"]


async def test_implicit_directory_of_pending_files_alone_gets_a_marker(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["d/a"])
    directory = await held(names, root, "d")
    create(names, directory, "new")
    await world.delete("d/a")

    await names.rename(directory, root, "e")

    assert await world.keys() == ["e/"]


@pytest.mark.parametrize("keys", [["d_$folder$"], ["d_$folder$", "d/"], ["d_$folder$", "d/a"]])
async def test_hadoop_marker_goes_with_its_directory(
    world: World, names: Namespace, root: Node, keys: list[str]
) -> None:
    for key in keys:
        await world.put(key)
    directory = await held(names, root, "d")

    await names.rename(directory, root, "e")

    assert (await world.keys())[0] == "e/"
    assert not any(key.startswith("d") for key in await world.keys())
    assert await names.lookup(root, "e") is directory


async def test_directory_of_more_than_a_page_moves_whole(
    world: World, names: Namespace, root: Node
) -> None:
    keys = [f"d/{number:04}" for number in range(1005)]
    properties = ObjectProperties()
    for key in keys:
        await world.client.put_object(Key(key), [], properties=properties)
    directory = await held(names, root, "d")

    await names.rename(directory, root, "e")

    assert len(await names.entries(directory)) == 1005
    assert await world.keys_below("d/") == []


async def test_move_to_keys_too_long_copies_nothing(
    world: World, names: Namespace, root: Node
) -> None:
    long = "/".join(["x" * 200] * 4)
    await fill(world, [f"d/{long}"])
    directory = await held(names, root, "d")
    world.forget_requests()

    with pytest.raises(NameTooLong):
        await names.rename(directory, root, "e" * 100)

    assert not any(request.startswith("CopyObject") for request in world.requests())


async def test_renamed_directory_can_be_made_again_and_is_empty(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["d/a"])
    directory = await held(names, root, "d")
    await held(names, directory, "a")
    await names.rename(directory, root, "e")

    again = await make(names, root, "d")

    assert again is not directory
    assert await names.entries(again) == []
    assert [entry.name for entry in await names.entries(directory)] == ["a"]


async def test_attributes_can_be_changed_after_a_move(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["d/a"])
    directory = await held(names, root, "d")
    node = await held(names, directory, "a")
    await names.rename(directory, root, "e")

    await names.set_attributes(node, AttributeChange(mode=0o600))

    assert (await world.head("e/a")).properties.metadata["mode"] == str(0o100600)
    assert await world.keys() == ["e/a"]


async def test_renames_leave_the_inode_table_sound(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, ["a", "b", "d/x"])
    first = await held(names, root, "a")
    second = await held(names, root, "b")
    directory = await held(names, root, "d")
    await names.rename(first, root, "b")
    await names.rename(first, directory, "y")
    await names.rename(directory, root, "e")

    for node in (first, second, directory):
        names.inodes.check_invariants()
        names.inodes.forget(node.inode, 1)

    assert len(names.inodes) == 1
