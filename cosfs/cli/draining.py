"""What is shown while a mount's process uploads the rest: a bar in a terminal, else some lines."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol, TextIO

from cosfs.cli.asking import Answer
from cosfs.cli.words import count_of, number, size_of

FIRST_LINE_S: Final = 2.0  # most mounts have ended by then, and nothing needs to be said
_LINE_EVERY_S: Final = 10.0


class Display(Protocol):
    """Shows how far a drain is."""

    def show(self, status: Answer) -> None:
        """Take the mount's latest status."""


class Silence:
    """Shows nothing."""

    def show(self, status: Answer) -> None:
        pass


class Lines:
    """A line now and then, for logs."""

    def __init__(self, mountpoint: str, stream: TextIO) -> None:
        self._mountpoint = mountpoint
        self._stream = stream
        self._next = time.monotonic() + FIRST_LINE_S

    def show(self, status: Answer) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _LINE_EVERY_S
        print(f"cosfs: {self._mountpoint}: {what_is_left(status)}", file=self._stream, flush=True)


class Bar:
    """A bar that fills as bytes leave, and leaves nothing behind."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
        from rich.progress import TransferSpeedColumn as SpeedColumn

        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            SpeedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self.progress.add_task("unmounting", total=None)
        self._total = 0.0

    def show(self, status: Answer) -> None:
        left = number(status["bytes_left"])
        self._total = max(self._total, left)  # who has a file open may write on
        self.progress.update(
            self._task,
            description=what_is_left(status),
            completed=self._total - left,
            total=self._total or None,
        )


@contextmanager
def open_display(mountpoint: str, *, quiet: bool) -> Iterator[Display]:
    """What suits stderr, until the block ends."""
    if quiet:
        yield Silence()
    elif sys.stderr.isatty():
        bar = Bar()
        with bar.progress:
            yield bar
    else:
        yield Lines(mountpoint, sys.stderr)


def what_is_left(status: Answer) -> str:
    """In words, for whoever waits."""
    files, attributes = number(status["files_dirty"]), number(status["attributes_waiting"])
    parts = []
    if files:
        parts.append(f"{count_of(files, 'file')} and {size_of(status['bytes_left'])} to upload")
    if attributes:
        parts.append(f"attributes of {count_of(attributes, 'file')} to store")
    return ", ".join(parts) or "ending"
