"""One request for all who want it, and many with a limit."""

import pytest
import trio
import trio.testing

from cosfs.errors import InvalidArgument, NoSuchEntry
from cosfs.namespace.parallel import SingleFlight, for_each


async def test_callers_at_the_same_time_share_one_answer() -> None:
    flights: SingleFlight[int] = SingleFlight()
    gate = trio.Event()
    calls: list[str] = []
    answers: list[int] = []

    async def ask() -> int:
        calls.append("asked")
        await gate.wait()
        return len(calls)

    async def caller() -> None:
        answers.append(await flights.share("key", ask))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(caller)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()

    assert answers == [1, 1, 1]


async def test_answer_is_not_kept_for_the_next_caller() -> None:
    flights: SingleFlight[int] = SingleFlight()
    answers = iter([1, 2])

    async def ask() -> int:
        await trio.lowlevel.checkpoint()
        return next(answers)

    assert [await flights.share("key", ask), await flights.share("key", ask)] == [1, 2]


async def test_cancelled_leader_leaves_the_request_to_a_waiting_caller() -> None:
    flights: SingleFlight[str] = SingleFlight()
    answers: list[str] = []
    scope = trio.CancelScope()

    async def never() -> str:
        await trio.sleep_forever()
        raise AssertionError

    async def soon() -> str:
        await trio.lowlevel.checkpoint()
        return "answer"

    async def leader() -> None:
        with scope:
            await flights.share("key", never)

    async def follower() -> None:
        answers.append(await flights.share("key", soon))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(leader)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(follower)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()

    assert answers == ["answer"]


async def test_every_item_is_worked_on_within_the_limit() -> None:
    active = 0
    most = 0
    done: list[int] = []

    async def work(item: int) -> None:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await trio.lowlevel.checkpoint()
        active -= 1
        done.append(item)

    await for_each(range(20), work, parallel=4)

    assert sorted(done) == list(range(20))
    assert most == 4


async def test_first_error_ends_the_work_and_is_raised_bare() -> None:
    begun: list[int] = []

    async def work(item: int) -> None:
        begun.append(item)
        if item == 1:
            raise NoSuchEntry("1")
        await trio.sleep_forever()

    with pytest.raises(NoSuchEntry):
        await for_each(range(10), work, parallel=3)

    assert 3 not in begun


async def test_of_two_errors_one_is_raised() -> None:
    async def work(item: int) -> None:
        await trio.lowlevel.checkpoint()
        raise NoSuchEntry("x") if item else InvalidArgument("y")

    with pytest.raises((NoSuchEntry, InvalidArgument)):
        await for_each(range(2), work, parallel=2)
