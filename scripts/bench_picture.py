"""The figures as a picture: how fast everybody is, beside plain transfers by httpx."""

from pathlib import Path
from typing import Final

import matplotlib as mpl

mpl.use("Agg")

from bench_report import FigureSet, Report, SceneFigures  # the backend comes first
from matplotlib import pyplot
from matplotlib.axes import Axes

_COLOURS: Final = {"cosfs": "#1f6feb", "s3fs": "#d29922", "rclone": "#8b949e"}
_BAR: Final = 0.27


def draw(report: Report, file: Path) -> None:
    """Bars by scene and task; the line is plain httpx, further right is faster."""
    scenes = report["scenes"]
    names = list(dict.fromkeys(each["name"] for scene in scenes for each in _drawable(scene)))
    if not names:
        return
    picture, grid = pyplot.subplots(
        1,
        len(scenes),
        squeeze=False,
        sharey=True,
        figsize=(2 + 3.3 * len(scenes), 1.2 + 0.42 * len(names)),
        layout="constrained",
    )
    for scene, axes in zip(scenes, grid[0], strict=True):
        _draw_scene(axes, scene, names)
    grid[0, 0].set_yticks(range(len(names)), names, fontsize=8)
    grid[0, 0].invert_yaxis()
    picture.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
    picture.supxlabel("times as fast as the same by plain httpx transfers", fontsize=9)
    picture.savefig(file, dpi=110)
    pyplot.close(picture)


def _drawable(scene: SceneFigures) -> list[FigureSet]:
    return [f for f in scene["figures"] if any(_relative(f, system) for system in _COLOURS)]


def _relative(figures: FigureSet, system: str) -> float | None:
    own, plain = (
        figures["systems"][name]["median_s"] if name in figures["systems"] else None
        for name in (system, "httpx")
    )
    return plain / own if own and plain else None


def _draw_scene(axes: Axes, scene: SceneFigures, names: list[str]) -> None:
    figures = {each["name"]: each for each in _drawable(scene)}
    for index, (system, colour) in enumerate(_COLOURS.items()):
        bars = {
            row + (index - 1) * _BAR: _relative(figures[name], system) or 0
            for row, name in enumerate(names)
            if name in figures
        }
        drawn = axes.barh(list(bars), list(bars.values()), _BAR, color=colour, label=system)
        labels = [f"{value:.2g}" if value else "" for value in bars.values()]
        axes.bar_label(drawn, labels, fontsize=6, padding=2)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.margins(x=0.15)
    axes.set_title(scene["scene"], fontsize=10)
