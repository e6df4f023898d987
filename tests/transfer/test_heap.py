"""What was freed goes back to the system. In processes of their own: others' heaps have holes."""

import multiprocessing
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from cosfs.transfer.heap import give_back, resident_size
from cosfs.transfer.memory import MemoryLimiter

MIB = 1 << 20
PIECE = 64 << 10

Use = Callable[[MemoryLimiter], Awaitable[None]]


def scattered(size: int) -> list[bytes]:
    """*size* bytes in pieces of which a few live on: the heap cannot shrink."""
    pieces = [bytes([1]) * PIECE for _ in range(size // PIECE)]
    return pieces[::64]


async def calm(_memory: MemoryLimiter) -> None:
    await trio.sleep(16)


async def busy(memory: MemoryLimiter) -> None:
    for _ in range(4):
        await memory.acquire(MIB)
        await trio.sleep(4)


async def _resident(use: Use) -> tuple[int, int]:
    memory = MemoryLimiter(256 * MIB)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_back, memory)
        await wait_all_tasks_blocked()
        lives_on = scattered(128 * MIB)
        before = resident_size()
        await use(memory)
        after = resident_size()
        nursery.cancel_scope.cancel()
    assert len(lives_on) == 32
    return before, after


def run(use: Use) -> tuple[int, int]:
    return trio.run(partial(_resident, use), clock=MockClock(autojump_threshold=0))


def resident(use: Use) -> tuple[int, int]:
    """What a process keeps of 128 MiB that it has freed, before and after *use*."""
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh) as processes:
        return processes.submit(run, use).result(timeout=60)


def test_free_memory_leaves_the_process_when_the_budget_is_calm() -> None:
    before, after = resident(calm)

    assert after < before - 64 * MIB


def test_free_memory_stays_while_bytes_come_and_go() -> None:
    before, after = resident(busy)

    assert after > before - 32 * MIB
