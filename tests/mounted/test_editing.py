"""Programs that change files in place, and read what is being written."""

import mmap
import os

import pytest

from tests.mounted.conftest import Place
from tests.mounted.programs import content, run, shell

MIB = 1 << 20


def test_appending_keeps_what_is_there(place: Place) -> None:
    data = content(20 * MIB)
    (place.path / "large").write_bytes(data)
    shell("echo a > f; echo b >> f; echo c >> f; echo new >> g; echo end >> large", place.path)

    place.assert_holds({"f": b"a\nb\nc\n", "g": b"new\n", "large": data + b"end\n"})


def test_sed_in_place_changes_the_file(place: Place) -> None:
    shell("seq 1000 > f; sed -i 's/^5$/five/' f; sed -i '1d' f", place.path)

    lines = [str(number) for number in range(2, 1001)]
    lines[3] = "five"
    place.assert_holds({"f": ("\n".join(lines) + "\n").encode()})


@pytest.mark.parametrize("size", [0, 1, 3 * MIB + 1, 20 * MIB, 20 * MIB + 100_001])
def test_truncate_cuts_and_extends(place: Place, size: int) -> None:
    data = content(20 * MIB)
    (place.path / "f").write_bytes(data)

    run("truncate", "-s", str(size), place.path / "f")

    place.assert_holds({"f": data[:size].ljust(size, b"\0")})


def test_truncate_makes_a_file_of_zeros(place: Place) -> None:
    run("truncate", "-s", "9M", place.path / "f")

    place.assert_holds({"f": bytes(9 * MIB)})


@pytest.mark.parametrize("seek", [0, 5, 13 * MIB, 20 * MIB, 24 * MIB])
def test_dd_notrunc_changes_a_range(place: Place, seek: int) -> None:
    data, patch = bytearray(content(20 * MIB)), content(1500, seed=3)
    (place.path / "f").write_bytes(data)
    (place.path / "patch").write_bytes(patch)

    shell(
        f"dd if=patch of=f bs=100 seek={seek} oflag=seek_bytes conv=notrunc status=none",
        place.path,
    )

    data.extend(bytes(max(0, seek - len(data))))
    data[seek : seek + len(patch)] = patch
    place.assert_holds({"f": bytes(data), "patch": patch})


def test_a_header_rewritten_at_the_end_is_stored(place: Place) -> None:
    data = bytearray(content(30 * MIB))

    with (place.path / "f").open("wb") as file:
        file.write(data)
        file.seek(4)
        file.write(b"header")

    data[4:10] = b"header"
    place.assert_holds({"f": bytes(data)})


def test_a_file_written_backwards_is_stored(place: Place) -> None:
    data = content(12 * MIB)

    with (place.path / "f").open("wb") as file:
        for start in reversed(range(0, len(data), MIB)):
            file.seek(start)
            file.write(data[start : start + MIB])

    place.assert_holds({"f": data})


def test_a_sparse_file_reads_as_zeros(place: Place) -> None:
    with (place.path / "f").open("wb") as file:
        file.seek(18 * MIB)
        file.write(b"end")

    place.assert_holds({"f": bytes(18 * MIB) + b"end"})


def test_what_is_being_written_can_be_read(place: Place) -> None:
    data = content(20 * MIB)

    with (place.path / "f").open("wb") as file:
        file.write(data[: 19 * MIB])
        file.flush()
        while_written = (place.path / "f").read_bytes()
        file.write(data[19 * MIB :])

    assert while_written == data[: 19 * MIB]
    place.assert_holds({"f": data})


def test_reading_and_writing_through_one_descriptor_agree(place: Place) -> None:
    data = bytearray(content(10 * MIB))
    (place.path / "f").write_bytes(data)

    with (place.path / "f").open("r+b") as file:
        file.seek(1000)
        file.write(b"changed")
        file.seek(990)
        around = file.read(30)

    data[1000:1007] = b"changed"
    assert around == data[990:1020]
    place.assert_holds({"f": bytes(data)})


def test_a_mapped_file_can_be_changed(place: Place) -> None:
    data = bytearray(content(5 * MIB))
    (place.path / "f").write_bytes(data)

    with (place.path / "f").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[100:105] = b"first"
        mapped.flush()
        mapped[4 * MIB : 4 * MIB + 6] = b"second"
        mapped.flush()

    data[100:105], data[4 * MIB : 4 * MIB + 6] = b"first", b"second"
    place.assert_holds({"f": bytes(data)})


def test_an_exclusive_create_makes_a_file_once(place: Place) -> None:
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    os.close(os.open(place.path / "f", flags))

    with pytest.raises(FileExistsError):
        os.open(place.path / "f", flags)
