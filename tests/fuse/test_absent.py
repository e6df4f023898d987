"""Names that the kernel takes for missing, and when it has to be told otherwise."""

import pyfuse3
import pytest
from pyfuse3 import FileNameT, InodeT
from trio.testing import MockClock

from cosfs.fuse.absent import AbsentNames
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

PARENT = InodeT(7)
TIMEOUT_S = 5.0


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The names that the kernel was made to ask for again."""
    names: list[bytes] = []

    def invalidate(_parent: int, name: bytes, *, ignore_enoent: bool) -> None:
        assert ignore_enoent
        names.append(name)

    monkeypatch.setattr(pyfuse3, "invalidate_entry_async", invalidate)
    return names


@pytest.fixture
async def absent(mock_clock: MockClock) -> AbsentNames:
    assert mock_clock.rate == 0
    absent = AbsentNames()
    for name in (b"a", b"b"):
        entry = absent.entry(PARENT, FileNameT(name), TIMEOUT_S)
        assert (entry.st_ino, entry.entry_timeout) == (0, TIMEOUT_S)
    return absent


async def test_kernel_is_told_once_of_a_name_that_appears(
    absent: AbsentNames, told: list[bytes]
) -> None:
    for name in ("a", "a", "other"):
        absent.appeared(PARENT, name)

    assert told == [b"a"]


async def test_kernel_is_told_of_all_that_it_should_ask_for(
    absent: AbsentNames, told: list[bytes]
) -> None:
    absent.forget([PARENT + 1])
    assert told == []

    absent.forget([PARENT])
    assert sorted(told) == [b"a", b"b"]


async def test_kernel_that_knows_or_asks_by_itself_is_told_nothing(
    absent: AbsentNames, told: list[bytes], mock_clock: MockClock
) -> None:
    """It would drop the inode that it has by now, and the program that uses it find another."""
    absent.made(PARENT, "a")
    absent.appeared(PARENT, "a")
    mock_clock.jump(TIMEOUT_S)
    absent.appeared(PARENT, "b")

    assert told == []
