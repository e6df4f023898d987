"""Permissions, owners, and the bits that give an owner's rights away."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.posix import BY_ANYBODY, KINDS, OK, Call, answer, shape, shared_mount, stored
from tests.mounted.programs import eventually
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import Mounted

A, B = 65534, 65533  # users, and the groups that have their numbers


@pytest.fixture(scope="module")
def mount(emulator: EmulatorProcess) -> Iterator[Mounted]:
    with shared_mount(emulator) as mount:
        yield mount


def make(place: Place, kind: str, mode: int = 0o644, owner: tuple[int, int] = (0, 0)) -> Path:
    """Something named n, in a directory that all may write."""
    place.path.chmod(0o777)
    path = place.path / "n"
    KINDS[kind](path)
    os.chown(path, *owner, follow_symlinks=False)
    if kind != "symlink":
        path.chmod(mode)
    return path


@pytest.mark.parametrize("kind", ["file", "directory", "fifo", "socket", "char"])
def test_chmod_sets_permissions_of_every_kind(place: Place, kind: str) -> None:
    path = make(place, kind)
    before = path.stat().st_ctime_ns

    for mode in (0o111, 0o7777, 0o000, 0o1755):
        path.chmod(mode)
        assert shape(path) == f"{mode:04o} 0:0"
    assert path.stat().st_ctime_ns > before
    eventually(lambda: stored(place, "n") == f"{path.stat().st_mode:o} 0:0")


@pytest.mark.parametrize("kind", KINDS)
def test_chown_sets_the_owner_of_every_kind(place: Place, kind: str) -> None:
    path = make(place, kind)
    before = path.lstat().st_ctime_ns

    os.lchown(path, 123, 456)
    os.lchown(path, -1, 457)
    os.lchown(path, 124, -1)

    assert shape(path).endswith(" 124:457")
    assert path.lstat().st_ctime_ns > before
    eventually(lambda: stored(place, "n") == f"{path.lstat().st_mode:o} 124:457")


# What the file is, who calls what, the answer, and what the file is then.
RIGHTS: list[tuple[str, int, list[int], Call, str, str]] = [
    ("0644 A:A", A, [], lambda: os.chmod("n", 0o600), OK, "0600 A:A"),
    ("0644 A:A", B, [], lambda: os.chmod("n", 0o600), "EPERM", "0644 A:A"),
    ("0644 B:A", A, [], lambda: os.chmod("n", 0o600), "EPERM", "0644 B:A"),
    # The group bit is for members only.
    ("0644 A:A", A, [], lambda: os.chmod("n", 0o2755), OK, "2755 A:A"),
    ("0644 A:B", A, [], lambda: os.chmod("n", 0o2755), OK, "0755 A:B"),
    ("0644 A:B", A, [A, B], lambda: os.chmod("n", 0o2755), OK, "2755 A:B"),
    ("0644 A:B", 0, [], lambda: os.chmod("n", 0o2755), OK, "2755 A:B"),
    # Owners may give a file to their own groups and to nobody else.
    ("0644 A:A", A, [A, B], lambda: os.chown("n", -1, B), OK, "0644 A:B"),
    ("0644 A:A", A, [A, B], lambda: os.chown("n", A, B), OK, "0644 A:B"),
    ("0644 A:A", A, [], lambda: os.chown("n", -1, B), "EPERM", "0644 A:A"),
    ("0644 A:A", A, [], lambda: os.chown("n", B, -1), "EPERM", "0644 A:A"),
    ("0644 A:A", B, [A, B], lambda: os.chown("n", -1, B), "EPERM", "0644 A:A"),
    # A new owner does not inherit the right to become the old one.
    ("6555 A:A", A, [A, B], lambda: os.chown("n", -1, B), OK, "0555 A:B"),
    ("6555 A:A", A, [A], lambda: os.chown("n", -1, -1), OK, "0555 A:A"),
    ("6555 A:A", 0, [], lambda: os.chown("n", B, B), OK, "0555 B:B"),
    ("6644 A:A", 0, [], lambda: os.chown("n", B, B), OK, "2644 B:B"),
    # Nor does who changes the content.
    ("6777 A:A", B, [], lambda: write("n", os.O_WRONLY), OK, "0777 A:A"),
    ("6777 A:A", A, [], lambda: write("n", os.O_RDWR), OK, "0777 A:A"),
    ("6777 A:A", 0, [], lambda: write("n", os.O_WRONLY), OK, "6777 A:A"),
    ("6777 A:A", B, [], lambda: os.truncate("n", 7), OK, "0777 A:A"),
    ("6777 A:A", B, [], lambda: ftruncate("n"), OK, "0777 A:A"),
    (
        "6777 A:A",
        B,
        [],
        lambda: os.close(os.open("n", os.O_WRONLY | os.O_TRUNC)),
        OK,
        "0777 A:A",
    ),
    ("6777 A:A", 0, [], lambda: os.truncate("n", 7), OK, "6777 A:A"),
    ("2766 A:B", A, [A, B], lambda: write("n", os.O_WRONLY), OK, "2766 A:B"),
    # Truncating needs the right to write.
    ("0644 A:A", B, [], lambda: os.truncate("n", 7), "EACCES", "0644 A:A"),
    ("0644 A:A", A, [], lambda: os.truncate("n", 7), OK, "0644 A:A"),
    ("0444 A:A", A, [], lambda: os.open("n", os.O_RDWR), "EACCES", "0444 A:A"),
    ("0604 A:B", B, [], lambda: os.open("n", os.O_RDONLY), "EACCES", "0604 A:B"),
    ("0640 A:B", B, [], lambda: os.open("n", os.O_RDONLY), OK, "0640 A:B"),
    ("0000 A:A", 0, [], lambda: os.open("n", os.O_RDWR), OK, "0000 A:A"),
    # Times: anything for owners, now for those who may write.
    ("0644 A:A", A, [], lambda: os.utime("n", (1, 2)), OK, "0644 A:A"),
    ("0666 A:A", B, [], lambda: os.utime("n", (1, 2)), "EPERM", "0666 A:A"),
    ("0666 A:A", B, [], lambda: os.utime("n"), OK, "0666 A:A"),
    ("0644 A:A", B, [], lambda: os.utime("n"), "EACCES", "0644 A:A"),
]


def write(name: str, flags: int) -> None:
    descriptor = os.open(name, flags)
    os.write(descriptor, b"x")
    os.close(descriptor)


def sync(path: Path) -> None:
    """What was collected is stored."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def ftruncate(name: str) -> None:
    descriptor = os.open(name, os.O_WRONLY)
    os.ftruncate(descriptor, 3)
    os.close(descriptor)


@pytest.mark.parametrize("case", range(len(RIGHTS)))
def test_rights_are_those_of_the_owner_and_the_mode(place: Place, case: int) -> None:
    before, user, groups, call, expected, after = RIGHTS[case]
    mode, owner = before.split()
    user_id, group_id = (numbered(name) for name in owner.split(":"))
    path = make(place, "file", int(mode, 8), (user_id, group_id))

    assert answer(call, place.path, user, groups) == expected
    assert lettered(shape(path)) == after
    sync(path)
    assert lettered(stored(place, "n")) == f"10{after}"


def numbered(letter: str) -> int:
    return {"A": A, "B": B}[letter]


def lettered(shown: str) -> str:
    return shown.replace(str(A), "A").replace(str(B), "B")


def test_chown_leaves_the_bits_of_a_directory(place: Place) -> None:
    path = make(place, "directory", 0o6755)

    os.chown(path, A, A)

    assert shape(path) == f"6755 {A}:{A}"


@pytest.mark.parametrize("kind", BY_ANYBODY)
def test_what_is_made_belongs_to_its_maker(place: Place, kind: str) -> None:
    place.path.chmod(0o777)

    assert answer(lambda: KINDS[kind](Path("n")), place.path, A, [B]) == OK

    assert shape(place.path / "n").endswith(f" {A}:{B}")


def test_only_root_makes_device_nodes(place: Place) -> None:
    place.path.chmod(0o777)

    assert answer(lambda: KINDS["char"](Path("n")), place.path, A) == "EPERM"


@pytest.mark.parametrize("access", [os.O_WRONLY, os.O_RDWR])
def test_the_first_write_to_a_new_file_takes_away_what_it_lends(place: Place, access: int) -> None:
    place.path.chmod(0o777)

    def make_and_write() -> None:
        descriptor = os.open("n", access | os.O_CREAT, 0o6755)
        os.write(descriptor, b"x")
        assert os.fstat(descriptor).st_mode == 0o100755
        os.close(descriptor)

    assert answer(make_and_write, place.path, A) == OK


@pytest.mark.parametrize("kind", BY_ANYBODY)
def test_a_setgid_directory_gives_its_group_to_what_is_made_in_it(place: Place, kind: str) -> None:
    parent = make(place, "directory", 0o2777, (0, 1234))

    assert answer(lambda: KINDS[kind](Path("x")), parent, A) == OK

    expected = {"directory": "2755", "symlink": "0777"}.get(kind, "0644")
    assert shape(parent / "x") == f"{expected} {A}:1234"
    kept = stored(place, "n/x")
    assert kept == f"{(parent / 'x').lstat().st_mode:o} {A}:1234"


# In a directory of A's that all may write: who may remove or rename what B owns?
@pytest.mark.parametrize(
    ("mode", "user", "expected"),
    [
        (0o1777, A, OK),  # the directory's owner
        (0o1777, B, OK),  # the file's
        (0o1777, 1234, "EPERM"),
        (0o0777, 1234, OK),
        (0o0755, B, "EACCES"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_sticky_directory_protects_what_others_own(
    place: Place, kind: str, mode: int, user: int, expected: str
) -> None:
    parent = make(place, "directory", mode, (A, A))
    KINDS[kind](parent / "x")
    os.lchown(parent / "x", B, B)
    remove = os.rmdir if kind == "directory" else os.unlink

    # A directory that leaves its parent is changed itself: ".." is another.
    assert answer(lambda: os.rename("x", "y"), parent, user) == expected
    name = "y" if expected == OK else "x"
    assert answer(lambda: remove(name), parent, user) == expected


@pytest.mark.parametrize(
    "call",
    [
        partial(os.open, "closed/x", os.O_RDONLY),
        partial(os.open, "closed/new", os.O_CREAT | os.O_WRONLY),
        partial(os.mkdir, "closed/new"),
        partial(os.mkfifo, "closed/new"),
        partial(os.symlink, "x", "closed/new"),
        partial(os.unlink, "closed/x"),
        partial(os.rename, "closed/x", "y"),
        partial(os.rename, "mine", "closed/y"),
        partial(os.chmod, "closed/x", 0o600),
        partial(os.lchown, "closed/x", A, A),
        partial(os.truncate, "closed/x", 0),
        partial(os.utime, "closed/x"),
        partial(os.stat, "closed/x"),
        partial(os.listdir, "closed"),
    ],
    ids=lambda call: f"{call.func.__name__} {call.args[0]}",
)
def test_a_directory_without_rights_lets_nobody_through(
    place: Place, call: "partial[object]"
) -> None:
    place.path.chmod(0o777)
    for name in ("closed", "mine"):
        (place.path / name).mkdir()
        (place.path / name / "x").touch()
    os.chown(place.path / "mine", A, A)
    (place.path / "closed").chmod(0o600)
    os.chown(place.path / "closed" / "x", A, A)

    assert answer(call, place.path, A) == "EACCES"
