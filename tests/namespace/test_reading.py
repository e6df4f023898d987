"""Lookups, listings and refreshes: what they find, and what they cost."""

import stat

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from cosfs.emulator.faults import Fault
from cosfs.errors import (
    AccessDenied,
    EntryExists,
    InvalidArgument,
    NameTooLong,
    NoSuchEntry,
    NotADirectory,
)
from cosfs.namespace.inodes import Node
from cosfs.namespace.tree import Namespace
from tests.namespace.conftest import EXPIRED_S, TTL_S, World


async def fill(world: World, count: int) -> None:
    for number in range(count):
        await world.put(f"big/{number:05}")


async def test_lookup_lists_the_directory_and_heads_the_file(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", b"abc", metadata={"mode": "33152", "uid": "5"})

    node = await names.lookup(root, "a")

    assert (node.attributes.mode, node.attributes.uid, node.attributes.size) == (0o100600, 5, 3)
    assert world.requests() == ["GetBucket", "HeadObject a"]


async def test_lookup_again_costs_nothing_within_the_time_to_live(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a")
    node = await names.lookup(root, "a")
    world.forget_requests()

    assert await names.lookup(root, "a") is node
    assert world.requests() == []


async def test_missing_names_cost_one_listing_for_all(
    world: World, names: Namespace, root: Node
) -> None:
    for name in ("x", "y", "z"):
        with pytest.raises(NoSuchEntry):
            await names.lookup(root, name)

    assert world.requests() == ["GetBucket"]


async def test_listing_confirms_what_was_headed_before(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    for name in ("a", "b"):
        await world.put(name)
        world.age(name)
    for name in ("a", "b"):
        await names.lookup(root, name)
    mock_clock.jump(EXPIRED_S)
    world.forget_requests()

    await names.lookup(root, "a")
    await names.lookup(root, "b")

    assert world.requests() == ["GetBucket"]


async def test_change_of_attributes_in_the_second_of_the_upload_is_seen(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    """ETag and Last-Modified are the same before and after."""
    await world.put("a", b"abc", metadata={"mode": "33152"})
    await names.lookup(root, "a")
    await world.put("a", b"abc", metadata={"mode": "33261"})
    mock_clock.jump(EXPIRED_S)

    node = await names.lookup(root, "a")

    assert node.attributes.mode == 0o100755


async def test_forgotten_node_is_found_again_without_head(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a")
    node = await names.lookup(root, "a")
    names.inodes.remember(node)
    names.inodes.forget(node.inode, 1)
    world.forget_requests()

    again = await names.lookup(root, "a")

    assert again is not node
    assert world.requests() == []


async def test_object_replaced_elsewhere_keeps_its_inode(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.put("a", b"1")
    node = await names.lookup(root, "a")
    await world.put("a", b"22")
    mock_clock.jump(EXPIRED_S)

    assert await names.lookup(root, "a") is node
    assert node.attributes.size == 2


async def test_name_that_becomes_a_directory_gets_another_node(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.put("a")
    node = await names.lookup(root, "a")
    await world.put("a/b")
    mock_clock.jump(EXPIRED_S)

    directory = await names.lookup(root, "a")

    assert directory.is_directory
    assert directory is not node
    assert node.unlinked


async def test_implicit_directory_is_a_directory(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("d/sub/a")

    directory = await names.lookup(root, "d")
    sub = await names.lookup(directory, "sub")

    assert directory.object is None
    assert (await names.lookup(sub, "a")).attributes.size == 0


async def test_hadoop_directory_is_a_directory(world: World, names: Namespace, root: Node) -> None:
    await world.put("d_$folder$")

    assert (await names.lookup(root, "d")).is_directory
    assert [entry.name for entry in await names.entries(root)] == ["d"]


async def test_old_style_directory_of_cpp_cosfs_is_a_directory(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("d", content_type="application/x-directory")

    assert (await names.lookup(root, "d")).is_directory


async def test_symlink_is_known_by_its_mode(world: World, names: Namespace, root: Node) -> None:
    await world.put("link", b"target", metadata={"mode": "41471"})

    assert (await names.lookup(root, "link")).attributes.is_symlink


async def test_directory_wins_over_the_file_beside_it(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", b"file")
    await world.put("a/b")

    node = await names.lookup(root, "a")
    entries = await names.entries(root)

    assert node.is_directory
    assert [(entry.name, entry.attributes.is_directory) for entry in entries] == [("a", True)]


@pytest.mark.parametrize(
    "name", ["plain", "a b+c%25&d", "ünïcode-文件-🎉", "tab\tnew\nline", "..."]
)
async def test_awkward_names_are_found(
    world: World, names: Namespace, root: Node, name: str
) -> None:
    await world.put(name, b"x")

    assert (await names.lookup(root, name)).attributes.size == 1
    assert [entry.name for entry in await names.entries(root)] == [name]


async def test_keys_that_no_path_has_are_left_out(
    world: World, names: Namespace, root: Node
) -> None:
    for key in ("d//x", "d/./x", "d/../x", "d/" + "n" * 256, "d/ok"):
        await world.put(key)

    directory = await names.lookup(root, "d")

    assert [entry.name for entry in await names.entries(directory)] == ["ok"]


async def test_names_too_long_are_refused_without_a_request(
    world: World, names: Namespace, root: Node
) -> None:
    with pytest.raises(NameTooLong):
        await names.lookup(root, "é" * 128)
    with pytest.raises(InvalidArgument):
        await names.lookup(root, "..")

    assert world.requests() == []


async def test_path_over_850_bytes_is_refused(names: Namespace, root: Node) -> None:
    node = root
    for _ in range(4):
        node = await names.make_directory(node, "d" * 200, mode=0o755, uid=0, gid=0)

    with pytest.raises(NameTooLong):
        await names.lookup(node, "f" * 50)


async def test_lookup_in_a_file_is_refused(world: World, names: Namespace, root: Node) -> None:
    await world.put("a")
    node = await names.lookup(root, "a")

    with pytest.raises(NotADirectory):
        await names.lookup(node, "b")


async def test_large_directory_is_asked_for_the_name_alone(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, 1001)
    directory = await names.lookup(root, "big")
    await names.lookup(directory, "01000")
    world.forget_requests()

    await names.lookup(directory, "00500")
    with pytest.raises(NoSuchEntry):
        await names.lookup(directory, "none")

    assert sorted(world.requests()) == [
        "GetBucket big/none/",
        "HeadObject big/00500",  # its page is known
        "HeadObject big/none",
    ]


async def test_large_directory_is_listed_whole(world: World, names: Namespace, root: Node) -> None:
    await fill(world, 1001)
    directory = await names.lookup(root, "big")
    world.forget_requests()

    entries = await names.entries(directory)

    assert [entry.name for entry in entries] == [f"{number:05}" for number in range(1001)]
    assert world.requests() == ["GetBucket big/", "GetBucket big/"]


async def test_directory_in_a_large_directory_wins_over_the_file_beside_it(
    world: World, names: Namespace, root: Node
) -> None:
    await fill(world, 1001)
    await world.put("big/00001/x")
    await world.put("big/marked/", metadata={"mode": "16832"})
    directory = await names.lookup(root, "big")

    assert (await names.lookup(directory, "00001")).is_directory
    assert (await names.lookup(directory, "marked")).attributes.mode == stat.S_IFDIR | 0o700


async def test_lookups_of_siblings_at_once_share_the_listing(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a")

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(names.lookup, root, "a")

    assert world.requests() == ["GetBucket", "HeadObject a"]


async def test_failed_listing_fails_every_lookup_that_waits_for_it(
    world: World, names: Namespace, root: Node
) -> None:
    world.fail(Fault(operation="GetBucket", status=403, code="AccessDenied"))
    failures: list[AccessDenied] = []

    async def look(name: str) -> None:
        with pytest.raises(AccessDenied) as caught:
            await names.lookup(root, name)
        failures.append(caught.value)

    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(look, name)

    assert len(failures) == 3
    assert world.requests() == ["GetBucket"]


async def test_entries_are_exact_once_their_attributes_are_known(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", b"abc", metadata={"mode": "33152"})
    await world.put("b", b"b")
    await names.lookup(root, "a")

    a, b = await names.entries(root)

    assert (a.attributes.mode, a.exact) == (0o100600, True)
    assert (b.attributes.mode, b.attributes.size, b.exact) == (0o100644, 1, False)


async def test_listed_entry_becomes_a_node_that_a_lookup_makes_exact(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", b"abc", metadata={"mode": "33152"})
    (entry,) = await names.entries(root)
    world.forget_requests()

    node = names.entry_node(root, entry)
    assert world.requests() == []
    assert await names.lookup(root, "a") is node
    assert node.attributes.mode == 0o100600


async def test_listed_entry_that_turns_out_a_symlink_gets_another_node(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", b"abc", metadata={"mode": "41471"})
    (entry,) = await names.entries(root)
    file = names.entry_node(root, entry)

    link = await names.lookup(root, "a")

    assert link is not file
    assert link.attributes.is_symlink


async def test_second_listing_of_known_files_makes_fresh_nodes_for_its_pages_alone(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.put("a", b"abc", metadata={"mode": "33152"})
    world.age("a")
    old = await names.lookup(root, "a")
    names.inodes.remember(old)
    mock_clock.jump(EXPIRED_S)
    world.forget_requests()

    (entry,) = await names.entries(root)
    node = names.entry_node(root, entry)

    assert node is old
    assert await names.lookup(root, "a") is node
    assert node.attributes.mode == 0o100600
    assert world.requests() == ["GetBucket"]


@pytest.mark.parametrize("since", ["refresh", "time to live"])
async def test_listed_entry_is_asked_for_anew_once_it_is_not_trusted(
    world: World, names: Namespace, root: Node, mock_clock: MockClock, since: str
) -> None:
    """A program may read a directory as slowly as it likes."""
    await world.put("a")
    world.age("a")
    await names.lookup(root, "a")
    mock_clock.jump(EXPIRED_S)
    (entry,) = await names.entries(root)
    world.forget_requests()
    if since == "refresh":
        names.forget(root)
    else:
        mock_clock.jump(EXPIRED_S)

    assert names.entry_node(root, entry).checked + TTL_S <= trio.current_time()
    await names.lookup(root, "a")

    assert "GetBucket" in world.requests()


async def test_listed_entry_of_a_directory_that_has_moved_is_not_the_old_object(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.put("old/a")
    world.age("old/a")
    directory = await names.lookup(root, "old")
    await names.lookup(directory, "a")
    mock_clock.jump(EXPIRED_S)
    (entry,) = await names.entries(directory)
    for node in list(names.inodes.descendants(directory)):
        names.inodes.drop_unused(node)
    mock_clock.jump(1)

    await names.rename(await names.lookup(root, "old"), root, "new")

    directory = await names.lookup(root, "new")
    assert names.entry_node(directory, entry).object is None
    node = await names.lookup(directory, "a")
    assert node.object is not None
    assert node.object.key == "new/a"


async def test_listed_entry_that_was_removed_since_is_not_found(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a")
    node = await names.lookup(root, "a")
    (entry,) = await names.entries(root)
    await names.remove_file(node)

    names.entry_node(root, entry)

    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "a")


async def test_listed_entry_that_was_removed_long_since_is_not_found(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    """The time to live is longer than a removal is remembered."""
    await world.put("a")
    world.age("a")
    await names.lookup(root, "a")
    mock_clock.jump(EXPIRED_S)
    (entry,) = await names.entries(root)
    await names.remove_file(await names.lookup(root, "a"))
    mock_clock.jump(20)
    await names.make_directory(root, "elsewhere", mode=0o755, uid=0, gid=0)

    names.entry_node(root, entry)

    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "a")


async def test_listed_entry_of_another_kind_gets_another_node(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.put("a")
    file = await names.lookup(root, "a")
    names.inodes.remember(file)
    await world.put("a/b")
    mock_clock.jump(EXPIRED_S)
    (entry,) = await names.entries(root)

    directory = names.entry_node(root, entry)

    assert directory.is_directory
    assert file.unlinked


async def test_known_symlink_stays_one_in_a_listing_of_its_new_version(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    """Until a HEAD says otherwise: the kernel must not see an inode change its type."""
    await world.put("link", b"1", metadata={"mode": "41471"})
    names.inodes.remember(await names.lookup(root, "link"))
    await world.put("link", b"22", metadata={"mode": "41471"})
    mock_clock.jump(EXPIRED_S)

    (entry,) = await names.entries(root)

    assert entry.attributes.is_symlink
    assert not entry.exact


async def test_removed_directory_has_no_entries(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("d/")
    directory = await names.lookup(root, "d")
    names.inodes.pin(directory)
    await names.remove_directory(directory)

    assert await names.entries(directory) == []


async def test_entries_include_pending_files(world: World, names: Namespace, root: Node) -> None:
    await world.put("b")
    attributes = (await names.lookup(root, "b")).attributes
    names.inodes.pin(names.create(root, "a", attributes))

    assert [(entry.name, entry.exact) for entry in await names.entries(root)] == [
        ("a", True),
        ("b", True),
    ]


async def test_create_of_a_known_name_is_refused(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a")
    node = await names.lookup(root, "a")

    with pytest.raises(EntryExists):
        names.create(root, "a", node.attributes)


async def test_refresh_costs_nothing_within_the_time_to_live(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a")
    node = await names.lookup(root, "a")
    world.forget_requests()

    await names.refresh(node)
    await names.refresh(root)

    assert world.requests() == []


async def test_forced_refresh_heads_the_file_now(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", b"1")
    node = await names.lookup(root, "a")
    await world.put("a", b"22")

    await names.refresh(node, force=True)

    assert node.attributes.size == 2
    assert world.requests() == ["HeadObject a"]


@pytest.mark.parametrize("force", [True, False])
async def test_refresh_of_what_is_gone_is_no_entry(
    world: World, names: Namespace, root: Node, mock_clock: MockClock, *, force: bool
) -> None:
    await world.put("d/a")
    directory = await names.lookup(root, "d")
    node = await names.lookup(directory, "a")
    names.inodes.remember(directory)
    names.inodes.remember(node)
    await world.delete("d/a")
    mock_clock.jump(EXPIRED_S)

    for gone in (node, directory):
        with pytest.raises(NoSuchEntry):
            await names.refresh(gone, force=force)
        assert gone.unlinked


async def test_refresh_leaves_a_dirty_file_alone(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.put("a", b"1")
    node = await names.lookup(root, "a")
    node.dirty = True
    await world.put("a", b"22")
    mock_clock.jump(EXPIRED_S)

    await names.refresh(node, force=True)

    assert node.attributes.size == 1


async def test_head_from_before_a_commit_does_not_undo_it(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", b"1")
    node = await names.lookup(root, "a")
    answer = world.transport.hold_next("HEAD")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: names.refresh(node, force=True))
        await trio.testing.wait_all_tasks_blocked()
        await world.put("a", b"22")
        names.committed(node, await world.head("a"))
        answer.set()

    assert node.attributes.size == 2


async def test_lookup_from_before_a_commit_finds_what_was_committed(
    world: World, names: Namespace, root: Node
) -> None:
    await world.put("a", b"1", metadata={"mode": "33188"})
    seen = world.codec.from_object(await world.head("a"))
    answer = world.transport.hold_next("HEAD")
    found: list[Node] = []

    async def look() -> None:
        found.append(await names.lookup(root, "a"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await trio.testing.wait_all_tasks_blocked()
        node = names.create(root, "a", seen)
        await world.put("a", b"22")
        names.committed(node, await world.head("a"))
        answer.set()

    assert found == [node]
    assert node.attributes.size == 2


async def test_root_of_a_prefix_shows_its_marker(world: World) -> None:
    await world.put("a/", metadata={"mode": "16832", "uid": "5"})
    names = world.mount("a/")

    await names.load_root()

    assert names.inodes.root.attributes.mode == stat.S_IFDIR | 0o700
    assert world.requests() == ["HeadObject a/"]


@pytest.mark.parametrize("status", [404, 403])
async def test_root_without_a_readable_marker_is_implicit(world: World, status: int) -> None:
    world.fail(Fault(operation="HeadObject", status=status, code="AccessDenied"))
    names = world.mount("a/")

    await names.load_root()

    assert names.inodes.root.attributes.mode == stat.S_IFDIR | 0o755


async def test_mount_of_a_prefix_asks_for_nothing_outside_it(world: World) -> None:
    await world.put("a/b/c", b"abc")
    await world.put("outside")
    names = world.mount("a/")
    root = names.inodes.root

    directory = await names.lookup(root, "b")
    node = await names.lookup(directory, "c")
    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "outside")

    assert names.key_of(node) == "a/b/c"
    assert all(request.split()[1].startswith("a/") for request in world.requests())
