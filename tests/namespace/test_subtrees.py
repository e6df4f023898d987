"""Trees that are listed with one request: what that shows, when it is done, and what undoes it."""

from collections.abc import AsyncIterator

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from cosfs.config import AttributeConfig
from cosfs.cos.model import ETag, Key, ListedObject, ListingPage
from cosfs.emulator.faults import Fault
from cosfs.errors import NoSuchEntry
from cosfs.namespace.entries import ListedEntry, collect_entries
from cosfs.namespace.inodes import Node
from cosfs.namespace.listings import ListingCache
from cosfs.namespace.ranges import AskedPage
from cosfs.namespace.subtrees import Subtrees, split_by_directory
from cosfs.namespace.tree import Namespace
from tests.namespace.conftest import EXPIRED_S, World
from tests.namespace.test_tree import create
from tests.support.jumping import run_jumping

TREE = ["d/f", "d/e/f", "d/e/e/f", "d/g/", "f"]
PARTS = st.sampled_from(["a", "b", "a.b", "a-b", "", ".", "é"])
KEYS = st.sets(st.lists(PARTS, min_size=1, max_size=5).map("/".join), max_size=40)

pytestmark = pytest.mark.trio(run=run_jumping)


def delimited(keys: list[str], prefix: str) -> ListingPage:
    """What COS answers when it is asked for *prefix* with the delimiter "/"."""
    below = [key for key in keys if key.startswith(prefix)]
    names = {key: key[len(prefix) :].partition("/") for key in below}
    prefixes = dict.fromkeys(f"{prefix}{name}/" for name, slash, _ in names.values() if slash)
    objects = [listed(key) for key, (_, slash, _) in names.items() if not slash]
    return ListingPage(objects=objects, prefixes=list(prefixes), next_marker=None)


def listed(key: str) -> ListedObject:
    return ListedObject(
        key=Key(key), size=len(key), etag=ETag("e"), modified_ns=0, storage_class="STANDARD"
    )


@given(keys=KEYS, prefix=st.sampled_from(["", "a/", "a/b/"]))
async def test_a_tree_shows_of_each_directory_what_its_own_listing_does(
    keys: set[str], prefix: str
) -> None:
    ordered = sorted(key for key in keys if key)
    below = [listed(key) for key in ordered if key.startswith(prefix)]

    pages = split_by_directory(prefix, ListingPage(objects=below, prefixes=[], next_marker=None))

    directories = {prefix} | {
        key[: place + 1]
        for key in ordered
        if key.startswith(prefix)
        for place in range(len(prefix), len(key))
        if key[place] == "/"
    }
    assert pages == {each: delimited(ordered, each) for each in directories}


async def walk(names: Namespace, directory: Node) -> list[str]:
    """Read all directories below, as find does; the paths."""
    found = []
    for entry in await names.entries(directory):
        found.append(entry.name)
        if entry.attributes.is_directory:
            node = await names.lookup(directory, entry.name)
            names.inodes.remember(node)
            found += [f"{entry.name}/{below}" for below in await walk(names, node)]
    return found


@pytest.fixture
async def walked(world: World, names: Namespace, root: Node, mock_clock: MockClock) -> list[str]:
    """A tree that was walked, and is to be asked for again; its paths."""
    await world.fill(TREE)
    found = await walk(names, root)
    mock_clock.jump(EXPIRED_S)
    world.forget_requests()
    return found


async def test_a_tree_is_the_same_when_it_is_listed_whole(
    world: World, names: Namespace, root: Node, walked: list[str], mock_clock: MockClock
) -> None:
    for _ in range(3):
        assert sorted(await walk(names, root)) == sorted(walked)
        assert world.requests() == ["GetBucket"]
        mock_clock.jump(EXPIRED_S)


async def test_directories_that_nobody_uses_any_more_are_left_out(
    world: World, names: Namespace, root: Node, walked: list[str], mock_clock: MockClock
) -> None:
    queries = []
    for _ in range(5):
        await names.lookup(root, "f")
        queries += [record.query for record in world.transport.api.requests.records("GetBucket")]
        world.forget_requests()
        mock_clock.jump(EXPIRED_S)

    assert walked != []
    assert ["delimiter" in query for query in queries] == [False, False, False, True, True]


async def test_a_tree_that_has_grown_past_a_page_is_listed_by_directory(
    world: World, names: Namespace, root: Node, walked: list[str], mock_clock: MockClock
) -> None:
    await world.fill(f"d/e/{number:04}" for number in range(1000))
    asked = []
    for _ in range(2):
        found = await walk(names, root)
        asked.append(world.requests().count("GetBucket"))
        assert len(found) == len(walked) + 1000
        mock_clock.jump(EXPIRED_S)

    assert asked == [2, 1]  # all of it in vain, and the root


async def test_a_tree_with_more_below_than_a_page_is_not_tried_again(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.fill([*TREE, *(f"never/asked/for/{number:04}" for number in range(1000))])
    asked = []
    for _ in range(4):
        world.forget_requests()
        await walk(names, await names.lookup(root, "d"))
        asked.append([request for request in world.requests() if request.startswith("GetBucket")])
        mock_clock.jump(EXPIRED_S)

    assert len(asked[0]) == 5  # by directory
    assert asked[1:] == [
        ["GetBucket", "GetBucket", "GetBucket d/"],
        *2 * [["GetBucket", "GetBucket d/"]],
    ]


async def test_changes_made_while_a_tree_is_listed_are_in_it(
    world: World, names: Namespace, root: Node, walked: list[str]
) -> None:
    directory = root.children["d"].children["e"]
    answer = world.transport.hold_next("GET")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(names.lookup, root, "f")
        await wait_all_tasks_blocked()
        create(names, directory, "new")
        await names.remove_file(await names.lookup(directory, "f"))
        answer.set()

    assert "f" in [name.split("/")[-1] for name in walked]
    assert [entry.name for entry in await names.entries(directory)] == ["e", "new"]
    with pytest.raises(NoSuchEntry):
        await names.lookup(directory, "f")


@pytest.mark.parametrize("is_read", [False, True])
async def test_what_is_refreshed_while_a_tree_is_listed_is_newer(
    world: World,
    names: Namespace,
    root: Node,
    walked: list[str],
    mock_clock: MockClock,
    *,
    is_read: bool,
) -> None:
    """Whether or not it was asked for again since."""
    directory = root.children["d"]
    answer = world.transport.hold_next("GET")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(names.lookup, root, "f")
        await wait_all_tasks_blocked()
        await world.put("d/new")
        mock_clock.jump(0.1)
        names.forget(directory)
        if is_read:
            await names.entries(directory)
        answer.set()

    assert "d/new" not in walked
    assert await names.lookup(directory, "new")
    assert "new" in [entry.name for entry in await names.entries(directory)]


@pytest.fixture
async def ahead(names: Namespace) -> AsyncIterator[Namespace]:
    """The mount, asking for what will be wanted in tasks that end with the test."""
    async with trio.open_nursery() as nursery:
        names.ask_ahead(nursery)
        yield names
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("files", [1, 10, 200])
async def test_many_directories_of_a_walk_are_told_by_one_request(
    world: World, ahead: Namespace, root: Node, files: int
) -> None:
    keys = [f"{number:04}/{file:03}" for number in range(1200 // files) for file in range(files)]
    await world.fill(keys)

    found = await walk(ahead, root)

    asked = [request for request in world.requests() if request.startswith("GetBucket")]
    assert [name for name in found if "/" in name] == keys
    assert len(asked) <= 1200 // 1000 + 6


async def test_directories_of_many_files_are_asked_for_one_by_one(
    world: World, ahead: Namespace, root: Node
) -> None:
    keys = [f"{number}/{file:03}" for number in range(8) for file in range(400)]
    await world.fill(keys)

    found = await walk(ahead, root)

    asked = [request for request in world.requests() if request.startswith("GetBucket")]
    assert [name for name in found if "/" in name] == keys
    assert len(asked) <= 1 + 8 + 1  # once in vain


async def test_who_comes_to_a_directory_that_is_asked_for_waits(
    world: World, ahead: Namespace, root: Node
) -> None:
    await world.fill(f"{number:02}/f" for number in range(20))
    for name in ("00", "01"):
        await names_of(ahead, root, name)
    answer = world.transport.hold_next("GET")
    await ahead.lookup(root, "02")
    await wait_all_tasks_blocked()
    world.forget_requests()
    found: list[list[str]] = []

    async def read(name: str) -> None:
        found.append(await names_of(ahead, root, name))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, "03")
        nursery.start_soon(read, "09")
        await wait_all_tasks_blocked()
        assert found == []
        answer.set()

    assert found == [["f"], ["f"]]
    assert [request for request in world.requests() if request.startswith("GetBucket")] == []


async def names_of(names: Namespace, root: Node, name: str) -> list[str]:
    node = await names.lookup(root, name)
    names.inodes.remember(node)
    return [entry.name for entry in await names.entries(node)]


async def test_a_walk_that_cannot_be_asked_for_ahead_goes_on(
    world: World, ahead: Namespace, root: Node
) -> None:
    await world.fill(f"{number:02}/f" for number in range(20))
    for name in ("00", "01"):
        await names_of(ahead, root, name)
    world.fail(Fault(operation="GetBucket", status=403, times=1))

    found = [await names_of(ahead, root, f"{number:02}") for number in range(2, 20)]

    assert found == [["f"]] * 18


@given(keys=KEYS, start=st.sampled_from(["a", "b", "a.b", "a-b"]), size=st.integers(1, 40))
async def test_what_a_page_tells_of_is_whole(keys: set[str], start: str, size: int) -> None:
    ordered = sorted(key for key in keys if key)
    listings = ListingCache(AttributeConfig())

    async def ask(prefix: str, marker: str) -> AskedPage:
        objects = [listed(key) for key in ordered if key.startswith(prefix) and key > marker]
        upto = objects[size - 1].key if len(objects) > size else None
        page = ListingPage(objects=objects[:size], prefixes=[], next_marker=upto)
        return AskedPage(page=page, began=listings.changes.moment())

    subtrees = Subtrees(listings, ask)
    await subtrees.walk("", start)

    for key in ordered:
        for place in (place for place, letter in enumerate(key) if letter == "/"):
            directory = key[: place + 1]
            known = listings.last_known(directory)
            if known is not None:
                entries: dict[str, ListedEntry] = {}
                collect_entries(entries, directory, delimited(ordered, directory))
                assert known.entries == entries
