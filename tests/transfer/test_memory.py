"""The byte budget: who waits, in which order, and that nobody waits for ever."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cosfs.transfer.memory import MemoryLimiter


class Arrivals:
    """Tasks that ask for bytes, and the order in which they got them."""

    def __init__(self, memory: MemoryLimiter, nursery: trio.Nursery) -> None:
        self.memory = memory
        self.served: list[int] = []
        self._nursery = nursery

    async def ask(self, *sizes: int) -> None:
        """Begin to ask for each of *sizes*, in that order."""
        for size in sizes:
            self._nursery.start_soon(self._acquire, size)
            await wait_all_tasks_blocked()

    async def ask_in_vain(self, size: int) -> trio.CancelScope:
        """Begin to ask for *size*; cancel the scope to give up."""
        scope = trio.CancelScope()

        async def acquire() -> None:
            with scope:
                await self._acquire(size)

        self._nursery.start_soon(acquire)
        await wait_all_tasks_blocked()
        return scope

    async def _acquire(self, size: int) -> None:
        await self.memory.acquire(size)
        self.served.append(size)


@pytest.fixture
def memory() -> MemoryLimiter:
    """Ten bytes, all taken and on their way to COS."""
    memory = MemoryLimiter(10)
    assert memory.try_acquire(10)
    memory.depart(10)
    return memory


@pytest.fixture
def arrivals(memory: MemoryLimiter, nursery: trio.Nursery) -> Arrivals:
    return Arrivals(memory, nursery)


async def test_waiters_are_served_in_order_of_arrival(
    memory: MemoryLimiter, arrivals: Arrivals
) -> None:
    await arrivals.ask(3, 2, 4)
    for _ in range(3):
        memory.arrive(3)
        await wait_all_tasks_blocked()

    assert arrivals.served == [3, 2, 4]
    assert repr(memory) == "<MemoryLimiter used=10 leaving=1 limit=10 waiting=0>"


async def test_small_waiter_does_not_overtake_a_large_one(
    memory: MemoryLimiter, arrivals: Arrivals
) -> None:
    await arrivals.ask(8, 1)
    memory.arrive(5)
    await wait_all_tasks_blocked()
    assert arrivals.served == []
    assert not memory.try_acquire(1)

    memory.arrive(4)
    await wait_all_tasks_blocked()

    assert sorted(arrivals.served) == [1, 8]


async def test_one_arrival_serves_all_that_fit(memory: MemoryLimiter, arrivals: Arrivals) -> None:
    await arrivals.ask(3, 3, 3, 3)
    memory.arrive(9)
    await wait_all_tasks_blocked()

    assert arrivals.served == [3, 3, 3]


async def test_waiter_goes_through_when_nothing_is_leaving(
    memory: MemoryLimiter, arrivals: Arrivals
) -> None:
    """Over the budget, but never stuck: what is buffered may have nowhere to go."""
    memory.stay(10)

    await arrivals.ask(4)

    assert arrivals.served == [4]
    assert memory.used == 14


async def test_waiter_goes_through_when_what_was_leaving_stays(
    memory: MemoryLimiter, arrivals: Arrivals
) -> None:
    await arrivals.ask(4)
    assert arrivals.served == []

    memory.stay(10)
    await wait_all_tasks_blocked()

    assert arrivals.served == [4]


async def test_request_over_the_whole_budget_goes_through(
    memory: MemoryLimiter, arrivals: Arrivals
) -> None:
    await arrivals.ask(25)
    memory.arrive(10)
    await wait_all_tasks_blocked()

    assert arrivals.served == [25]


async def test_waiter_that_gives_up_takes_nothing(
    memory: MemoryLimiter, arrivals: Arrivals
) -> None:
    scope = await arrivals.ask_in_vain(5)
    scope.cancel()
    await wait_all_tasks_blocked()
    memory.arrive(10)

    assert repr(memory) == "<MemoryLimiter used=0 leaving=0 limit=10 waiting=0>"


async def test_waiter_cancelled_as_it_is_served_returns_its_bytes(
    memory: MemoryLimiter, arrivals: Arrivals
) -> None:
    scope = await arrivals.ask_in_vain(5)
    scope.cancel()
    memory.arrive(10)
    await wait_all_tasks_blocked()

    assert arrivals.served in ([], [5])
    assert memory.used == sum(arrivals.served)


async def test_waiters_behind_one_that_gives_up_are_served(
    memory: MemoryLimiter, arrivals: Arrivals
) -> None:
    scope = await arrivals.ask_in_vain(8)
    await arrivals.ask(2)
    memory.arrive(4)
    await wait_all_tasks_blocked()
    assert arrivals.served == []

    scope.cancel()
    await wait_all_tasks_blocked()

    assert arrivals.served == [2]


async def test_shortage_reclaims_just_what_is_missing(memory: MemoryLimiter) -> None:
    asked: list[int] = []

    def reclaim(size: int) -> int:
        asked.append(size)
        return size

    memory.on_shortage(reclaim=reclaim)
    memory.arrive(2)
    memory.stay(8)

    assert memory.try_acquire(5)
    assert asked == [3]
    assert memory.used == 10


async def test_shortage_presses_before_anybody_waits(memory: MemoryLimiter) -> None:
    """What the press sends is what the waiter waits for."""
    memory.stay(10)
    memory.on_shortage(press=lambda: memory.depart(6))
    with trio.move_on_after(0) as gave_up:
        await memory.acquire(3)

    assert gave_up.cancelled_caught
    assert memory.leaving == 6


async def test_press_that_releases_serves_every_waiter_once(
    memory: MemoryLimiter, arrivals: Arrivals
) -> None:
    """A part of a failed upload arrives in the moment in which it departs."""

    def press() -> None:
        if memory.used >= 4:
            memory.depart(4)
            memory.arrive(4)

    await arrivals.ask(3, 3, 3)
    memory.on_shortage(press=press)
    memory.stay(10)
    await wait_all_tasks_blocked()

    assert arrivals.served == [3, 3, 3]


def test_share_on_its_way_decides_whether_more_is_wanted() -> None:
    memory = MemoryLimiter(8)
    assert memory.wants_more_leaving

    assert memory.try_acquire(4)
    memory.depart(2)

    assert not memory.wants_more_leaving


async def test_what_is_reserved_leaves_less_for_content(
    memory: MemoryLimiter, arrivals: Arrivals
) -> None:
    memory.reserve(6)
    memory.arrive(6)  # four of ten are used
    await arrivals.ask(2)
    assert arrivals.served == []

    memory.unreserve(6)
    await wait_all_tasks_blocked()
    assert arrivals.served == [2]


async def test_some_of_the_budget_is_for_content_whatever_is_reserved(
    memory: MemoryLimiter,
) -> None:
    memory.reserve(100)
    memory.arrive(9)

    assert memory.try_acquire(1)
    assert not memory.try_acquire(1)


async def test_waiter_waits_for_what_is_being_loaded(arrivals: Arrivals) -> None:
    """Soon that can be dropped, so that nobody has to go over the budget."""
    memory = arrivals.memory
    memory.load(10)
    memory.stay(10)  # nothing is leaving any more
    droppable = 0
    memory.on_shortage(reclaim=lambda size: min(size, droppable))
    await arrivals.ask(3)
    assert arrivals.served == []

    droppable = 10
    memory.loaded(10)
    await wait_all_tasks_blocked()

    assert arrivals.served == [3]
    assert memory.used == 10
