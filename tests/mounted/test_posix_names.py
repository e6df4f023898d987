"""What each call answers to names that are missing, taken, too long, or of the wrong kind."""

import contextlib
import os
import socket
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.posix import BLOCK, CHAR, KINDS, OK, Call, answer, stored
from tests.mounted.programs import shell
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import mounted

LONG = "x" * 256
LONGEST = "x" * 255
LONG_PATH = "./" * 2048
LONGEST_TARGET = "t/" * 2047 + "t"  # PATH_MAX without its zero byte

# Calls with one name, and kinds that they are not for.
CALLS: dict[str, Callable[[str], object]] = {
    "open": lambda name: os.close(os.open(name, os.O_RDONLY)),
    "create": lambda name: os.close(os.open(name, os.O_CREAT | os.O_WRONLY, 0o644)),
    "stat": os.stat,
    "chmod": lambda name: os.chmod(name, 0o600),
    "chown": lambda name: os.chown(name, 1, 1),
    "lchown": lambda name: os.lchown(name, 1, 1),
    "utime": os.utime,
    "truncate": lambda name: os.truncate(name, 0),
    "mkdir": os.mkdir,
    "rmdir": os.rmdir,
    "unlink": os.unlink,
    "mkfifo": os.mkfifo,
    "mknod": lambda name: os.mknod(name, stat.S_IFREG | 0o644),
    "symlink": lambda name: os.symlink("target", name),
    "readlink": os.readlink,
    "rename from": lambda name: os.rename(name, "elsewhere"),
    "rename to": lambda name: os.rename("file", name),
    "link from": lambda name: os.link(name, "elsewhere"),
    "link to": lambda name: os.link("file", name),
    "listdir": os.listdir,
}
MAKING = {"create", "mkdir", "mkfifo", "mknod", "symlink", "rename to", "link to"}


@pytest.fixture
def there(place: Place) -> Place:
    """A directory with one of each kind in it."""
    for kind, make in KINDS.items():
        make(place.path / kind)
    (place.path / "full").mkdir()
    (place.path / "full" / "f").touch()
    os.symlink("loop", place.path / "loop")
    os.symlink("file", place.path / "good")
    return place


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("file/n", "ENOTDIR"),
        ("fifo/n", "ENOTDIR"),
        ("nothing/n", "ENOENT"),
        ("symlink/n", "ENOENT"),
        ("loop/n", "ELOOP"),
        (LONG, "ENAMETOOLONG"),
        (f"directory/{LONG}", "ENAMETOOLONG"),
        (f"{LONG}/n", "ENAMETOOLONG"),
        (f"{LONG_PATH}/n", "ENAMETOOLONG"),
        ("", "ENOENT"),
    ],
    ids=lambda value: value if len(value) < 20 else f"{value[:9]}...{len(value)}",
)
def test_a_path_that_leads_nowhere_is_refused(there: Place, name: str, expected: str) -> None:
    answers = {call: answer(partial(make, name), there.path) for call, make in CALLS.items()}

    assert answers == dict.fromkeys(CALLS, expected)


def test_a_name_that_is_missing_is_refused_or_made(place: Place) -> None:
    for call in CALLS.keys() - MAKING - {"rename to", "link to"}:
        assert answer(partial(CALLS[call], "n"), place.path) == "ENOENT", call
    for call in MAKING - {"rename to", "link to"}:
        assert answer(partial(CALLS[call], f"new {call}"), place.path) == OK, call


@pytest.mark.parametrize("kind", [*KINDS, "loop", "good"])
def test_a_name_that_is_taken_is_refused(there: Place, kind: str) -> None:
    for call in ("mkdir", "mkfifo", "mknod", "symlink", "link to"):
        assert answer(partial(CALLS[call], kind), there.path) == "EEXIST", call
    exclusive = partial(os.open, kind, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    assert answer(exclusive, there.path) == "EEXIST"


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (partial(os.rmdir, "file"), "ENOTDIR"),
        (partial(os.rmdir, "fifo"), "ENOTDIR"),
        (partial(os.rmdir, "symlink"), "ENOTDIR"),
        (partial(os.rmdir, "full"), "ENOTEMPTY"),
        (partial(os.rmdir, "directory/."), "EINVAL"),
        (partial(os.rmdir, "full/.."), "ENOTEMPTY"),
        (partial(os.unlink, "directory"), "EISDIR"),
        (partial(os.truncate, "directory", 0), "EISDIR"),
        (partial(os.truncate, "file", -1), "EINVAL"),
        (partial(os.truncate, "fifo", 0), "EINVAL"),
        (partial(os.truncate, "loop", 0), "ELOOP"),
        (partial(os.truncate, "file", 1 << 50), "EFBIG"),
        (partial(os.open, "directory", os.O_WRONLY), "EISDIR"),
        (partial(os.open, "directory", os.O_RDWR), "EISDIR"),
        (partial(os.open, "directory", os.O_RDONLY | os.O_TRUNC), "EISDIR"),
        (partial(os.open, "directory", os.O_RDONLY | os.O_CREAT), "EISDIR"),
        (partial(os.open, "file", os.O_RDONLY | os.O_DIRECTORY), "ENOTDIR"),
        (partial(os.open, "good", os.O_RDONLY | os.O_NOFOLLOW), "ELOOP"),
        (partial(os.open, "symlink", os.O_RDONLY), "ENOENT"),
        (partial(os.open, "symlink", os.O_RDONLY | os.O_CREAT | os.O_EXCL), "EEXIST"),
        (partial(os.open, "loop", os.O_RDONLY), "ELOOP"),
        (partial(os.open, "socket", os.O_RDONLY), "ENXIO"),
        (partial(os.open, "fifo", os.O_WRONLY | os.O_NONBLOCK), "ENXIO"),
        (partial(os.readlink, "file"), "EINVAL"),
        (partial(os.readlink, "directory"), "EINVAL"),
        (partial(os.symlink, "", "new"), "ENOENT"),
        (partial(os.symlink, LONGEST_TARGET + "x", "new"), "ENAMETOOLONG"),
        (partial(os.rename, "directory", "file"), "ENOTDIR"),
        (partial(os.rename, "directory", "fifo"), "ENOTDIR"),
        (partial(os.rename, "directory", "symlink"), "ENOTDIR"),
        (partial(os.rename, "file", "directory"), "EISDIR"),
        (partial(os.rename, "symlink", "directory"), "EISDIR"),
        (partial(os.rename, "directory", "full"), "ENOTEMPTY"),
        (partial(os.rename, "full", "full/inside"), "EINVAL"),
        (partial(os.rename, "directory", "directory/a/b"), "ENOENT"),
        (partial(os.rename, "directory/.", "other"), "EBUSY"),
        (partial(os.rename, "directory", "full/.."), "EBUSY"),
        (partial(os.rename, "full/f", "full/f"), OK),
        (partial(os.rename, "full", "directory"), OK),
        (partial(os.rename, "fifo", "file"), OK),
        (partial(os.rename, "file", "fifo"), OK),
        (partial(os.rename, "symlink", "file"), OK),
        (partial(os.rename, "file", LONGEST), OK),
        (partial(os.link, "file", "hard"), "EPERM"),
        (partial(os.link, "directory", "hard"), "EPERM"),
        (partial(os.open, "char", os.O_RDONLY), "EACCES"),  # FUSE mounts with nodev
    ],
    ids=lambda value: (
        value if isinstance(value, str) else f"{value.func.__name__} {str(value.args)[:40]}"
    ),
)
def test_a_call_answers_as_posix_says(there: Place, call: Call, expected: str) -> None:
    assert answer(call, there.path) == expected


@pytest.mark.parametrize(
    ("kind", "letter", "device"),
    [("fifo", "1", 0), ("socket", "14", 0), ("char", "2", CHAR), ("block", "6", BLOCK)],
)
def test_a_special_file_is_an_empty_object_with_its_type(
    place: Place, kind: str, letter: str, device: int
) -> None:
    KINDS[kind](place.path / "n")
    os.rename(place.path / "n", place.path / "m")
    os.utime(place.path / "m", (5, 5))

    assert (place.path / "m").lstat().st_rdev == device
    assert place.sdk.get(place.prefix + "m") == b""
    with place.fresh() as path:
        assert [entry.name for entry in os.scandir(path) if not entry.is_file()] == ["m"]
        assert f"{(path / 'm').lstat().st_mode:o}" == f"{letter}0644"
        assert (path / "m").lstat().st_rdev == device
        os.chmod(path / "m", 0o600)
        assert (path / "m").lstat().st_rdev == device
    assert stored(place, "m") == f"{letter}0600 0:0"
    (place.path / "m").unlink()
    assert place.sdk.keys(place.prefix) == [place.prefix]


def test_device_nodes_are_copied_as_such(place: Place) -> None:
    shell(
        "mkdir a; mknod a/null c 1 3; mknod a/loop b 7 0; cp -a a b; tar -cf t a;"
        " mkdir c; tar -xf t -C c; rsync -a a d",
        place.path,
    )

    for copy in ("a", "b", "c/a", "d/a"):
        assert (place.path / copy / "null").lstat().st_rdev == CHAR, copy
        assert (place.path / copy / "loop").lstat().st_rdev == BLOCK, copy


def test_a_device_node_opens_where_devices_are_allowed(emulator: EmulatorProcess) -> None:
    with mounted(emulator, options=["-o", "dev"]) as mount:
        os.mknod(mount.path / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))

        with (mount.path / "zero").open("rb", buffering=0) as file:
            assert file.read(3) == bytes(3)


def test_a_directory_counts_the_directories_in_it(place: Place) -> None:
    shell("mkdir -p a/x a/y b; touch a/f", place.path)
    assert [(place.path / name).stat().st_nlink for name in ("a", "b", "a/x")] == [4, 2, 2]

    shell("mv a/x b; rmdir a/y; ln -s x b/link", place.path)

    assert [(place.path / name).stat().st_nlink for name in ("a", "b", "b/x")] == [2, 3, 2]
    with place.fresh() as path:
        os.listdir(path / "b")
        assert (path / "b").stat().st_nlink == 3
        assert (path / "b" / "link").lstat().st_nlink == 1


def test_a_pipe_passes_bytes_on(place: Place) -> None:
    os.mkfifo(place.path / "pipe")
    reading = os.open(place.path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(place.path / "pipe", os.O_WRONLY)

    os.write(writing, b"through the kernel")
    assert os.read(reading, 100) == b"through the kernel"
    os.close(writing)
    os.close(reading)


def test_a_socket_can_be_bound_and_connected_to(place: Place) -> None:
    with (
        contextlib.chdir(place.path),  # a socket's address has 108 bytes
        socket.socket(socket.AF_UNIX) as server,
        socket.socket(socket.AF_UNIX) as client,
    ):
        server.bind("s")
        server.listen()
        client.connect("s")
        assert stat.S_ISSOCK(os.stat("s").st_mode)


@pytest.mark.parametrize("target", ["t", "a/../b", "目标", LONGEST_TARGET], ids=len)
def test_a_symlink_holds_any_target(place: Place, target: str) -> None:
    os.symlink(target, place.path / "link")

    assert os.readlink(place.path / "link") == target
    assert (place.path / "link").lstat().st_size == len(target.encode())
    with place.fresh() as path:
        assert os.readlink(path / "link") == target


def test_a_symlink_holds_a_target_that_is_no_text(place: Place) -> None:
    os.symlink(b"\xff\xfe", os.fsencode(place.path / "link"))

    assert os.readlink(os.fsencode(place.path / "link")) == b"\xff\xfe"


def test_flags_of_open_are_obeyed(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"0123456789")

    with path.open("ab", buffering=0) as file:
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        file.write(b"end")
    assert path.read_bytes() == b"0123456789end"
    descriptor = os.open(path, os.O_RDWR | os.O_TRUNC | os.O_CREAT, 0o600)
    os.close(descriptor)
    assert path.read_bytes() == b""
    assert f"{path.stat().st_mode:o}" == "100644"
    os.close(os.open(place.path / "closed", os.O_CREAT | os.O_WRONLY, 0o000))
    assert f"{(place.path / 'closed').stat().st_mode:o}" == "100000"


def test_space_can_be_reserved(place: Place) -> None:
    with (place.path / "f").open("w+b") as file:
        os.posix_fallocate(file.fileno(), 0, 100_000)
        os.posix_fallocate(file.fileno(), 5_000, 10)

    place.assert_holds({"f": bytes(100_000)})


def test_a_path_longer_than_a_key_is_refused(place: Place) -> None:
    below = place.path
    for _ in range(3):
        below /= "d" * 250
        below.mkdir()

    assert answer(partial(os.mkdir, "d" * 250), below) == "ENAMETOOLONG"
    assert answer(partial(os.open, "d" * 250, os.O_CREAT | os.O_WRONLY), below) == "ENAMETOOLONG"
    assert answer(partial(os.mkdir, "d" * 50), below) == OK


def test_names_at_the_limit_can_be_used(place: Place) -> None:
    for make in KINDS.values():
        make(place.path / LONGEST)
        assert os.listdir(place.path) == [LONGEST]
        os.rename(place.path / LONGEST, place.path / ("y" * 255))
        remove = os.rmdir if (place.path / ("y" * 255)).is_dir() else os.unlink
        remove(place.path / ("y" * 255))
    assert os.listdir(Path(place.path)) == []
