"""What was freed goes back to the system."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cosfs.transfer.heap import give_back, resident_size
from cosfs.transfer.memory import MemoryLimiter
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

MIB = 1 << 20


def scattered(size: int) -> list[bytes]:
    """*size* bytes in pieces between which a few others live on: the heap cannot shrink."""
    pieces = [bytes([1]) * (64 << 10) for _ in range(size // (64 << 10))]
    return pieces[::64]


async def test_free_memory_leaves_the_process_when_the_budget_is_calm() -> None:
    memory = MemoryLimiter(256 * MIB)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_back, memory)
        await wait_all_tasks_blocked()
        lives_on = scattered(128 * MIB)
        before = resident_size()
        await trio.sleep(11)
        after = resident_size()
        nursery.cancel_scope.cancel()

    assert len(lives_on) == 32
    assert after < before - 64 * MIB


async def test_free_memory_stays_while_bytes_come_and_go() -> None:
    memory = MemoryLimiter(256 * MIB)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_back, memory)
        await wait_all_tasks_blocked()
        lives_on = scattered(128 * MIB)
        before = resident_size()
        for _ in range(4):
            await memory.acquire(MIB)
            await trio.sleep(4)
        after = resident_size()
        nursery.cancel_scope.cancel()

    assert len(lives_on) == 32
    assert after > before - 32 * MIB
