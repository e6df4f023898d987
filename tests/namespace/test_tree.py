"""Making, removing, changing attributes: what COS holds afterwards, and what it cost."""

import stat

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from cosfs.cos.model import ObjectInfo, ObjectProperties
from cosfs.emulator.faults import Fault
from cosfs.errors import (
    AccessDenied,
    DirectoryNotEmpty,
    EntryExists,
    IsADirectory,
    MetadataFull,
    NoSuchEntry,
    NotADirectory,
)
from cosfs.namespace.attributes import NS_PER_S, AttributeChange, Attributes
from cosfs.namespace.inodes import Node
from cosfs.namespace.tree import Namespace
from tests.namespace.conftest import EXPIRED_S, World


def new_file(mode: int = 0o644) -> Attributes:
    return Attributes(
        mode=stat.S_IFREG | mode, uid=1, gid=2, size=0, mtime_ns=5, ctime_ns=5, atime_ns=5
    )


def create(names: Namespace, parent: Node, name: str) -> Node:
    """A file being written, as an open handle holds it."""
    node = names.create(parent, name, new_file())
    names.inodes.pin(node)
    return node


async def store(world: World, names: Namespace, node: Node, body: bytes = b"") -> ObjectInfo:
    """Commit a file's content."""
    key = names.key_of(node)
    properties = ObjectProperties(metadata=world.codec.to_metadata(node.attributes))
    stored = await world.client.put_object(key, [body], properties=properties)
    info = ObjectInfo(
        key=key,
        size=len(body),
        etag=stored.etag,
        modified_ns=stored.modified_ns or NS_PER_S,
        crc64=stored.crc64,
        properties=properties,
    )
    names.committed(node, info)
    return info


async def make(names: Namespace, parent: Node, name: str) -> Node:
    node = await names.make_directory(parent, name, mode=0o750, uid=5, gid=6)
    names.inodes.remember(node)
    return node


async def test_many_new_files_cost_one_listing_beside_their_puts(
    world: World, names: Namespace, root: Node
) -> None:
    for name in ("a", "b", "c"):
        with pytest.raises(NoSuchEntry):
            await names.lookup(root, name)
        await store(world, names, create(names, root, name))

    assert world.requests() == ["GetBucket", "PutObject a", "PutObject b", "PutObject c"]


async def test_committed_file_is_listed_and_found_without_a_request(
    world: World, names: Namespace, root: Node
) -> None:
    await names.entries(root)
    node = create(names, root, "a")
    await store(world, names, node, b"abc")
    world.forget_requests()

    assert await names.lookup(root, "a") is node
    (entry,) = await names.entries(root)

    assert (entry.attributes.size, entry.exact) == (3, True)
    assert not node.pending
    assert world.requests() == []


async def test_committed_file_shows_the_object_unless_it_is_dirty_again(
    world: World, names: Namespace, root: Node
) -> None:
    node = create(names, root, "a")
    node.dirty = True

    await store(world, names, node, b"abc")
    assert node.attributes.size == 0

    node.dirty = False
    await store(world, names, node, b"abc")
    assert node.attributes.size == 3


async def test_new_directory_costs_its_marker_and_is_known_to_be_empty(
    world: World, names: Namespace, root: Node
) -> None:
    directory = await make(names, root, "d")
    with pytest.raises(NoSuchEntry):
        await names.lookup(directory, "a")

    assert await names.entries(directory) == []
    assert world.requests() == ["GetBucket", "PutObject d/"]
    assert directory.attributes.mode == stat.S_IFDIR | 0o750


async def test_marker_is_what_cpp_cosfs_reads(world: World, names: Namespace, root: Node) -> None:
    await make(names, root, "d")

    info = await world.head("d/")

    assert info.size == 0
    assert info.properties.metadata["mode"] == str(0o040750)
    assert (info.properties.metadata["uid"], info.properties.metadata["gid"]) == ("5", "6")
    assert info.properties.metadata["mtime"].isdigit()


@pytest.mark.parametrize("key", ["d", "d/", "d/a", "d_$folder$"])
async def test_making_a_directory_over_anything_is_refused(
    world: World, names: Namespace, root: Node, key: str
) -> None:
    await world.put(key)

    with pytest.raises(EntryExists):
        await make(names, root, "d")


async def test_removed_file_is_gone_from_bucket_listing_and_lookup(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a")
    await world.put("b")
    node = await names.lookup(root, "a")
    await names.entries(root)
    world.forget_requests()

    await names.remove_file(node)

    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "a")
    assert [entry.name for entry in await names.entries(root)] == ["b"]
    assert node.unlinked
    assert world.requests() == ["DeleteObject a"]


async def test_removing_a_pending_file_costs_nothing(
    world: World, names: Namespace, root: Node
) -> None:
    node = create(names, root, "a")

    await names.remove_file(node)

    assert world.requests() == []
    assert names.inodes.child(root, "a") is None


async def test_file_that_cannot_be_deleted_stays(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a")
    node = await names.lookup(root, "a")
    world.fail(Fault(operation="DeleteObject", status=403, code="AccessDenied"))

    with pytest.raises(AccessDenied):
        await names.remove_file(node)

    assert await names.lookup(root, "a") is node


async def test_remove_of_the_wrong_kind_is_refused(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a")
    file = await names.lookup(root, "a")
    directory = await make(names, root, "d")

    with pytest.raises(IsADirectory):
        await names.remove_file(directory)
    with pytest.raises(NotADirectory):
        await names.remove_directory(file)


async def test_removed_directory_costs_a_listing_and_a_delete(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    directory = await make(names, root, "d")
    mock_clock.jump(EXPIRED_S)
    world.forget_requests()

    await names.remove_directory(directory)

    assert world.requests() == ["GetBucket d/", "DeleteObject d/"]
    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "d")


async def test_directory_that_is_known_to_be_empty_costs_a_delete(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("d/")
    await world.put("d/a")
    directory = await names.lookup(root, "d")
    names.inodes.remember(directory)
    await names.entries(directory)
    await names.remove_file(await names.lookup(directory, "a"))
    world.forget_requests()

    await names.remove_directory(directory)

    assert world.requests() == ["DeleteObject d/"]


@pytest.mark.parametrize("known", [False, True])
async def test_directory_with_keys_that_no_path_has_is_not_removed(
    world: World, names: Namespace, root: Node, *, known: bool
) -> None:
    await world.put("d/")
    await world.put("d//a")
    directory = await names.lookup(root, "d")
    if known:
        assert await names.entries(directory) == []

    with pytest.raises(DirectoryNotEmpty):
        await names.remove_directory(directory)

    assert await world.exists("d/")


@pytest.mark.parametrize("key", ["d/a", "d/sub/a", "d//a"])
async def test_directory_with_entries_elsewhere_made_is_not_removed(
    world: World, names: Namespace, root: Node, mock_clock: MockClock, key: str
) -> None:
    directory = await make(names, root, "d")
    await world.put(key)
    mock_clock.jump(EXPIRED_S)

    with pytest.raises(DirectoryNotEmpty):
        await names.remove_directory(directory)

    assert await world.exists("d/")


async def test_directory_with_a_pending_file_is_not_removed(names: Namespace, root: Node) -> None:
    directory = await make(names, root, "d")
    create(names, directory, "a")

    with pytest.raises(DirectoryNotEmpty):
        await names.remove_directory(directory)


async def test_every_marker_of_a_directory_is_removed(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("d_$folder$")
    await world.put("d/")
    await names.remove_directory(await names.lookup(root, "d"))

    assert await world.keys() == []


async def test_implicit_directory_survives_its_last_file(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.put("d/a")
    directory = await names.lookup(root, "d")
    names.inodes.remember(directory)
    await names.remove_file(await names.lookup(directory, "a"))
    mock_clock.jump(EXPIRED_S)

    assert await names.lookup(root, "d") is directory
    assert await names.entries(directory) == []


async def test_directory_with_nothing_but_a_pending_file_stays(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.put("d/a")
    directory = await names.lookup(root, "d")
    create(names, directory, "new")
    await world.delete("d/a")
    mock_clock.jump(EXPIRED_S)

    assert await names.lookup(root, "d") is directory
    await names.refresh(directory, force=True)
    assert not directory.unlinked


async def test_changed_attributes_keep_everything_else(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put(
        "a",
        b"abc",
        metadata={"mode": "33188", "xattr": "%7B%7D", "foreign": "1"},
        content_type="text/x-odd",
        entity={"cache-control": "no-cache", "content-disposition": "inline"},
    )
    before = await world.head("a")
    node = await names.lookup(root, "a")
    world.forget_requests()

    await names.set_attributes(node, AttributeChange(mode=0o600, uid=9))

    assert world.requests() == ["CopyObject a"]
    after = (await world.head("a")).properties
    assert after.metadata.items() >= {"mode": "33152", "uid": "9", "foreign": "1"}.items()
    assert after.metadata["xattr"] == "%7B%7D"
    assert after.entity == before.properties.entity
    assert after.content_type == "text/x-odd"
    assert node.attributes.mode == 0o100600


async def test_chmod_keeps_the_mtime_that_came_from_last_modified(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a")
    node = await names.lookup(root, "a")
    shown = node.attributes.mtime_ns

    await names.set_attributes(node, AttributeChange(mode=0o600))

    metadata = (await world.head("a")).properties.metadata
    assert metadata["mtime"] == str(shown // NS_PER_S)
    assert node.attributes.mtime_ns == shown


async def test_precise_times_survive_forgetting(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a")
    node = await names.lookup(root, "a")

    await names.set_attributes(node, AttributeChange(mtime_ns=1_700_000_000_123_456_789))

    other = world.mount()
    again = await other.lookup(other.inodes.root, "a")
    assert again.attributes.mtime_ns == 1_700_000_000_123_456_789


async def test_change_that_changes_nothing_costs_nothing(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", metadata={"mode": "33188"})
    node = await names.lookup(root, "a")
    world.forget_requests()

    await names.set_attributes(node, AttributeChange(mode=0o644, uid=node.attributes.uid))

    assert world.requests() == []


async def test_attributes_that_others_changed_meanwhile_are_kept(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.put("a", b"1", metadata={"mode": "33188"})
    node = await names.lookup(root, "a")
    await world.put("a", b"22", metadata={"mode": "33188", "foreign": "1"})
    mock_clock.jump(EXPIRED_S)

    await names.set_attributes(node, AttributeChange(uid=9))

    assert world.requests() == ["GetBucket", "HeadObject a", "CopyObject a"]
    after = await world.head("a")
    assert after.size == 2
    assert after.properties.metadata["foreign"] == "1"


async def test_object_replaced_within_the_time_to_live_is_not_overwritten(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", b"1")
    node = await names.lookup(root, "a")
    await world.put("a", b"22", metadata={"foreign": "1"})

    await names.set_attributes(node, AttributeChange(uid=9))

    after = await world.head("a")
    assert after.size == 2
    assert after.properties.metadata.items() >= {"foreign": "1", "uid": "9"}.items()
    assert node.attributes.size == 2


async def test_attributes_of_a_pending_file_wait_for_its_commit(
    world: World, names: Namespace, root: Node
) -> None:
    node = create(names, root, "a")

    await names.set_attributes(node, AttributeChange(mode=0o600))

    assert node.attributes.mode == 0o100600
    assert world.requests() == []


async def test_attributes_of_an_implicit_directory_make_its_marker(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("d/a")
    directory = await names.lookup(root, "d")
    world.forget_requests()

    await names.set_attributes(directory, AttributeChange(mode=0o700))

    assert world.requests() == ["PutObject d/"]
    assert (await world.head("d/")).properties.metadata["mode"] == str(0o040700)


async def test_attributes_of_a_directory_keep_foreign_metadata(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("d/", metadata={"foreign": "1"})
    directory = await names.lookup(root, "d")

    await names.set_attributes(directory, AttributeChange(mode=0o700))

    assert (await world.head("d/")).properties.metadata["foreign"] == "1"


async def test_attributes_of_an_old_style_directory_give_it_a_marker_of_today(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("d", content_type="application/x-directory", metadata={"foreign": "1"})
    directory = await names.lookup(root, "d")

    await names.set_attributes(directory, AttributeChange(mode=0o700))

    assert await world.keys() == ["d/"]
    assert (await world.head("d/")).properties.metadata["foreign"] == "1"


async def test_attributes_of_a_buckets_root_stay_in_memory(
    world: World, names: Namespace, root: Node
) -> None:
    await names.set_attributes(root, AttributeChange(mode=0o700))
    await names.refresh(root, force=True)

    assert root.attributes.mode == stat.S_IFDIR | 0o700
    assert world.requests() == []


async def test_attributes_of_a_prefixs_root_are_stored(world: World) -> None:
    names = world.mount("a/b/")

    await names.set_attributes(names.inodes.root, AttributeChange(mode=0o700))

    assert (await world.head("a/b/")).properties.metadata["mode"] == str(0o040700)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
async def test_answer_from_before_a_removal_does_not_bring_the_file_back(
    world: World, names: Namespace, root: Node, mock_clock: MockClock, method: str
) -> None:
    await world.put("a")
    node = await names.lookup(root, "a")
    names.inodes.remember(node)
    mock_clock.jump(EXPIRED_S)
    answer = world.transport.hold_next(method)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: names.refresh(node, force=method == "HEAD"))
        await trio.testing.wait_all_tasks_blocked()
        await names.remove_file(node)
        answer.set()

    assert names.inodes.child(root, "a") is None
    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "a")


async def test_lagging_listing_does_not_keep_an_emptied_directory(
    world: World, names: Namespace, root: Node
) -> None:
    directory = await make(names, root, "d")
    await world.put("d/a")
    await names.refresh(directory, force=True)
    node = names.create(directory, "a", new_file())
    await store(world, names, node)
    await world.client.list_objects(prefix="d/", delimiter="/")
    await names.remove_file(node)
    world.transport.lagging = True

    await names.remove_directory(directory)

    assert not await world.exists("d/")


async def test_directory_with_a_file_that_the_listing_misses_is_not_removed(
    world: World, names: Namespace, root: Node
) -> None:
    directory = await make(names, root, "d")
    await world.client.list_objects(prefix="d/", delimiter="/", max_keys=2)
    world.transport.lagging = True
    await store(world, names, create(names, directory, "a"))

    with pytest.raises(DirectoryNotEmpty):
        await names.remove_directory(directory)


async def test_change_that_has_no_room_beside_the_object_is_refused_at_once(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", metadata={"mode": "33188", "foreign": "x" * 1900})
    node = await names.lookup(root, "a")
    before = node.attributes

    with pytest.raises(MetadataFull):
        names.collect_attributes(node, AttributeChange(mode=0o600, uid=1, gid=2))

    assert node.attributes is before
    assert node.late is None


async def test_storing_attributes_leaves_a_directory_the_times_of_what_is_made_meanwhile(
    world: World, names: Namespace, root: Node
) -> None:
    directory = await names.make_directory(root, "d", mode=0o755, uid=1, gid=2)
    names.inodes.remember(directory)
    names.collect_attributes(directory, AttributeChange(mode=0o700))
    answer = world.transport.hold_next("PUT")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(names.store_attributes, directory)
        await trio.testing.wait_all_tasks_blocked()
        await names.make_directory(directory, "x", mode=0o755, uid=1, gid=2)
        made = directory.attributes
        answer.set()

    assert directory.attributes == made
    assert made.mode & 0o777 == 0o700
