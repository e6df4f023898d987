"""What requests share, and what a past HEAD may answer for."""

import stat

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from cosfs.config import ABSENCE_SHARE, AttributeConfig
from cosfs.cos.model import Key
from cosfs.errors import NoSuchEntry
from cosfs.namespace.attributes import new_attributes
from cosfs.namespace.entries import ListedEntry
from cosfs.namespace.inodes import Node
from cosfs.namespace.known import KnownObjects
from cosfs.namespace.listings import ListingCache
from cosfs.namespace.lookups import Finder
from cosfs.namespace.tree import Namespace
from tests.namespace.conftest import TTL_S, World


def make_finder(world: World) -> Finder:
    return Finder(world.client, world.codec, ListingCache(AttributeConfig()), KnownObjects())


async def test_head_from_before_an_own_change_does_not_answer_for_after_it(world: World) -> None:
    cache = ListingCache(AttributeConfig())
    finder = Finder(world.client, world.codec, cache, KnownObjects())
    await world.put("d/", metadata={"mode": "448"})
    answer = world.transport.hold_next("HEAD")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(finder.find_file, Key("d/"))
        await trio.testing.wait_all_tasks_blocked()
        await world.put("d/", metadata={"mode": "511"})
        cache.added("", ListedEntry(name="d"))
        found = await finder.find_file(Key("d/"))
        answer.set()

    assert found is not None
    assert found.attributes.mode == 0o040777


async def test_heads_of_one_key_at_the_same_time_are_one(world: World) -> None:
    finder = make_finder(world)
    await world.put("a")

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(finder.find_file, Key("a"))

    assert world.requests() == ["HeadObject a"]


async def test_remembered_head_answers_only_for_the_version_that_is_listed(world: World) -> None:
    finder = make_finder(world)
    finder.known.expire_racy_after(60)
    await world.put("a", b"1")
    (first,) = (await world.client.list_objects()).objects
    await finder.find_file(Key("a"))
    await world.put("a", b"2")
    (second,) = (await world.client.list_objects()).objects

    assert finder.recall_entry("", ListedEntry(name="a", object=first)) is not None
    assert finder.recall_entry("", ListedEntry(name="a", object=second)) is None


async def test_file_that_is_committed_while_its_directory_is_listed_is_in_the_listing(
    world: World, names: Namespace, root: Node
) -> None:
    """In about half of the rounds the commit comes while the listed names are gone through."""
    await world.put("old")
    for number in range(20):
        name = f"new{number}"
        node = names.create(root, name, new_attributes(stat.S_IFREG | 0o644, 0, 0))
        names.inodes.pin(node)
        await world.put(name)
        stored = await world.head(name)
        began = trio.Event()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_listed, names, name, began)
            await began.wait()
            names.committed(node, stored)


async def _expect_listed(names: Namespace, name: str, began: trio.Event) -> None:
    began.set()
    assert name in [entry.name for entry in await names.entries(names.inodes.root)]


async def test_name_made_elsewhere_is_seen_after_a_fifth_of_the_time_to_live(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.put("old")
    await names.lookup(root, "old")
    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "new")
    await world.put("new")
    mock_clock.jump(TTL_S * ABSENCE_SHARE)

    assert (await names.lookup(root, "new")).attributes.size == 0
    assert world.requests() == ["GetBucket", "HeadObject new"]


async def test_directory_is_listed_again_after_a_fifth_of_the_time_to_live(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    assert await names.entries(root) == []
    await world.put("new")
    mock_clock.jump(TTL_S * ABSENCE_SHARE)

    assert [entry.name for entry in await names.entries(root)] == ["new"]


async def test_name_that_is_known_costs_nothing_for_the_whole_time_to_live(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.put("old")
    await names.lookup(root, "old")
    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "new")
    world.forget_requests()
    mock_clock.jump(TTL_S * 0.9)

    await names.lookup(root, "old")

    assert world.requests() == []


async def test_name_that_was_removed_here_is_not_asked_for_again(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    """A journal is made and removed with every transaction."""
    await world.put("journal")
    node = await names.lookup(root, "journal")
    mock_clock.jump(TTL_S * ABSENCE_SHARE)
    await names.remove_file(node)
    world.forget_requests()
    mock_clock.jump(1)

    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "journal")

    assert world.requests() == []
