"""A clock that jumps over every wait, but for those for threads: their work is no passing time."""

from collections.abc import Awaitable, Callable, Sequence
from math import inf

import trio
from trio.abc import Clock, Instrument
from trio.testing import MockClock


class _PatienceWithThreads(Instrument):
    """Stops the jumping while a thread is at work for a task."""

    def __init__(self, clock: MockClock) -> None:
        self._clock = clock

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's
        busy = trio.to_thread.current_default_thread_limiter().borrowed_tokens
        threshold = inf if busy else 0.0
        if self._clock.autojump_threshold != threshold:
            self._clock.autojump_threshold = threshold


def run_jumping(
    main: Callable[[], Awaitable[None]],
    *,
    clock: Clock | None = None,
    instruments: Sequence[Instrument] = (),
) -> None:
    """Run *main* in no time; with ``pytest.mark.trio(run=run_jumping)`` all tests of a module."""
    if clock is None:
        jumping = MockClock(autojump_threshold=0)
        clock, instruments = jumping, (*instruments, _PatienceWithThreads(jumping))
    trio.run(main, clock=clock, instruments=instruments)
