"""What files without a name leave behind when their mount is killed."""

import pytest

from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied
from cosfs.namespace.hidden import new_hidden_path, remove_forsaken
from tests.namespace.conftest import World

HALF_A_MINUTE = 30.0  # World.age dates an object back by a minute


async def forsake(world: World, prefix: str) -> str:
    key = prefix + new_hidden_path()
    await world.put(key)
    world.age(key)
    return key


async def test_old_hidden_objects_are_removed_and_young_ones_stay(world: World) -> None:
    await forsake(world, "a/")
    young = f"a/{new_hidden_path()}"
    await world.put(young)

    await remove_forsaken(world.client, prefix="a/", older_than_s=HALF_A_MINUTE)

    assert await world.keys() == [young]


async def test_hidden_objects_of_other_mounts_and_what_users_put_beside_them_stay(
    world: World,
) -> None:
    others = [await forsake(world, "a/b/"), "a/.cosfs-removed/", "a/.cosfs-removed/notes"]
    for key in others[1:]:
        await world.put(key)
        world.age(key)

    await remove_forsaken(world.client, prefix="a/", older_than_s=HALF_A_MINUTE)

    assert await world.keys() == sorted(others)


async def test_more_than_a_page_of_hidden_objects_is_removed(world: World) -> None:
    await world.fill([new_hidden_path() for _ in range(1001)])

    await remove_forsaken(world.client, prefix="", older_than_s=HALF_A_MINUTE)

    assert await world.keys() == []


async def test_where_nothing_is_hidden_it_costs_a_listing(world: World) -> None:
    await remove_forsaken(world.client, prefix="", older_than_s=HALF_A_MINUTE)

    assert world.requests() == ["GetBucket .cosfs-removed/"]


async def test_a_refusal_is_raised(world: World) -> None:
    await forsake(world, "")
    world.fail(Fault(operation="DeleteMultipleObjects", status=403))

    with pytest.raises(AccessDenied):
        await remove_forsaken(world.client, prefix="", older_than_s=HALF_A_MINUTE)
