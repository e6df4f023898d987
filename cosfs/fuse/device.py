"""The FUSE device: how requests are taken from the kernel's queue.

pyfuse3 has no switch for what is done here, but looks private functions up in its module at every
call; a version that has them not is left alone.
"""

import contextlib
import errno
import logging
import os
import select
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

import pyfuse3
import trio

_WAIT_NAME: Final = "_wait_fuse_readable"
_WORKER_NAME: Final = "_session_loop"
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


@contextlib.contextmanager
def aborts_taken_as_end() -> Iterator[None]:
    """Around pyfuse3's main loop: one way in which the kernel tells that a mount is gone.

    To readers of a device whose mount is gone it says ENODEV, which libfuse takes for the end. But
    to the one who has taken a request from the queue just before, and not yet put it among those
    being answered, it says ECONNABORTED (fuse_dev_do_read in the kernel's fs/fuse/dev.c). Only
    this worker ends here: others may be storing what was closed before.
    """
    work: Callable[..., Awaitable[None]] | None = getattr(pyfuse3, _WORKER_NAME, None)
    if work is None:
        yield
        return

    async def work_until_end(*arguments: object) -> None:
        with contextlib.suppress(ConnectionAbortedError):  # handlers raise FUSEError alone
            await work(*arguments)

    setattr(pyfuse3, _WORKER_NAME, work_until_end)
    try:
        yield
    finally:
        setattr(pyfuse3, _WORKER_NAME, work)


def is_of_interest(record: logging.LogRecord) -> bool:
    """Whether a line of pyfuse3's log tells more than that nobody waits for an answer any more.

    libfuse keeps that to itself as well: the mount has gone since the kernel asked.
    """
    return record.args != (os.strerror(errno.ENOENT),) or "fuse_reply" not in record.msg


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
