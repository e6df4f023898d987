"""The figures as JSON values and as tables."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from typing import Final, TypedDict

from bench_runner import SYSTEMS, Outcome, SceneOutcome
from bench_systems import Setup
from bench_tasks import TASKS, Task
from rich.console import Console
from rich.table import Table

PEERS: Final = ("s3fs", "rclone")
BOTTLENECK: Final = 1.2  # nginx so many times as fast as the emulator: that is what bounds
GIB: Final = 1 << 30


class Figure(TypedDict):
    """What one system did; medians of *seconds* and the rest over the rounds."""

    seconds: list[float]
    median_s: float | None
    bytes_per_s: float | None
    cpu_s: float | None
    cpu_s_per_gib: float | None
    peak_bytes: float | None
    error: str | None


class FigureSet(TypedDict):
    """One task, or a task done again, in one scene."""

    name: str
    bytes: int | None
    emulator_is_bottleneck: bool
    systems: dict[str, Figure]


class SceneFigures(TypedDict):
    """What was measured under the same conditions."""

    scene: str
    latency_s: float
    figures: list[FigureSet]


class Report(TypedDict):
    """What the JSON file holds."""

    machine: dict[str, str | int | None]
    settings: dict[str, float]
    scenes: list[SceneFigures]


def report_of(outcomes: Sequence[SceneOutcome], setup: Setup) -> Report:
    sizes = setup.sizes
    return {
        "machine": {
            "system": platform.platform(),
            "python": platform.python_version(),
            "processors": os.cpu_count(),
        },
        "settings": {
            "rounds": setup.rounds,
            "file_bytes": sizes.file,
            "files": sizes.files,
            "entries": sizes.entries,
            "random_reads": sizes.reads,
            "limit_s": sizes.limit_s,
        },
        "scenes": [_scene(outcome, setup) for outcome in outcomes],
    }


def _scene(outcome: SceneOutcome, setup: Setup) -> SceneFigures:
    tasks = {name: task for task in TASKS for name in (task.name, task.again) if name}
    return {
        "scene": outcome.scene.name,
        "latency_s": outcome.scene.latency_s,
        "figures": [
            _figure_set(name, _bytes(tasks[name], setup), by_system)
            for name, by_system in outcome.figures.items()
        ],
    }


def _bytes(task: Task, setup: Setup) -> int | None:
    return setup.sizes.of(task) * task.copies if task.is_bulk else None


def _figure_set(name: str, size: int | None, by_system: Mapping[str, Outcome]) -> FigureSet:
    systems = {system: _figure(outcome, size) for system, outcome in by_system.items()}
    fast, plain = (_median_s(systems, system) for system in ("nginx", "httpx"))
    return {
        "name": name,
        "bytes": size,
        "emulator_is_bottleneck": bool(fast and plain and plain > fast * BOTTLENECK),
        "systems": systems,
    }


def _figure(outcome: Outcome, size: int | None) -> Figure:
    samples = [] if outcome.error else outcome.samples
    median_s = _median([sample.seconds for sample in samples])
    cpu_s = _median([sample.cpu_s for sample in samples if sample.cpu_s is not None])
    return {
        "seconds": [sample.seconds for sample in samples],
        "median_s": median_s,
        "bytes_per_s": size / median_s if size and median_s else None,
        "cpu_s": cpu_s,
        "cpu_s_per_gib": cpu_s * GIB / size if size and cpu_s is not None else None,
        "peak_bytes": _median([sample.peak for sample in samples if sample.peak is not None]),
        "error": outcome.error,
    }


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _median_s(systems: Mapping[str, Figure], system: str) -> float | None:
    return systems[system]["median_s"] if system in systems else None


def ratio(figures: FigureSet, system: str) -> float | None:
    """How many times as fast as *system* cosfs is."""
    own, other = (_median_s(figures["systems"], name) for name in ("cosfs", system))
    return other / own if own and other else None


def show(report: Report) -> None:
    console = Console(width=None if Console().is_terminal else 140)
    for scene in report["scenes"]:
        console.print(_speed_table(scene))
        console.print(_cost_table(scene))
        for figures in scene["figures"]:
            for system, figure in figures["systems"].items():
                if figure["error"]:
                    console.print(f"{figures['name']}, {system}: {figure['error']}", markup=False)
    console.print(
        "Columns after | are how many times as fast cosfs is. Plain transfers: httpx to the"
        " service, nginx the same by httpx to nginx.\n* The service bounds what is measured:"
        " plain transfers to nginx are faster."
    )


def _speed_table(scene: SceneFigures) -> Table:
    table = Table(title=f"{scene['scene']}: MB/s, or seconds (s)")
    present = [name for name in SYSTEMS if any(name in f["systems"] for f in scene["figures"])]
    others = [name for name in ("httpx", *PEERS) if name in present and "cosfs" in present]
    table.add_column("")
    for name in (*present, *(f"| {name}" for name in others)):
        table.add_column(name, justify="right")
    for figures in scene["figures"]:
        cells = [_speed(figures, name) for name in present]
        ratios = [ratio(figures, name) for name in others]
        star = " *" if figures["emulator_is_bottleneck"] else ""
        table.add_row(figures["name"] + star, *cells, *(f"{r:.2f}" if r else "-" for r in ratios))
    return table


def _speed(figures: FigureSet, system: str) -> str:
    figure = figures["systems"].get(system)
    if figure is None or figure["median_s"] is None:
        error = figure["error"] if figure else None
        return "-" if error is None else error if error.startswith("over ") else "failed"
    speed = figure["bytes_per_s"]
    return f"{figure['median_s']:.3f} s" if speed is None else f"{speed / 1e6:.0f}"


def _cost_table(scene: SceneFigures) -> Table:
    """CPU time and memory of the mounts' processes."""
    table = Table(
        title=f"{scene['scene']}: CPU time (s/GiB, or s) and most memory (MiB) of the mount"
    )
    mounts = [
        name
        for name in ("cosfs", *PEERS)
        if any(name in figures["systems"] for figures in scene["figures"])
    ]
    table.add_column("")
    for name in mounts:
        table.add_column(f"{name} CPU", justify="right")
        table.add_column("memory", justify="right")
    for figures in scene["figures"]:
        cells = []
        for name in mounts:
            figure = figures["systems"].get(name)
            cells += ["-", "-"] if figure is None else [_cpu(figure), _mib(figure["peak_bytes"])]
        table.add_row(figures["name"], *cells)
    return table


def _cpu(figure: Figure) -> str:
    if figure["cpu_s"] is None:
        return "-"
    per_gib = figure["cpu_s_per_gib"]
    return f"{figure['cpu_s']:.2f} s" if per_gib is None else f"{per_gib:.2f}"


def _mib(size: float | None) -> str:
    return "-" if size is None else f"{size / (1 << 20):.0f}"
