"""Directories that are read page after page: what is shown when, and what it costs."""

import stat
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from urllib.parse import parse_qs

import httpx
import pytest
import trio
import trio.testing
from trio.testing import MockClock

from cosfs.config import AttributeConfig
from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied, NoSuchEntry, ProtocolError
from cosfs.namespace.attributes import AttributeChange, AttributeCodec
from cosfs.namespace.directories import DirectoryReader
from cosfs.namespace.inodes import Node
from cosfs.namespace.known import KnownObjects
from cosfs.namespace.listings import ListingCache
from cosfs.namespace.lookups import Finder
from cosfs.namespace.tree import Namespace
from tests.cos.scripted import client_of
from tests.namespace.conftest import EXPIRED_S, World


def numbered(count: int, prefix: str = "") -> list[str]:
    return [f"{prefix}{number:05}" for number in range(count)]


async def rest(reader: DirectoryReader, position: int = 0) -> list[str]:
    """The names from *position* to the end."""
    names: list[str] = []
    while batch := await reader.entries_from(position + len(names)):
        names += [entry.name for entry in batch]
    return names


@pytest.fixture
async def background() -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


async def test_first_names_cost_one_page(world: World, names: Namespace, root: Node) -> None:
    await world.fill(numbered(2500))

    first = await names.read(root).entries_from(0)

    assert [entry.name for entry in first] == numbered(999)  # the last may be a directory too
    assert world.requests() == ["GetBucket"]


async def test_next_page_is_fetched_while_one_is_read(
    world: World, names: Namespace, root: Node, background: trio.Nursery
) -> None:
    await world.fill(numbered(2500))
    names.ask_ahead(background)
    reader = names.read(root)

    await reader.entries_from(0)
    await trio.testing.wait_all_tasks_blocked()

    assert world.requests() == ["GetBucket"] * 2
    assert await rest(reader) == numbered(2500)
    assert world.requests() == ["GetBucket"]


async def test_reading_that_begins_as_a_listing_comes_costs_nothing(
    world: World,
    names: Namespace,
    root: Node,
    background: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """However close: the mountpoint's own attributes are asked for just before each ``ls``."""
    await world.put("a")
    world.fail(Fault(operation="GetBucket", delay=0.03))
    names.ask_ahead(background)
    for steps in [*range(6)] * 10:  # whose turn comes first is a matter of chance
        autojump_clock.jump(EXPIRED_S)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(names.lookup, root, "a")
            await trio.sleep(0.03)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()

            assert await rest(names.read(root)) == ["a"]

        assert world.requests().count("GetBucket") == 1, steps


async def test_page_on_its_way_is_given_up_with_the_reading(
    world: World, names: Namespace, root: Node, background: trio.Nursery
) -> None:
    await world.fill(numbered(2500))
    names.ask_ahead(background)
    reader = names.read(root)
    await reader.entries_from(0)
    answer = world.transport.hold_next("GET")
    await trio.testing.wait_all_tasks_blocked()

    reader.close()
    await trio.testing.wait_all_tasks_blocked()

    assert background.child_tasks == frozenset()
    assert not answer.is_set()


async def test_error_of_a_page_that_was_fetched_ahead_is_the_readers(
    world: World, names: Namespace, root: Node, background: trio.Nursery
) -> None:
    await world.fill(numbered(1500))
    names.ask_ahead(background)
    reader = names.read(root)
    world.fail(Fault(operation="GetBucket", nth=2, status=403, code="AccessDenied"))

    assert await reader.entries_from(0)
    with pytest.raises(AccessDenied):
        await reader.entries_from(999)


async def test_directory_that_was_read_before_is_read_with_several_pages_in_flight(
    world: World,
    names: Namespace,
    root: Node,
    background: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    await world.fill(numbered(9500))
    world.fail(Fault(operation="GetBucket", delay=0.03))
    names.ask_ahead(background)
    took_s = []
    for most in (1, 4):
        autojump_clock.jump(EXPIRED_S)
        world.transport.most_at_once = 0
        began = trio.current_time()

        assert await rest(names.read(root)) == numbered(9500)

        took_s.append(trio.current_time() - began)
        assert world.transport.most_at_once == most
        assert world.requests() == ["GetBucket"] * 10
    assert took_s[1] < took_s[0] / 2


async def test_directory_that_changed_since_it_was_read_costs_a_page_for_each_range_that_grew(
    world: World,
    names: Namespace,
    root: Node,
    background: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    await world.fill(numbered(9500))
    names.ask_ahead(background)
    await rest(names.read(root))
    for name in ("02000-new", "07000-new"):
        await world.put(name)
    await world.delete("05000")
    now = sorted([*numbered(9500), "02000-new", "07000-new"])
    now.remove("05000")
    asked = []
    for _ in range(2):
        autojump_clock.jump(EXPIRED_S)
        world.forget_requests()
        assert await rest(names.read(root)) == now
        asked.append(len(world.requests()))

    assert asked == [12, 10]


async def test_own_changes_are_shown_by_pages_that_were_asked_for_before(
    world: World,
    names: Namespace,
    root: Node,
    background: trio.Nursery,
    autojump_clock: MockClock,
) -> None:
    """However long the reader takes, and although listings are believed to lag for 10 s only."""
    await world.fill(numbered(9500))
    world.fail(Fault(operation="GetBucket", delay=0.03))
    names.ask_ahead(background)
    await rest(names.read(root))
    autojump_clock.jump(EXPIRED_S)
    reader = names.read(root)
    shown: list[str] = []
    for _ in range(3):
        shown += [entry.name for entry in await reader.entries_from(len(shown))]
    await trio.sleep(1)

    for name in ("03500", "04500"):
        await names.remove_file(await names.lookup(root, name))
    shown += [entry.name for entry in await reader.entries_from(len(shown))]
    await trio.sleep(20)
    await names.make_directory(root, "elsewhere", mode=0o755, uid=0, gid=0)
    shown += await rest(reader, len(shown))

    assert {*shown} == {*numbered(9500)} - {"03500", "04500"} | {"elsewhere"}


async def test_directory_that_is_moved_while_it_is_read_is_read_on(
    world: World, names: Namespace, root: Node, background: trio.Nursery, mock_clock: MockClock
) -> None:
    await world.fill(numbered(1500, "directory/"))
    names.ask_ahead(background)
    directory = await names.lookup(root, "directory")
    reader = names.read(directory)
    shown = [entry.name for entry in await reader.entries_from(0)]
    await trio.testing.wait_all_tasks_blocked()

    await names.rename(directory, root, "d")
    mock_clock.jump(20)
    await trio.testing.wait_all_tasks_blocked()
    await names.make_directory(root, "elsewhere", mode=0o755, uid=0, gid=0)  # the move is history

    assert shown + await rest(reader, len(shown)) == numbered(1500)


@pytest.mark.parametrize("call", ["rename", "rmdir"])
async def test_listing_that_has_no_end_is_given_up(call: str) -> None:
    """A server that always has one page more, of which nothing can be seen."""

    async def answer(request: httpx.Request) -> httpx.Response:
        asked = parse_qs(request.extensions["target"].decode().partition("?")[2])
        marker = f"d/{int(asked.get('marker', ['d/0'])[0][2:]) + 1:09}"
        body = f"<ListBucketResult><IsTruncated>true</IsTruncated><NextMarker>{marker}"
        return httpx.Response(
            200,
            headers={"x-cos-request-id": "endless"},
            text=f"{body}</NextMarker></ListBucketResult>",
        )

    async with client_of(httpx.MockTransport(answer)) as client:
        codec = AttributeCodec(AttributeConfig(), default_uid=0, default_gid=0)
        finder = Finder(client, codec, ListingCache(AttributeConfig()), KnownObjects())
        with pytest.raises(ProtocolError, match="no end"):
            await (finder.keys_below("d/") if call == "rename" else finder.is_empty("d/"))


async def test_directory_beside_a_file_is_one_name_over_a_page_break(
    world: World, names: Namespace, root: Node
) -> None:
    """ "x", its neighbours "x-…" and "x/" are far apart in a listing."""
    await world.fill(["x", *(f"x-{number:04}" for number in range(1500)), "x/a"])
    reader = names.read(root)

    shown = await rest(reader)

    assert len(shown) == len(set(shown)) == 1501
    kinds = {entry.name: entry.attributes.is_directory for entry in await names.entries(root)}
    assert kinds["x"]


async def test_names_made_and_removed_here_while_reading_disturb_no_other(
    world: World, names: Namespace, root: Node
) -> None:
    await world.fill(numbered(2500))
    reader = names.read(root)
    shown = [entry.name for entry in await reader.entries_from(0)]

    for name in ("00000", "00500", "01700"):
        await names.remove_file(await names.lookup(root, name))
    await names.make_directory(root, "00001-new", mode=0o755, uid=0, gid=0)
    await world.put("00002-elsewhere")
    shown += await rest(reader, len(shown))

    assert len(shown) == len(set(shown))
    assert set(numbered(2500)) - {"01700"} <= set(shown)
    assert "01700" not in shown


async def test_positions_stand_for_the_same_names_until_the_end(
    world: World, names: Namespace, root: Node
) -> None:
    await world.fill(numbered(4500))
    reader = names.read(root)
    everything = await rest(reader)
    for name in ("00001", "04400"):
        await names.remove_file(await names.lookup(root, name))
    world.forget_requests()

    for position in (0, 1, 998, 999, 2500, 4498):
        assert (await reader.entries_from(position))[0].name == everything[position]
    assert await rest(reader) == everything
    assert world.requests() == []


async def test_what_was_read_long_ago_is_told_without_a_type(
    world: World, names: Namespace, root: Node
) -> None:
    await world.fill([f"{number:05}/a" for number in range(4000)])
    reader = names.read(root)
    await rest(reader)

    first = (await reader.entries_from(0))[0]

    assert (first.name, first.exact) == ("00000", False)


async def test_own_names_that_no_page_shows_are_shown(
    world: World, names: Namespace, root: Node
) -> None:
    await world.fill(numbered(1200))
    world.transport.lagging = True
    await names.make_directory(root, "00100-made", mode=0o755, uid=0, gid=0)

    shown = await rest(names.read(root))

    assert sorted(shown) == sorted([*numbered(1200), "00100-made"])


async def test_directory_that_was_read_answers_for_its_missing_names(
    world: World, names: Namespace, root: Node
) -> None:
    await world.fill(numbered(2500))
    await rest(names.read(root))
    world.forget_requests()

    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "none")

    assert world.requests() == []


async def test_page_that_was_read_answers_for_its_names(
    world: World, names: Namespace, root: Node
) -> None:
    await world.fill(numbered(2500))
    await names.read(root).entries_from(0)
    world.forget_requests()

    await names.lookup(root, "00500")
    with pytest.raises(NoSuchEntry):
        await names.lookup(root, "00500-none")

    assert world.requests() == ["HeadObject 00500"]


async def test_names_made_in_order_in_a_large_directory_share_a_page(
    world: World, names: Namespace, root: Node
) -> None:
    await world.fill(numbered(1500))
    await names.lookup(root, "01000")  # now the directory is known to be large
    world.forget_requests()

    await missing(names, root, [f"01100-{number:03}" for number in range(50)])

    asked = world.requests()
    assert sorted(asked) == ["GetBucket", "GetBucket 01100-000/", "HeadObject 01100-000"]


async def test_names_asked_for_in_order_cost_their_pages(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    """Also where a page ends between two names that look as if they had nothing in common."""
    await world.fill(numbered(10_500))
    await names.lookup(root, "00000")
    mock_clock.jump(EXPIRED_S)
    world.forget_requests()

    for name in numbered(10_200)[9_000:]:
        await names.lookup(root, name)

    asked = Counter(world.requests())
    assert asked["GetBucket 09000/"] == 1  # nothing shows yet that others will follow
    assert asked["GetBucket"] == 2
    assert asked.total() == 1 + 2 + 1_200  # and a HEAD for each


async def test_one_name_in_a_large_directory_is_asked_for_alone(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.fill(numbered(1500))
    await names.lookup(root, "01000")
    mock_clock.jump(EXPIRED_S)
    world.forget_requests()

    await missing(names, root, ["elsewhere"])

    assert sorted(world.requests()) == ["GetBucket elsewhere/", "HeadObject elsewhere"]


async def missing(names: Namespace, root: Node, wanted: Sequence[str]) -> None:
    for name in wanted:
        with pytest.raises(NoSuchEntry):
            await names.lookup(root, name)


async def test_names_in_order_have_their_attributes_asked_for_ahead(
    world: World, names: Namespace, root: Node, background: trio.Nursery
) -> None:
    await world.fill(numbered(100))
    names.ask_ahead(background)
    await names.entries(root)
    for name in ("00000", "00001"):
        await names.lookup(root, name)
    await trio.testing.wait_all_tasks_blocked()
    ahead = world.requests()

    for name in ("00002", "00003", "00004", "00005"):
        await names.lookup(root, name)

    assert sorted(ahead) == ["GetBucket", *(f"HeadObject {name}" for name in numbered(6))]
    assert not {f"HeadObject {name}" for name in numbered(6)} & set(world.requests())


async def test_what_is_asked_for_ahead_ends_with_the_asking(
    world: World, names: Namespace, root: Node, background: trio.Nursery
) -> None:
    await world.fill(numbered(500))
    names.ask_ahead(background)
    for name in numbered(20):
        await names.lookup(root, name)
    await trio.testing.wait_all_tasks_blocked()

    assert len(world.requests()) <= 1 + 20 + 64


async def test_names_here_and_there_are_asked_for_alone(
    world: World, names: Namespace, root: Node, background: trio.Nursery
) -> None:
    await world.fill(numbered(100))
    names.ask_ahead(background)
    for name in ("00050", "00010", "00090", "00030"):
        await names.lookup(root, name)
    await trio.testing.wait_all_tasks_blocked()

    assert len(world.requests()) == 1 + 4


async def test_names_that_are_missing_do_not_end_the_asking_ahead(
    world: World, names: Namespace, root: Node, background: trio.Nursery
) -> None:
    """As when a program makes files in a directory that another one looks through."""
    await world.fill(numbered(100))
    names.ask_ahead(background)
    for name in numbered(4):
        await names.lookup(root, name)
        await missing(names, root, [f"{name}-new"])
    await trio.testing.wait_all_tasks_blocked()

    assert "HeadObject 00011" in world.requests()


async def test_known_attributes_are_not_asked_for_ahead(
    world: World, names: Namespace, root: Node, background: trio.Nursery, mock_clock: MockClock
) -> None:
    await world.fill(numbered(30))
    names.ask_ahead(background)
    for name in numbered(30):
        await names.lookup(root, name)
    mock_clock.jump(EXPIRED_S)
    world.forget_requests()

    for name in numbered(30):
        await names.lookup(root, name)
    await trio.testing.wait_all_tasks_blocked()

    assert world.requests() == ["GetBucket"]


async def test_walk_through_a_tree_asks_for_the_listings_ahead(
    world: World, names: Namespace, root: Node, background: trio.Nursery
) -> None:
    """All of them with one request, once it is clear that each is listed."""
    await world.fill([f"{number:02}/a" for number in range(20)])
    names.ask_ahead(background)
    asked: Counter[str] = Counter()
    for entry in await names.entries(root):
        directory = await names.lookup(root, entry.name)
        await names.entries(directory)
        await trio.testing.wait_all_tasks_blocked()
        asked.update(world.requests())

    assert asked["GetBucket"] == 2  # the root by itself, and then with all that is below
    assert asked.keys() == {"GetBucket"} | {
        f"{operation} {name}/"
        for name in ("00", "01")
        for operation in ("GetBucket", "HeadObject")
    }


async def test_tree_that_was_walked_costs_one_listing_again(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.fill([f"{number:02}/a" for number in range(5)])

    async def walk() -> list[str]:
        for entry in await names.entries(root):
            await names.entries(await names.lookup(root, entry.name))
        return world.requests()

    await walk()
    mock_clock.jump(EXPIRED_S)

    assert await walk() == ["GetBucket"]


async def test_a_listing_that_lags_does_not_undo_the_attributes_of_a_directory(
    world: World, mock_clock: MockClock
) -> None:
    """What tar does: make a directory, fill it, choose its time."""
    names = world.mount(ttl_s=5)
    root = names.inodes.root
    directory = await names.make_directory(root, "d", mode=0o700, uid=5, gid=6)
    names.inodes.remember(directory)
    world.age("d/")
    await names.refresh(directory, force=True)
    mock_clock.jump(6)
    await names.entries(directory)
    world.transport.lagging = True
    await names.set_attributes(directory, AttributeChange(mode=0o751, mtime_ns=10**18))
    mock_clock.jump(6)  # past what is trusted, within the lag

    await names.entries(directory)
    again = await names.lookup(root, "d")

    assert (stat.S_IMODE(again.attributes.mode), again.attributes.mtime_ns) == (0o751, 10**18)


async def test_the_marker_of_a_directory_is_known_from_its_listing(
    world: World, names: Namespace, root: Node, mock_clock: MockClock
) -> None:
    await world.put("d/", metadata={"mode": "16832"})
    world.age("d/")
    await names.entries(await names.lookup(root, "d"))
    mock_clock.jump(EXPIRED_S)
    world.forget_requests()

    again = await names.lookup(root, "d")

    assert stat.S_IMODE(again.attributes.mode) == 0o700
    assert world.requests() == ["GetBucket"]
