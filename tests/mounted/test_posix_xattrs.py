"""Extended attributes: with the option xattr, and without it."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cosfs.namespace import xattrs
from tests.mounted.conftest import Place
from tests.mounted.posix import KINDS, answer, shared_mount
from tests.mounted.programs import content, eventually, run
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import Mounted, mounted

HEADER = "x-cos-meta-xattr"


@pytest.fixture(scope="module")
def mount(emulator: EmulatorProcess) -> Iterator[Mounted]:
    with shared_mount(emulator, "-o", "xattr") as mount:
        yield mount


def stored(place: Place, name: str) -> dict[bytes, bytes]:
    return xattrs.decode(place.sdk.head(place.prefix + name).get(HEADER, ""))


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(OSError) as caught:  # noqa: PT011 - the caller asks which
        call()
    return errno.errorcode[caught.value.errno or 0]


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_attributes_are_set_read_listed_and_removed(place: Place, kind: str) -> None:
    path = place.path / "n"
    KINDS[kind](path)
    key = "n/" if kind == "directory" else "n"

    os.setxattr(path, "user.one", b"1")
    os.setxattr(path, b"user.\xff\xe4", b"")
    os.setxattr(path, "trusted.two", bytes(range(256)))
    os.setxattr(path, "user.one", b"another")

    assert os.getxattr(path, "user.one") == b"another"
    assert os.getxattr(path, b"user.\xff\xe4") == b""
    assert {os.fsencode(name) for name in os.listxattr(path)} == {
        b"user.one",
        b"user.\xff\xe4",
        b"trusted.two",
    }
    os.removexattr(path, "trusted.two")
    assert refused(lambda: os.getxattr(path, "trusted.two")) == "ENODATA"
    assert refused(lambda: os.removexattr(path, "trusted.two")) == "ENODATA"
    expected = {b"user.one": b"another", b"user.\xff\xe4": b""}
    eventually(lambda: stored(place, key) == expected)
    os.removexattr(path, "user.one")
    os.removexattr(path, b"user.\xff\xe4")
    assert os.listxattr(path) == []
    eventually(lambda: HEADER not in place.sdk.head(place.prefix + key))


def test_attributes_belong_to_what_they_were_set_on(place: Place) -> None:
    """They are kept by chmod, writing, renaming, and go with the file."""
    path = place.path / "f"
    path.write_bytes(b"content")
    os.setxattr(path, "user.a", b"a")
    path.chmod(0o600)
    with path.open("ab") as file:
        file.write(b" and more")
    path.rename(place.path / "g")

    assert os.getxattr(place.path / "g", "user.a") == b"a"
    assert stored(place, "g") == {b"user.a": b"a"}
    (place.path / "g").unlink()
    (place.path / "g").touch()
    assert os.listxattr(place.path / "g") == []


@pytest.mark.parametrize("size", [10, 20 << 20])
def test_an_attribute_of_a_file_that_is_written_goes_out_with_it(place: Place, size: int) -> None:
    with (place.path / "f").open("wb") as file:
        file.write(content(size))
        file.flush()
        os.setxattr(file.fileno(), "user.a", b"a")
        assert os.getxattr(file.fileno(), "user.a") == b"a"

    assert stored(place, "f") == {b"user.a": b"a"}
    place.assert_holds({"f": content(size)})


def test_flags_say_whether_it_may_be_there(place: Place) -> None:
    path = place.path / "f"
    path.touch()

    assert refused(lambda: os.setxattr(path, "user.a", b"1", os.XATTR_REPLACE)) == "ENODATA"
    os.setxattr(path, "user.a", b"1", os.XATTR_CREATE)
    assert refused(lambda: os.setxattr(path, "user.a", b"2", os.XATTR_CREATE)) == "EEXIST"
    os.setxattr(path, "user.b", b"2", os.XATTR_CREATE)
    os.setxattr(path, "user.a", b"3", os.XATTR_REPLACE)

    assert (os.getxattr(path, "user.a"), os.getxattr(path, "user.b")) == (b"3", b"2")


def test_what_has_no_room_is_refused_and_changes_nothing(place: Place) -> None:
    path = place.path / "f"
    path.touch()
    os.setxattr(path, "user.a", b"a")

    assert refused(lambda: os.setxattr(path, "user.large", bytes(2048))) == "ENOSPC"
    assert refused(lambda: os.setxattr(path, "user.huge", bytes(65537))) == "E2BIG"

    assert os.listxattr(path) == ["user.a"]
    os.utime(path, ns=(-1, 1_999_999_999_999_999_999))

    def fill() -> None:
        for number in range(100):
            os.setxattr(path, f"user.{number}", bytes(40))

    assert refused(fill) == "ENOSPC"
    path.chmod(0o7777)
    os.utime(path, ns=(2**62, 2**62 + 1))
    path.rename(place.path / "g")
    assert os.getxattr(place.path / "g", "user.0") == bytes(40)


def test_acls_are_not_kept(place: Place) -> None:
    path = place.path / "f"
    path.touch()
    acl = bytes.fromhex("02000000 01000600ffffffff 04000400ffffffff 20000400ffffffff")

    assert refused(lambda: os.setxattr(path, "system.posix_acl_access", acl)) == "ENOTSUP"
    assert refused(lambda: os.getxattr(path, "system.posix_acl_access")) in (
        "ENOTSUP",
        "ENODATA",
    )
    assert refused(lambda: os.setxattr(path, "other.name", b"x")) == "ENOTSUP"


def test_cp_keeps_attributes_and_mode(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    source.chmod(0o751)
    os.setxattr(source, "user.a", b"a")

    run("cp", "-a", source, place.path / "f")
    run("cp", "-a", place.path / "f", place.path / "g")

    for name in ("f", "g"):
        assert os.getxattr(place.path / name, "user.a") == b"a"
        assert (place.path / name).stat().st_mode == 0o100751


def test_names_are_for_those_who_may(place: Place) -> None:
    (place.path / "f").write_bytes(b"x")
    os.symlink("f", place.path / "link")
    os.setxattr(place.path / "f", "trusted.a", b"a")
    nobody = 65534

    def user() -> None:
        os.setxattr("f", "user.a", b"a")

    def trusted() -> None:
        os.setxattr("f", "trusted.a", b"a")

    def linked() -> None:
        os.setxattr("link", "user.a", b"a", follow_symlinks=False)

    assert answer(user, place.path, nobody) == "EACCES"
    assert answer(trusted, place.path, nobody) == "EPERM"
    assert answer(linked, place.path) == "EPERM"
    os.setxattr(place.path / "link", "trusted.a", b"on the link", follow_symlinks=False)
    assert os.getxattr(place.path / "f", "trusted.a") == b"a"


def test_attributes_of_a_directory_move_with_it(place: Place) -> None:
    (place.path / "d" / "e").mkdir(parents=True)
    os.setxattr(place.path / "d", "user.a", b"outer")
    os.setxattr(place.path / "d" / "e", "user.a", b"inner")

    (place.path / "d").rename(place.path / "moved")

    assert os.getxattr(place.path / "moved", "user.a") == b"outer"
    assert os.getxattr(place.path / "moved" / "e", "user.a") == b"inner"
    assert stored(place, "moved/") == {b"user.a": b"outer"}
    assert stored(place, "moved/e/") == {b"user.a": b"inner"}


def test_attributes_of_others_are_read(place: Place, emulator: EmulatorProcess) -> None:
    text = "%7B%22user.a%22%3A%22YQ%3D%3D%22%2C%22user.b%22%3A%22%22%7D"
    place.sdk.put(place.prefix + "f", b"x", {HEADER: text})

    with mounted(emulator, options=["-o", "xattr"]) as mount:
        path = mount.path / place.prefix / "f"
        assert {name: os.getxattr(path, name) for name in os.listxattr(path)} == {
            "user.a": b"a",
            "user.b": b"",
        }


def test_without_the_option_there_are_none_and_those_stored_stay(place: Place) -> None:
    path = place.path / "f"
    path.write_bytes(b"x")
    os.setxattr(path, "user.a", b"a")
    with path.open("rb") as file:
        os.fsync(file.fileno())

    with place.fresh() as fresh:
        assert refused(lambda: os.getxattr(fresh / "f", "user.a")) == "ENOTSUP"
        assert refused(lambda: os.setxattr(fresh / "f", "user.a", b"b")) == "ENOTSUP"
        Path(fresh / "f").chmod(0o600)
        Path(fresh / "f").rename(fresh / "g")
    assert stored(place, "g") == {b"user.a": b"a"}
