"""How many writers are on their way to the kernel's queue at a time."""

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cosfs.fuse.pacing import WritePacer
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)


@dataclass
class Writers:
    """Programs that write without pause, each to a handle of its own."""

    queued: bool = True  # the kernel has requests
    waiting: int = 0  # for memory
    answered: list[int] = field(default_factory=list)
    pacer: WritePacer = field(init=False)

    def __post_init__(self) -> None:
        self.pacer = WritePacer(has_request=lambda: self.queued, waiting=lambda: self.waiting)

    async def write(self, handle: int, size: int = 1 << 20) -> None:
        self.pacer.arrived(handle)
        await self.pacer.before_answer(handle, size)
        self.answered.append(handle)

    async def write_all(self, nursery: trio.Nursery, count: int) -> None:
        for handle in range(count):
            nursery.start_soon(self.write, handle)
            await wait_all_tasks_blocked()


async def test_few_writers_are_answered_at_once() -> None:
    writers = Writers()

    for _ in range(100):
        await writers.write(1)
        await writers.write(2)

    assert len(writers.answered) == 200


async def test_many_small_writes_are_answered_at_once() -> None:
    writers = Writers()

    for handle in range(100):
        await writers.write(handle, 4096)

    assert len(writers.answered) == 100


async def test_eight_of_many_large_writes_are_on_their_way() -> None:
    writers = Writers()
    async with trio.open_nursery() as nursery:
        await writers.write_all(nursery, 20)
        first = list(writers.answered)
        for back in first[:3]:  # and wait for their next answer behind the others
            nursery.start_soon(writers.write, back)
        await trio.sleep(0.1)
        after = list(writers.answered)
        nursery.cancel_scope.cancel()

    assert first == list(range(8))
    assert after == list(range(11))


async def test_writers_that_do_not_come_back_are_not_waited_for() -> None:
    writers = Writers()
    async with trio.open_nursery() as nursery:
        await writers.write_all(nursery, 12)
        held_back = len(writers.answered)
        writers.queued = False

    assert held_back == 8
    assert writers.answered == list(range(12))


async def test_writes_that_wait_for_memory_count() -> None:
    writers = Writers(waiting=8, queued=False)
    async with trio.open_nursery() as nursery:
        await writers.write_all(nursery, 3)
        full = list(writers.answered)
        writers.waiting = 7

    assert full == []
    assert writers.answered == [0, 1, 2]


async def test_an_answer_is_held_back_for_ten_seconds_at_most() -> None:
    writers = Writers(waiting=8)
    began = trio.current_time()

    await writers.write(1)

    assert 9 < trio.current_time() - began < 11


async def test_half_of_the_workers_stay_free() -> None:
    writers = Writers()
    async with trio.open_nursery() as nursery:
        await writers.write_all(nursery, 8 + 64 + 5)
        answered = list(writers.answered)
        nursery.cancel_scope.cancel()

    assert answered == [*range(8), *range(72, 77)]
