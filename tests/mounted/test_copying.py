"""Programs that write files front to back."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.programs import content, digest, run, shell

MIB = 1 << 20


@pytest.mark.parametrize("size", [0, 1, MIB - 1, 8 * MIB, 8 * MIB + 1, 20 * MIB + 3])
def test_cp_of_any_size_stores_the_same_bytes(place: Place, tmp_path: Path, size: int) -> None:
    data = content(size)
    (tmp_path / "source").write_bytes(data)

    run("cp", tmp_path / "source", place.path / "copy")

    place.assert_holds({"copy": data})


def test_cp_of_a_large_file_stores_the_same_bytes(place: Place, tmp_path: Path) -> None:
    source = tmp_path / "source"
    data = content(200 * MIB + 12345)
    source.write_bytes(data)

    run("cp", source, place.path / "large")

    run("cmp", source, place.path / "large")
    assert digest(place.sdk.get(place.prefix + "large")) == digest(data)
    with place.fresh() as path:
        run("cmp", source, path / "large")


def test_cp_over_a_longer_file_leaves_nothing_of_it(place: Place, tmp_path: Path) -> None:
    data = content(3 * MIB)
    (tmp_path / "source").write_bytes(data)
    (place.path / "file").write_bytes(content(10 * MIB, seed=2))

    run("cp", tmp_path / "source", place.path / "file")

    place.assert_holds({"file": data})


@pytest.mark.parametrize("block_size", [777, 100_003, 9 * MIB + 1])
def test_dd_with_an_odd_block_size_stores_the_same_bytes(
    place: Place, tmp_path: Path, block_size: int
) -> None:
    data = content(min(19 * MIB, 30_000 * block_size) + 5)
    source = tmp_path / "source"
    source.write_bytes(data)

    run("dd", f"if={source}", f"of={place.path}/copy", f"bs={block_size}", "status=none")

    place.assert_holds({"copy": data})


def test_dd_with_fsync_and_direct_blocks_stores_the_same_bytes(
    place: Place, tmp_path: Path
) -> None:
    data = content(10 * MIB)
    source = tmp_path / "source"
    source.write_bytes(data)

    run("dd", f"if={source}", f"of={place.path}/copy", "bs=64K", "conv=fsync", "status=none")

    place.assert_holds({"copy": data})


def test_eight_writers_at_once_do_not_mix(place: Place, tmp_path: Path) -> None:
    files = {f"copy-{number}": content(11 * MIB + number, seed=number) for number in range(8)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda name: run("cp", tmp_path / name, place.path / name), files))

    place.assert_holds(files)


def test_a_file_flushed_while_it_is_written_holds_everything(place: Place) -> None:
    lines = [f"line {number} {'x' * 100}\n" for number in range(5000)]

    with (place.path / "log").open("w") as log:
        for number, line in enumerate(lines):
            log.write(line)
            if number % 1000 == 0:
                log.flush()
                os.fsync(log.fileno())

    place.assert_holds({"log": "".join(lines).encode()})


def test_a_large_file_synchronised_halfway_holds_everything(place: Place) -> None:
    data = content(30 * MIB)

    with (place.path / "file").open("wb") as file:
        file.write(data[: 13 * MIB])
        file.flush()
        os.fsync(file.fileno())
        halfway = place.sdk.get(place.prefix + "file")
        file.write(data[13 * MIB :])

    assert halfway == data[: 13 * MIB]
    place.assert_holds({"file": data})


def test_two_commands_behind_one_redirection_both_arrive(place: Place) -> None:
    shell("( echo a; /bin/echo b; echo c ) > f", place.path)

    place.assert_holds({"f": b"a\nb\nc\n"})


def test_echo_is_one_put_and_never_an_empty_object(place: Place) -> None:
    shell("echo first > old", place.path)
    place.emulator.forget_requests()

    shell("echo x > f; echo y > old; /bin/echo z > g", place.path)

    puts = [r for r in place.emulator.requests() if r["operation"] == "PutObject"]
    assert [(r["key"], r["bytes_in"]) for r in puts] == [
        (place.prefix + "f", 2),
        (place.prefix + "old", 2),
        (place.prefix + "g", 2),
    ]
    place.assert_holds({"f": b"x\n", "old": b"y\n", "g": b"z\n"})


def test_an_empty_file_is_stored(place: Place) -> None:
    shell("touch a; : > b; echo lost > c; : > c", place.path)

    place.assert_holds({"a": b"", "b": b"", "c": b""})


def test_touch_sets_the_time_and_keeps_the_content(place: Place) -> None:
    shell("echo x > f; touch -d '2001-02-03 04:05:06 UTC' f", place.path)

    place.assert_holds({"f": b"x\n"})
    with place.fresh() as path:
        assert (path / "f").stat().st_mtime == 981173106


def test_a_pipe_is_stored_without_its_size_known(place: Place) -> None:
    shell("seq 3000000 | tee copy | sha256sum > sum", place.path)

    shell("sha256sum < copy | cmp - sum", place.path)
    expected = "".join(f"{number}\n" for number in range(1, 3_000_001)).encode()
    assert digest(place.sdk.get(place.prefix + "copy")) == digest(expected)
