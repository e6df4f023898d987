"""Options that change who may do what: whose everything is, who gets in, and whether to write."""

import errno
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.posix import KINDS, OK, Call, answer, shape, shared_mount, stored
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import Mounted, mounted

OWNER, GROUP, OTHER = 4321, 1234, 65534
ME = os.geteuid()


@pytest.fixture(scope="module")
def mount(emulator: EmulatorProcess) -> Iterator[Mounted]:
    options = ("-o", f"uid={OWNER},gid={GROUP},umask=027")
    with shared_mount(emulator, *options) as mount:
        yield mount


@pytest.mark.parametrize("kind", KINDS)
def test_everything_made_belongs_to_the_owner_that_is_shown(place: Place, kind: str) -> None:
    KINDS[kind](place.path / "n")

    mode = {"directory": "0750", "symlink": "0777"}.get(kind, "0640")
    assert shape(place.path / "n") == f"{mode} {OWNER}:{GROUP}"
    assert shape(place.path) == f"0750 {OWNER}:{GROUP}"


def test_a_file_that_is_being_written_belongs_to_the_owner_already(place: Place) -> None:
    with (place.path / "f").open("wb") as file:
        file.write(b"x")
        file.flush()
        assert shape(place.path / "f") == f"0640 {OWNER}:{GROUP}"

    assert shape(place.path / "f") == f"0640 {OWNER}:{GROUP}"


def test_what_is_stored_stays_until_it_is_changed(place: Place) -> None:
    kept = {"x-cos-meta-mode": "33279", "x-cos-meta-uid": "7", "x-cos-meta-gid": "8"}
    place.sdk.put(place.prefix + "theirs", b"x", kept)
    with shared_mount(place.emulator, "-o", f"uid={OWNER},gid={GROUP},umask=027") as mount:
        path = mount.path / place.prefix / "theirs"
        assert shape(path) == f"0750 {OWNER}:{GROUP}"
        with path.open("ab") as file:
            file.write(b"y")

    assert stored(place, "theirs") == "100777 7:8"


@pytest.mark.parametrize(
    ("user", "groups", "expected"),
    [(OWNER, [], OK), (OTHER, [GROUP], "EACCES"), (OTHER, [], "EACCES"), (0, [], OK)],
)
def test_rights_are_those_of_what_is_shown(
    place: Place, user: int, groups: list[int], expected: str
) -> None:
    (place.path / "f").write_bytes(b"x")

    make = partial(os.open, "new", os.O_CREAT | os.O_WRONLY)
    assert answer(make, place.path, user, groups) == expected
    assert answer(partial(os.truncate, "f", 0), place.path, user, groups) == expected
    may_read = OK if expected == OK or GROUP in groups else "EACCES"
    assert answer(partial(os.open, "f", os.O_RDONLY), place.path, user, groups) == may_read


def test_others_stay_outside_unless_they_are_let_in(emulator: EmulatorProcess) -> None:
    with mounted(emulator) as mount:
        mount.path.parent.chmod(0o711)
        (mount.path / "open to all").mkdir()
        (mount.path / "open to all").chmod(0o777)

        assert answer(partial(os.listdir, mount.path), Path("/"), OTHER) == "EACCES"
        assert answer(partial(os.listdir, mount.path), Path("/"), ME) == OK
        (mount.path / "open to all").rmdir()


@pytest.mark.parametrize("options", ["ro", "ro,default_permissions,noatime", "read_only"])
def test_nothing_changes_on_a_read_only_mount(
    emulator: EmulatorProcess, place: Place, options: str
) -> None:
    (place.path / "f").write_bytes(b"x")
    calls: list[Call] = [
        partial(os.open, "new", os.O_CREAT | os.O_WRONLY),
        partial(os.open, "f", os.O_WRONLY),
        partial(os.open, "f", os.O_RDONLY | os.O_TRUNC),
        partial(os.mkdir, "new"),
        partial(os.mkfifo, "new"),
        partial(os.symlink, "f", "new"),
        partial(os.unlink, "f"),
        partial(os.rename, "f", "g"),
        partial(os.link, "f", "g"),
        partial(os.chmod, "f", 0o600),
        partial(os.chown, "f", 1, 1),
        partial(os.truncate, "f", 0),
        partial(os.utime, "f"),
    ]
    with mounted(emulator, options=["-o", options]) as mount:
        here = mount.path / place.prefix
        answers = [answer(call, here) for call in calls]
        assert answers == [errno.errorcode[errno.EROFS]] * len(calls)
        assert (here / "f").read_bytes() == b"x"
        assert os.statvfs(here).f_flag & os.ST_RDONLY


def test_what_is_asked_for_is_stored_and_shown_as_everything_is(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")

    path.chmod(0o1777)
    os.chown(path, 5, 6)

    assert shape(path) == f"1750 {OWNER}:{GROUP}"
    with path.open("rb") as file:
        os.fsync(file.fileno())
    assert shape(path) == f"1750 {OWNER}:{GROUP}"
    assert stored(place, "f") == "101777 5:6"
