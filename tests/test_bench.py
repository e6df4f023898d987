"""scripts/bench, in small and without the peers: that it measures, and that its figures agree."""

import json
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

import pytest

ROOT = Path(__file__).parent.parent
LIMIT_S = 90  # below the limit of a test
TASKS = ("write 1 MiB", "read 1 MiB", "random 64 KiB reads", "rsync", "rm -r", "rename", "append")


class Figure(TypedDict):
    """What the JSON file says of one system; only what is checked here."""

    seconds: list[float]
    median_s: float
    bytes_per_s: float | None
    cpu_s_per_gib: float | None
    peak_bytes: float | None
    error: str | None


@pytest.fixture(scope="module")
def figures(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Figure]:
    """By task and system, of a run over http with two rounds."""
    file = tmp_path_factory.mktemp("bench") / "figures.json"
    only = [word for task in TASKS for word in ("--only", task)]
    command = ["scripts/bench", "--quick", "--rounds", "2", "--scene", "http", *only]
    run([*command, "--system", "cosfs", "--system", "httpx", "--json", str(file)])
    return dict(_figures(json.loads(file.read_text())))


def run(command: list[str]) -> None:
    with subprocess.Popen(
        command,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            _, errors = process.communicate(timeout=LIMIT_S)
        except subprocess.TimeoutExpired:
            process.terminate()  # which lets it unmount
            raise
    assert process.returncode == 0, errors


def _figures(
    report: dict[str, list[dict[str, list[dict[str, object]]]]],
) -> Iterator[tuple[tuple[str, str], Figure]]:
    (scene,) = report["scenes"]
    for measured in scene["figures"]:
        name, systems = measured["name"], measured["systems"]
        assert isinstance(name, str)
        assert isinstance(systems, dict)
        for system, figure in systems.items():
            yield (name, system), figure


def test_bench_measures_each_task_for_each_system(
    figures: dict[tuple[str, str], Figure],
) -> None:
    names = {name for name, _ in figures}

    assert names == {*TASKS, "rsync again"}
    assert {system for _, system in figures} == {"cosfs", "httpx"}
    assert [figure["error"] for figure in figures.values() if figure["error"]] == []


def test_bench_gives_medians_of_its_rounds(figures: dict[tuple[str, str], Figure]) -> None:
    for figure in figures.values():
        assert len(figure["seconds"]) == 2
        assert min(figure["seconds"]) > 0
        assert figure["median_s"] == statistics.median(figure["seconds"])


def test_bench_gives_speed_and_cost_of_bulk_transfers(
    figures: dict[tuple[str, str], Figure],
) -> None:
    for task in ("write 1 MiB", "read 1 MiB"):
        figure = figures[task, "cosfs"]
        assert figure["bytes_per_s"] == pytest.approx((16 << 20) / figure["median_s"])
        assert (figure["cpu_s_per_gib"] or 0) > 0
        assert (figure["peak_bytes"] or 0) > 1 << 20
