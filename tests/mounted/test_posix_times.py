"""Which calls move which times: of what they change, and of the directory it is in."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.posix import KINDS, times
from tests.mounted.programs import run

S = 10**9
PAST = (1_000_000_000 * S + 5, 1_000_000_000 * S + 7)


def rewrite(path: Path) -> None:
    with path.open("r+b", buffering=0) as file:
        file.write(b"x")


def truncate_open(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(9)


@pytest.mark.parametrize(
    ("call", "moved"),
    [
        (lambda path: path.chmod(0o600), "c"),
        (lambda path: path.chmod(0o644), "c"),  # the mode that it has
        (lambda path: os.chown(path, 1, 2), "c"),
        (lambda path: os.chown(path, 0, 0), "c"),
        (lambda path: os.utime(path, ns=PAST), "c"),
        (os.utime, "mc"),
        (lambda path: os.truncate(path, 3), "mc"),
        (lambda path: os.truncate(path, 123), "mc"),
        (lambda path: os.truncate(path, 0), "mc"),
        (truncate_open, "mc"),
        (rewrite, "mc"),
        (lambda path: path.write_bytes(b"other"), "mc"),
        (lambda path: path.open("w").close(), "mc"),
        (Path.read_bytes, ""),
        (os.stat, ""),
    ],
    ids=[
        *("chmod", "chmod to the same", "chown", "chown to the same", "utime", "utime to now"),
        *("truncate", "extend", "empty", "ftruncate", "write", "replace", "O_TRUNC"),
        *("read", "stat"),
    ],
)
def test_a_call_moves_the_times_of_a_file(
    place: Place, call: Callable[[Path], object], moved: str
) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    os.utime(path, ns=PAST)
    path.chmod(0o644)
    before, parent_before = times(path), times(place.path)

    call(path)

    after = times(path)
    assert (after[0] > before[0], after[1] > before[1]) == ("m" in moved, "c" in moved)
    assert times(place.path) == parent_before


@pytest.mark.parametrize("kind", KINDS)
def test_making_and_removing_a_name_moves_the_times_of_its_directory(
    place: Place, kind: str
) -> None:
    start = times(place.path)

    KINDS[kind](place.path / "n")
    made, own = times(place.path), times(place.path / "n")
    (os.rmdir if kind == "directory" else os.unlink)(place.path / "n")
    removed = times(place.path)

    assert min(own) > max(start)
    for earlier, later in [(start, made), (made, removed)]:
        assert (later[0] > earlier[0], later[1] > earlier[1]) == (True, True)
    assert abs(removed[1] - time.time_ns()) < 60 * S


@pytest.mark.parametrize("kind", KINDS)
def test_renaming_moves_the_times_of_both_directories(place: Place, kind: str) -> None:
    first, second = place.path / "first", place.path / "second"
    first.mkdir()
    second.mkdir()
    KINDS[kind](first / "n")
    before = [times(first), times(second), times(first / "n")]
    inode = (first / "n").lstat().st_ino

    os.rename(first / "n", second / "m")

    assert (second / "m").lstat().st_ino == inode
    after = [times(first), times(second), times(second / "m")]
    for earlier, later in zip(before[:2], after[:2], strict=True):
        assert (later[0] > earlier[0], later[1] > earlier[1]) == (True, True)
    assert after[2][0] == before[2][0]
    assert after[2][1] > before[2][1]


@pytest.mark.parametrize(
    "call",
    [
        lambda at: (at / "file").mkdir(),
        lambda at: (at / "nothing").unlink(),
        lambda at: (at / "full").rmdir(),
        lambda at: os.rename(at / "full", at / "full" / "x"),
        lambda at: os.close(os.open(at / "file", os.O_CREAT | os.O_EXCL)),
        lambda at: os.truncate(at / "full", 0),
    ],
    ids=["mkdir", "unlink", "rmdir", "rename", "open", "truncate"],
)
def test_a_call_that_fails_moves_no_times(place: Place, call: Callable[[Path], object]) -> None:
    (place.path / "file").touch()
    (place.path / "full" / "x").mkdir(parents=True)
    names = [place.path, place.path / "file", place.path / "full"]
    before = [times(name) for name in names]

    with pytest.raises(OSError):  # noqa: PT011 - which one is asked elsewhere
        call(place.path)

    assert [times(name) for name in names] == before


def test_a_file_that_loses_its_name_shows_it(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"content")
    with path.open("rb") as read, path.open("r+b") as write:
        before = os.fstat(read.fileno())
        path.unlink()
        after = os.fstat(read.fileno())
        assert (before.st_nlink, after.st_nlink) == (1, 0)
        assert after.st_ctime_ns > before.st_ctime_ns
        assert after.st_mtime_ns == before.st_mtime_ns
        assert after.st_size == 7
        write.write(b"C")
        write.flush()
        os.fchmod(write.fileno(), 0o600)
        assert read.read() == b"Content"
        assert os.fstat(read.fileno()).st_mode == 0o100600


def test_a_new_file_that_loses_its_name_shows_it(place: Place) -> None:
    path = place.path / "f"
    with path.open("w+b") as file:
        file.write(b"content")
        file.flush()
        before = os.fstat(file.fileno())
        path.unlink()
        after = os.fstat(file.fileno())

    assert (before.st_nlink, after.st_nlink) == (1, 0)
    assert after.st_ctime_ns > before.st_ctime_ns


def test_a_file_that_is_replaced_loses_its_name(place: Place) -> None:
    for name in ("old", "new"):
        (place.path / name).write_text(name)
    with (place.path / "old").open("rb") as file:
        os.rename(place.path / "new", place.path / "old")

        assert os.fstat(file.fileno()).st_nlink == 0
    assert (place.path / "old").stat().st_nlink == 1


def test_a_directory_that_is_removed_shows_it(place: Place) -> None:
    (place.path / "d").mkdir()
    descriptor = os.open(place.path / "d", os.O_RDONLY)
    try:
        (place.path / "d").rmdir()
        assert os.fstat(descriptor).st_nlink == 0
        assert os.listdir(descriptor) == []
        with pytest.raises(FileNotFoundError):
            os.mkdir("x", dir_fd=descriptor)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "chosen",
    [PAST, (1, 999_999_999), (1 << 32) * S + 1, (2_000_000_000 * S, 4_102_444_800 * S)],
    ids=["past", "1970", "2106", "2100"],
)
def test_chosen_times_are_kept_to_the_nanosecond(
    place: Place, kind: str, chosen: tuple[int, int] | int
) -> None:
    path = place.path / "n"
    KINDS[kind](path)
    atime, mtime = chosen if isinstance(chosen, tuple) else (chosen, chosen)

    os.utime(path, ns=(atime, mtime), follow_symlinks=False)

    status = path.lstat()
    assert (status.st_atime_ns, status.st_mtime_ns) == (atime, mtime)


@pytest.mark.parametrize(
    ("words", "which"), [(["-a"], "atime"), (["-m"], "mtime")], ids=["atime", "mtime"]
)
def test_one_time_can_be_set_and_the_other_left(
    place: Place, words: list[str], which: str
) -> None:
    """touch(1) calls utimensat(2) with UTIME_OMIT for the one, UTIME_NOW for the other."""
    path = place.path / "f"
    path.touch()
    os.utime(path, ns=PAST)

    run("touch", *words, path)

    status = path.stat()
    shown = {"atime": status.st_atime_ns, "mtime": status.st_mtime_ns}
    now = shown.pop(which)
    assert abs(now - time.time_ns()) < 60 * S
    assert list(shown.values()) == [PAST[0] if which == "mtime" else PAST[1]]


def test_a_time_that_a_directory_is_given_stays(place: Place) -> None:
    (place.path / "d").mkdir()
    (place.path / "d" / "f").touch()
    os.utime(place.path / "d", ns=PAST)
    before = times(place.path / "d")

    (place.path / "d").chmod(0o700)

    assert before[0] == times(place.path / "d")[0] == PAST[1]
    assert times(place.path / "d")[1] > before[1]


def test_the_times_of_a_directory_survive_what_is_learned_again(place: Place) -> None:
    inner = place.path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "f").touch()
    before = times(inner)

    os.rename(place.path / "outer", place.path / "moved")
    run("ls", "-lR", place.path)

    assert times(place.path / "moved" / "inner") == before
