"""Removals that are collected: when, what is seen of them meanwhile, and who hears of failures."""

import stat
from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cosfs.config import AttributeConfig
from cosfs.cos.model import MAX_DELETE_KEYS, Key
from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied, CosError, DeadlineExceeded, NoSuchEntry
from cosfs.namespace.attributes import PATH_MAX, AttributeChange
from cosfs.namespace.changes import LISTING_LAG_S
from cosfs.namespace.inodes import Node
from cosfs.namespace.listings import ListingCache
from cosfs.namespace.removals import (
    BATCH_DELAY_S,
    MOST_COLLECTED,
    PLAIN_FIRST,
    SOON_S,
    Failures,
    Removals,
)
from cosfs.namespace.tree import Namespace
from tests.namespace.conftest import World
from tests.namespace.test_tree import create
from tests.support.jumping import run_jumping

FILES = [f"d/f{number:02}" for number in range(PLAIN_FIRST + 4)]
FIRST, LATER = FILES[:PLAIN_FIRST], FILES[PLAIN_FIRST:]
LONGER = b"x" * (PATH_MAX + 1)  # than any target of a symlink
BATCH = "DeleteMultipleObjects"

pytestmark = pytest.mark.trio(run=run_jumping)


def slow(*faults: Fault) -> list[Fault]:
    """Batches that take longer than listings may lag, and then what *faults* say."""
    return [Fault(operation=BATCH, delay=2 * LISTING_LAG_S), *faults]


def refused(*keys: str) -> list[Fault]:
    """COS deletes anything but these keys, and that not in a batch."""
    alone = [Fault(operation="DeleteObject", key=key, status=403) for key in keys]
    return [Fault(operation=BATCH, status=403), *alone]


@pytest.fixture
async def failures(names: Namespace) -> AsyncIterator[list[Failures]]:
    """The failures that were told at once; removals are collected as long as this is in use."""
    told: list[Failures] = []
    async with trio.open_nursery() as nursery:
        names.removals.collect(nursery, told.append)
        yield told
        nursery.cancel_scope.cancel()


@pytest.fixture
async def directory(world: World, names: Namespace, root: Node, failures: list[Failures]) -> Node:
    """A directory that was listed, with FILES in it."""
    await world.put("d/")
    await world.fill(FILES)
    found = await names.lookup(root, "d")
    names.inodes.remember(found)
    await names.entries(found)
    world.forget_requests()
    assert failures == []
    return found


async def remove(names: Namespace, directory: Node, *keys: str) -> None:
    for key in keys:
        await names.remove_file(await names.lookup(directory, key.removeprefix("d/")))


async def remove_all(world: World, names: Namespace, directory: Node) -> None:
    """Remove FILES; only what is collected is in the log of requests from then on."""
    await remove(names, directory, *FIRST)
    world.forget_requests()
    await remove(names, directory, *LATER)


def changes(world: World) -> list[str]:
    return [text for text in world.requests() if text.startswith("Delete")]


async def test_first_removals_are_waited_for_and_the_others_go_with_one_request(
    world: World, names: Namespace, directory: Node
) -> None:
    await remove(names, directory, *FIRST)
    alone = changes(world)
    began = trio.current_time()
    await remove(names, directory, *LATER)
    before = await world.keys_below("d/f")
    await names.removals.settled("d/")

    assert alone == [f"DeleteObject {key}" for key in FIRST]
    assert before == LATER
    assert trio.current_time() == began
    assert changes(world) == [BATCH]
    assert await world.keys() == ["d/"]


async def test_a_batch_goes_although_nobody_waits_for_it(
    world: World, names: Namespace, directory: Node
) -> None:
    await remove_all(world, names, directory)

    await trio.sleep(BATCH_DELAY_S)
    await wait_all_tasks_blocked()

    assert await world.keys() == ["d/"]
    assert names.removals.count == 0


async def test_without_a_nursery_every_removal_is_waited_for(world: World) -> None:
    names = world.mount()
    await world.fill(FILES)
    directory = await names.lookup(names.inodes.root, "d")
    names.inodes.remember(directory)
    await remove(names, directory, *FILES)

    assert await world.keys() == ["d/"]


@pytest.mark.parametrize("pause_s", [0.0, SOON_S + 0.1])
async def test_a_pause_or_a_new_name_ends_the_collecting(
    world: World, names: Namespace, directory: Node, pause_s: float
) -> None:
    await remove(names, directory, *FIRST)
    if pause_s:
        await trio.sleep(pause_s)
    else:
        create(names, directory, "new")
    world.forget_requests()

    await remove(names, directory, *LATER)

    assert changes(world) == [f"DeleteObject {key}" for key in LATER]


async def test_a_file_that_is_open_is_removed_at_once(
    world: World, names: Namespace, directory: Node
) -> None:
    await remove(names, directory, *FIRST)
    names.inodes.pin(await names.lookup(directory, "f20"))
    world.forget_requests()

    await remove(names, directory, "f20")

    assert changes(world) == ["DeleteObject d/f20"]


async def test_nothing_is_collected_while_cos_is_away(
    world: World, names: Namespace, directory: Node
) -> None:
    await remove(names, directory, *FIRST)
    node = await names.lookup(directory, "f20")
    world.fail(Fault(reset=True))
    with pytest.raises(CosError):
        await world.client.delete_object(Key("elsewhere"))
    names.removals.plain_first = 0

    with pytest.raises(DeadlineExceeded):
        await names.remove_file(node)

    assert names.removals.count == 0


async def test_a_full_batch_does_not_wait(world: World) -> None:
    async with trio.open_nursery() as nursery:
        removals = Removals(world.client, ListingCache(AttributeConfig()))
        removals.collect(nursery, lambda _: None)
        removals.plain_first = 0
        began = trio.current_time()
        for number in range(MAX_DELETE_KEYS):
            await removals.remove(Key(f"k{number}"), plain=False)
        await wait_all_tasks_blocked(0.001)

        assert removals.count == 0
        assert trio.current_time() < began + BATCH_DELAY_S


async def test_who_removes_faster_than_cos_waits(world: World) -> None:
    world.transport.api.faults.set(slow())
    async with trio.open_nursery() as nursery:
        removals = Removals(world.client, ListingCache(AttributeConfig()))
        removals.collect(nursery, lambda _: None)
        removals.plain_first = 0
        began = trio.current_time()
        for number in range(MOST_COLLECTED):
            await removals.remove(Key(f"k{number}"), plain=False)
        at_once = trio.current_time()
        await removals.remove(Key("one more"), plain=False)

        assert at_once == began
        assert trio.current_time() >= began + 2 * LISTING_LAG_S
        await removals.settled("")
        assert changes(world) == [BATCH] * 4 + ["DeleteObject one more"]


@pytest.mark.parametrize("after_s", [0.0, 1.5 * LISTING_LAG_S])
async def test_what_is_collected_is_not_seen_however_long_it_takes(
    world: World, names: Namespace, directory: Node, after_s: float
) -> None:
    world.transport.api.faults.set(slow())
    await remove_all(world, names, directory)

    await trio.sleep(after_s)
    names.forget(directory)
    seen = await names.entries(directory)
    for key in LATER:
        with pytest.raises(NoSuchEntry):
            await names.lookup(directory, key.removeprefix("d/"))

    assert seen == []
    assert await world.keys_below("d/f") == LATER


async def test_what_is_collected_of_a_large_directory_is_not_asked_for(
    world: World, names: Namespace, directory: Node
) -> None:
    """There a name alone is asked for, and COS still has it."""
    await world.fill(f"d/g{number:04}" for number in range(1000))
    names.forget(directory)
    await names.entries(directory)
    await remove_all(world, names, directory)
    names.forget(directory)
    world.forget_requests()

    with pytest.raises(NoSuchEntry):
        await names.lookup(directory, "f21")

    assert world.requests() == []
    assert await world.exists("d/f21")


async def test_a_listing_that_lags_behind_the_deletion_shows_nothing_of_it(
    world: World, names: Namespace, directory: Node
) -> None:
    world.transport.api.faults.set(slow())
    await remove_all(world, names, directory)
    await trio.sleep(LISTING_LAG_S)
    names.forget(directory)
    await names.entries(directory)
    world.transport.lagging = True
    await names.removals.settled("d/")

    names.forget(directory)

    assert await names.entries(directory) == []


async def test_with_listings_alone_the_collected_names_are_not_seen(
    world: World, names: Namespace, directory: Node
) -> None:
    """Only a listing knows their ETags."""
    world.transport.api.faults.set(slow())
    nodes = [names.inodes.child(directory, key.removeprefix("d/")) for key in LATER]
    assert nodes == [None] * len(LATER)
    await remove(names, directory, *FIRST)
    for key in LATER:
        (entry,) = [e for e in await names.entries(directory) if key == f"d/{e.name}"]
        await names.remove_file(names.entry_node(directory, entry))

    names.forget(directory)

    assert names.removals.count == len(LATER)
    assert await names.entries(directory) == []


@pytest.mark.parametrize("change", ["mkdir", "rename onto", "rename", "rmdir", "replace"])
async def test_what_looks_at_a_key_on_cos_waits_for_its_deletion(
    world: World,
    names: Namespace,
    root: Node,
    directory: Node,
    change: str,
) -> None:
    await world.put("other", b"other")
    await world.put("empty/")
    names.forget(root)
    world.transport.api.faults.set(slow())
    await remove_all(world, names, directory)

    match change:
        case "mkdir":
            await names.make_directory(directory, "f21", mode=0o755, uid=0, gid=0)
        case "rename onto":
            await names.rename(await names.lookup(root, "other"), directory, "f21")
        case "rename":
            await names.rename(directory, root, "moved")
        case "rmdir":
            await names.remove_directory(directory)
        case "replace":
            await names.rename(await names.lookup(root, "empty"), root, "d")

    expected = {
        "mkdir": ["d/", "d/f21/", "empty/", "other"],
        "rename onto": ["d/", "d/f21", "empty/"],
        "rename": ["empty/", "moved/", "other"],
        "rmdir": ["empty/", "other"],
        "replace": ["d/", "other"],
    }
    assert await world.keys() == expected[change]
    assert names.removals.count == 0


async def test_what_a_batch_leaves_is_tried_alone(
    world: World, names: Namespace, directory: Node, failures: list[Failures]
) -> None:
    error = "<Error><Key>d/f21</Key><Code>InternalError</Code></Error>"
    world.fail(Fault(operation=BATCH, body=f"<DeleteResult>{error}</DeleteResult>"))
    await remove_all(world, names, directory)

    await names.removals.finished("d/")

    assert changes(world) == [BATCH, "DeleteObject d/f21"]
    assert failures == []


async def test_a_batch_that_is_refused_is_tried_one_by_one(
    world: World, names: Namespace, directory: Node, failures: list[Failures]
) -> None:
    """There is a right of its own for it."""
    world.fail(Fault(operation=BATCH, status=403, code="AccessDenied"))
    await remove_all(world, names, directory)

    await names.removals.finished("d/")

    assert sorted(changes(world)) == [BATCH, *(f"DeleteObject {key}" for key in LATER)]
    assert failures == []
    assert await world.keys() == ["d/"]


async def test_a_removal_that_fails_is_seen_again_and_told_once(
    world: World, names: Namespace, directory: Node, failures: list[Failures]
) -> None:
    await world.put("d/last")
    await remove(names, directory, *FIRST)
    world.transport.api.faults.set(refused("d/f21"))
    await remove(names, directory, *LATER)
    await names.removals.settled("d/")

    (told,) = failures
    assert list(told) == ["d/f21"]
    assert [entry.name for entry in await names.entries(directory)] == ["f21", "last"]
    last = await names.lookup(directory, "last")
    with pytest.raises(AccessDenied):
        await names.remove_file(last)
    assert await names.lookup(directory, "last") is last
    world.forget_requests()
    await names.remove_file(last)
    assert changes(world) == ["DeleteObject d/last"]
    assert names.removals.take_failures() == {}


async def test_rmdir_tells_of_removals_that_failed(
    world: World, names: Namespace, directory: Node
) -> None:
    await remove(names, directory, *FIRST)
    world.transport.api.faults.set(refused("d/f21", "d/f22"))
    await remove(names, directory, *LATER)

    with pytest.raises(AccessDenied):
        await names.remove_directory(directory)

    assert names.removals.take_failures() == {}
    assert await names.lookup(directory, "f22")
    world.transport.api.faults.set([])
    await remove(names, directory, "f21", "f22")


async def test_after_a_failure_removals_are_waited_for_again(
    world: World, names: Namespace, directory: Node
) -> None:
    await remove(names, directory, *FIRST)
    world.transport.api.faults.set(refused("d/f20"))
    await remove(names, directory, "f20")
    with pytest.raises(AccessDenied):
        await names.removals.finished("d/")
    world.transport.api.faults.set([])
    world.forget_requests()

    await remove(names, directory, *LATER)

    assert changes(world) == [f"DeleteObject {key}" for key in LATER]


async def test_a_removal_that_is_refused_while_others_are_collected_is_its_own_error(
    world: World, names: Namespace, directory: Node
) -> None:
    await remove(names, directory, *FIRST[:-1])
    world.fail(Fault(operation="DeleteObject", status=403, code="AccessDenied"))

    with pytest.raises(AccessDenied):
        await remove(names, directory, FIRST[-1])

    world.transport.api.faults.set([])
    await remove(names, directory, *LATER)
    assert await world.keys_below("d/f") == FIRST[-1:]


async def rename(names: Namespace, directory: Node, *keys: str) -> None:
    """As rsync does: a file is made, closed and then renamed."""
    for key in keys:
        name = key.removeprefix("d/")
        await names.rename(await names.lookup(directory, name), directory, f"new-{name}")


async def test_first_renames_are_whole_and_the_old_names_of_the_others_go_with_one_request(
    world: World, names: Namespace, directory: Node
) -> None:
    await rename(names, directory, *FIRST)
    alone = changes(world)
    began = trio.current_time()
    await rename(names, directory, *LATER)
    before = await world.keys_below("d/f")
    shown = await names.entries(directory)
    await names.removals.settled("d/")

    assert alone == [f"DeleteObject {key}" for key in FIRST]
    assert before == LATER
    assert [entry.name for entry in shown] == [f"new-{key.removeprefix('d/')}" for key in FILES]
    assert trio.current_time() == began
    assert changes(world) == [BATCH]
    assert await world.keys_below("d/f") == []
    assert len(await world.keys_below("d/new-")) == len(FILES)


async def test_making_files_between_renames_does_not_end_the_row(
    world: World, names: Namespace, directory: Node
) -> None:
    for key in FILES:
        create(names, directory, f"{key.removeprefix('d/')}.tmp")
        await rename(names, directory, key)

    assert await world.keys_below("d/f") == LATER


async def test_old_name_that_cannot_be_deleted_is_there_again_and_the_next_rename_says_why(
    world: World, names: Namespace, directory: Node, failures: list[Failures]
) -> None:
    world.transport.api.faults.set(refused(LATER[0]))
    await rename(names, directory, *FIRST, LATER[0])
    await names.removals.settled("d/")

    assert [list(told) for told in failures] == [[LATER[0]]]
    await names.lookup(directory, LATER[0].removeprefix("d/"))
    with pytest.raises(AccessDenied):
        await rename(names, directory, LATER[1])
    assert await world.keys_below("d/new-") == [f"d/new-{k[2:]}" for k in [*FIRST, LATER[0]]]


async def test_what_is_renamed_to_a_name_just_given_up_is_kept(
    world: World, names: Namespace, directory: Node
) -> None:
    await rename(names, directory, *FIRST, LATER[0])
    other = await names.lookup(directory, LATER[1].removeprefix("d/"))
    await names.rename(other, directory, LATER[0].removeprefix("d/"))
    await names.removals.settled("d/")

    assert LATER[0] in await world.keys()
    assert LATER[1] not in await world.keys()


@pytest.fixture
async def emptied(world: World, names: Namespace, directory: Node) -> Node:
    """A directory of which FIRST are gone, with a symlink's length and a longer file left."""
    await world.put("d/longer", LONGER, metadata={"mode": str(stat.S_IFREG | 0o600)})
    await world.put("d/short", LONGER[1:], metadata={"mode": str(stat.S_IFREG | 0o600)})
    names.forget(directory)
    await names.entries(directory)
    await remove(names, directory, *FIRST)
    world.forget_requests()
    return directory


async def test_what_is_likely_to_be_removed_next_is_known_by_its_listing(
    world: World, names: Namespace, emptied: Node
) -> None:
    node = await names.lookup(emptied, "longer", to_remove=names.is_being_emptied(emptied))
    await names.lookup(emptied, "short", to_remove=names.is_being_emptied(emptied))

    assert node.attributes.size == len(LONGER)
    assert world.requests() == ["HeadObject d/short"]


async def test_what_a_listing_told_of_it_is_not_trusted(
    world: World, names: Namespace, emptied: Node
) -> None:
    node = await names.lookup(emptied, "longer", to_remove=True)
    await names.refresh(node)

    assert stat.S_IMODE(node.attributes.mode) == 0o600
    assert await names.lookup(emptied, "longer") is node
    assert world.requests() == ["HeadObject d/longer"]


@pytest.mark.parametrize("mode", [0o777, 0o1777])
async def test_owners_of_files_count_where_a_directory_is_sticky(
    names: Namespace, emptied: Node, mode: int
) -> None:
    await names.set_attributes(emptied, AttributeChange(mode=mode))

    assert names.is_being_emptied(emptied) == (mode == 0o777)
