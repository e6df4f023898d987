"""One request for all who want it, and many with a limit."""

import pytest
import trio
import trio.testing

from cosfs.errors import InvalidArgument, NoSuchEntry
from cosfs.namespace.parallel import Begun, SingleFlight, for_each, in_background


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


async def test_a_begun_call_runs_before_somebody_waits_for_it() -> None:
    began = trio.Event()

    async def call() -> int:
        began.set()
        return 7

    async with trio.open_nursery() as nursery:
        begun = Begun(nursery, call)
        await began.wait()

        assert await begun.answer() == 7


@pytest.mark.parametrize("error", [NoSuchEntry("gone"), ZeroDivisionError()])
async def test_the_error_of_a_begun_call_goes_to_who_waits(error: Exception) -> None:
    async def call() -> None:
        raise error

    async with trio.open_nursery() as nursery:
        begun = Begun(nursery, call)
        with pytest.raises(type(error)):
            await begun.answer()


async def test_a_bug_in_the_background_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def bug() -> None:
        raise ZeroDivisionError

    await in_background(bug)

    assert "ZeroDivisionError" in caplog.text


async def test_an_error_in_the_background_is_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    async def refused() -> None:
        raise NoSuchEntry("gone")

    with caplog.at_level("INFO"):
        await in_background(refused)

    assert caplog.text == ""
