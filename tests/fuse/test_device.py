"""How the kernel tells that a mount has gone, by what pyfuse3 makes of it."""

import errno
import logging
import os

import pyfuse3
import pytest
import trio

from cosfs.fuse.device import aborts_taken_as_end, is_of_interest


async def run_workers(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Two workers as pyfuse3 starts them: one is told *number*, the other still has work to do."""
    done = []

    async def work(nursery: trio.Nursery, least: int, most: int) -> None:
        assert (least, most) == (1, 2)
        nursery.start_soon(store)
        raise OSError(number, "fuse_session_receive_buf failed")

    async def store() -> None:
        await trio.sleep(0.01)
        done.append("stored")

    monkeypatch.setattr(pyfuse3, "_session_loop", work, raising=True)
    with aborts_taken_as_end():
        async with trio.open_nursery() as nursery:
            # What is looked up at every call, as in pyfuse3's own code.
            nursery.start_soon(vars(pyfuse3)["_session_loop"], nursery, 1, 2)
    assert vars(pyfuse3)["_session_loop"] is work
    return done


async def test_abort_between_two_steps_ends_one_worker_and_not_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await run_workers(monkeypatch, errno.ECONNABORTED) == ["stored"]


async def test_other_errors_of_the_device_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExceptionGroup) as raised:
        await run_workers(monkeypatch, errno.EIO)

    assert raised.group_contains(OSError, match="receive_buf failed")


@pytest.mark.parametrize(
    ("shown", "line", "number"),
    [
        (False, "fuse_release(): fuse_reply_* failed with %s", errno.ENOENT),
        (True, "fuse_release(): fuse_reply_* failed with %s", errno.EINVAL),
        (True, "something else failed with %s", errno.ENOENT),
    ],
)
def test_answers_that_nobody_waits_for_are_no_error(
    *, shown: bool, line: str, number: int
) -> None:
    record = logging.LogRecord(
        "pyfuse3", logging.ERROR, "", 0, line, (os.strerror(number),), exc_info=None
    )

    assert is_of_interest(record) == shown
