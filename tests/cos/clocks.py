"""For ``pytest.mark.trio(run=…)``: a whole module under a clock that jumps over every wait.

pytest-trio takes a clock from a test's own arguments alone, where most tests would not use it.
"""

from collections.abc import Awaitable, Callable, Sequence

import trio
from trio.abc import Clock, Instrument
from trio.testing import MockClock


def run_jumping(
    main: Callable[[], Awaitable[None]], *, clock: Clock | None, instruments: Sequence[Instrument]
) -> None:
    trio.run(main, clock=clock or MockClock(autojump_threshold=0), instruments=instruments)
