"""What requests share, and what a past HEAD may answer for."""

import trio
import trio.testing

from cosfs.cos.model import Key
from cosfs.namespace.listings import ListedEntry, ListingCache
from cosfs.namespace.lookups import Finder
from tests.namespace.conftest import World


async def test_head_from_before_an_own_change_does_not_answer_for_after_it(world: World) -> None:
    cache = ListingCache(5)
    finder = Finder(world.client, world.codec, cache)
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
    finder = Finder(world.client, world.codec, ListingCache(5))
    await world.put("a")

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(finder.find_file, Key("a"))

    assert world.requests() == ["HeadObject a"]


async def test_remembered_head_answers_only_for_the_version_that_is_listed(world: World) -> None:
    finder = Finder(world.client, world.codec, ListingCache(5))
    await world.put("a", b"1")
    (first,) = (await world.client.list_objects()).objects
    await finder.find_file(Key("a"))
    await world.put("a", b"2")
    (second,) = (await world.client.list_objects()).objects

    assert finder.recall("", ListedEntry(name="a", object=first)) is not None
    assert finder.recall("", ListedEntry(name="a", object=second)) is None
