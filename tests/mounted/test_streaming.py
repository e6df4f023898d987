"""When bytes go up, and how many requests they cost, as the emulator's log tells it."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.programs import content, eventually, run
from tests.support.emulated import EmulatorProcess, RequestRecord, emulator_process
from tests.support.mounted import mounted
from tests.support.sdk import Sdk

MIB = 1 << 20


def sent_parts(emulator: EmulatorProcess) -> list[RequestRecord]:
    """The parts that have arrived."""
    requests = emulator.requests()
    return [r for r in requests if r["operation"] == "UploadPart" and r["status"] == 200]


def test_parts_go_up_while_the_writer_pauses(place: Place) -> None:
    data = content(40 * MIB)
    place.emulator.forget_requests()

    with (place.path / "f").open("wb", buffering=0) as file:
        file.write(data[: 9 * MIB])
        eventually(lambda: len(sent_parts(place.emulator)) == 1)
        file.write(data[9 * MIB : 33 * MIB])
        eventually(lambda: len(sent_parts(place.emulator)) == 4)
        assert place.sdk.keys(place.prefix) == [place.prefix]
        file.write(data[33 * MIB :])

    place.assert_holds({"f": data})


def test_several_parts_of_a_file_are_in_flight_at_once(place: Place) -> None:
    data = content(64 * MIB)
    place.emulator.forget_requests()
    place.emulator.set_faults("operation=UploadPart delay=0.3")
    try:
        (place.path / "f").write_bytes(data)
    finally:
        place.emulator.set_faults("")

    assert most_at_once(sent_parts(place.emulator)) >= 4
    place.assert_holds({"f": data})


def most_at_once(requests: Sequence[RequestRecord]) -> int:
    changes = [(r["started"], 1) for r in requests]
    changes += [(r["ended"], -1) for r in requests if r["ended"] is not None]
    running = most = 0
    for _, change in sorted(changes):
        running += change
        most = max(most, running)
    return most


def test_the_old_object_stays_until_the_new_one_is_closed(place: Place) -> None:
    (place.path / "f").write_bytes(b"old")
    data = content(20 * MIB)

    with (place.path / "f").open("wb", buffering=0) as file:
        file.write(data)
        eventually(lambda: len(sent_parts(place.emulator)) >= 2)
        before_close = place.sdk.get(place.prefix + "f")

    assert before_close == b"old"
    place.assert_holds({"f": data})


@pytest.mark.parametrize("program", ["cp", "python"])
def test_a_small_file_costs_one_put(tmp_path: Path, program: str) -> None:
    for number in range(100):
        (tmp_path / f"f{number}").write_bytes(content(1000 + number, seed=number))
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    with emulator_process() as emulator, mounted(emulator) as mount:
        emulator.forget_requests()
        if program == "cp":
            run("cp", *tmp_path.iterdir(), mount.path)
        else:
            for name, data in files.items():
                (mount.path / name).write_bytes(data)
        counts = Counter(request["operation"] for request in emulator.requests())
        stored = {key: Sdk(emulator.port).get(key) for key in Sdk(emulator.port).keys()}  # noqa: SIM118 - no dict

    assert stored == files
    assert counts.pop("PutObject") == 100
    assert counts.pop("GetBucket", 0) <= 2
    assert counts == {}


def test_reading_front_to_back_asks_several_ranges_at_once(place: Place) -> None:
    data = content(48 * MIB)
    place.sdk.put(place.prefix + "f", data)
    place.emulator.set_faults("operation=GetObject delay=0.1")
    try:
        with place.fresh() as path:
            place.emulator.forget_requests()
            assert (path / "f").read_bytes() == data
    finally:
        place.emulator.set_faults("")

    reads = [r for r in place.emulator.requests() if r["operation"] == "GetObject"]
    assert most_at_once(reads) >= 3
    assert sum(r["bytes_out"] for r in reads) < 1.1 * len(data)
