"""The FUSE device: how requests are taken from the kernel's queue.

pyfuse3 has no switch for what is done here, but looks a private function up in its module at every
call; a version that has it not is left alone.
"""

import contextlib
import select
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pyfuse3
import trio

_WAIT_NAME: Final = "_wait_fuse_readable"
_MOST_IN_A_ROW: Final = 8  # requests; then the loop looks at its sockets again
_SPINS: Final = 100  # about 50 µs, what going to sleep and being woken would cost


class Device:
    """Polled before the event loop is asked to wait for it.

    A request that finds the loop asleep pays about 45 µs for the sleep and the wake. And the loop
    hands out one request a round: a stat behind the writes of many programs waits for as many.
    """

    def __init__(self) -> None:
        self._poller: select.poll | None = None

    def has_request(self) -> bool:
        """Whether requests are waiting; no, if nobody takes them. Does not yield."""
        # A mount that is gone shows an error, for ever.
        return self._poller is not None and any(
            event & select.POLLIN for _, event in self._poller.poll(0)
        )

    @contextlib.contextmanager
    def polled(self) -> Iterator[None]:
        """Around pyfuse3's main loop."""
        wait: Callable[[], Awaitable[bool]] | None = getattr(pyfuse3, _WAIT_NAME, None)
        descriptor = _find_descriptor()
        if wait is None or descriptor is None:
            yield
            return
        poller = self._poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        in_a_row = 0
        latest: trio.lowlevel.Task | None = None

        async def poll_and_wait() -> bool:
            nonlocal in_a_row, latest
            task = trio.lowlevel.current_task()
            # Back with its answer given, most likely: a round of the loop costs as much as a
            # small write, and nobody else waits longer for it than for some large ones.
            if task is latest and in_a_row < _MOST_IN_A_ROW and _polled(poller):
                in_a_row += 1
                return True
            await trio.lowlevel.checkpoint()  # first whoever else can go on
            in_a_row, latest = 1, task
            if _polled(poller):
                return True
            # The device blocks: reading it when the request has gone meanwhile, to another worker
            # or with the program that made it, would stop the whole loop until the next one.
            while await wait():
                if poller.poll(0):
                    return True
            self._poller = None
            return False

        setattr(pyfuse3, _WAIT_NAME, poll_and_wait)
        try:
            yield
        finally:
            self._poller = None
            setattr(pyfuse3, _WAIT_NAME, wait)


def _polled(poller: select.poll) -> bool:
    """Whether a request comes within the next 50 µs."""
    for _ in range(_SPINS):  # noqa: SIM110 - a generator would cost as much as a poll
        if poller.poll(0):
            return True
    return False


def _find_descriptor() -> int | None:
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if link.readlink() == Path("/dev/fuse"):
                return int(link.name)
    return None
