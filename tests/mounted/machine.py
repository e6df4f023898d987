"""Steps that programs take with files, in a mount and in a directory of a local disk at once.

The local disk is the model: each call must answer the same on both sides, and leave the same.
"""

import errno
import mmap
import os
import random
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

MIB: Final = 1 << 20
MAX_SIZE: Final = 6 * MIB  # bytes in a file: several parts of 1 MiB, and quickly compared
NAMES: Final = ("a", "b", "c")
MOST_OPEN: Final = 5
_EDGES: Final = (0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 5, MAX_SIZE - 1)
_ACCESS: Final = (os.O_RDWR, os.O_RDWR, os.O_WRONLY, os.O_RDONLY)
_EXTRA: Final = (0, 0, os.O_APPEND, os.O_TRUNC, os.O_EXCL)
_POOL: Final = random.Random(0).randbytes(MAX_SIZE + 4096)  # random bytes are slow to make


class Kind(StrEnum):
    """What a step does; to the descriptor or name that its numbers choose."""

    OPEN = "open"
    PWRITE = "pwrite"
    WRITE = "write"
    PREAD = "pread"
    MAPPED_READ = "mapped read"
    MAPPED_WRITE = "mapped write"
    FTRUNCATE = "ftruncate"
    TRUNCATE = "truncate"
    FSYNC = "fsync"
    DUP = "dup"
    CLOSE = "close"
    RENAME = "rename"
    UNLINK = "unlink"
    LOOK = "look"


_WEIGHTS: Final = {
    Kind.OPEN: 5,
    Kind.PWRITE: 8,
    Kind.WRITE: 4,
    Kind.PREAD: 5,
    Kind.MAPPED_READ: 3,
    Kind.LOOK: 3,
    Kind.CLOSE: 3,
}  # the others once


@dataclass(frozen=True, slots=True)
class Step:
    """*which* chooses a descriptor or a name, *where* and *size* are bytes or another name."""

    kind: Kind
    which: int = 0
    where: int = 0
    size: int = 0
    flags: int = 0


class Difference(AssertionError):
    """The two sides disagree; the message says on what."""


def random_steps(seed: int, count: int) -> list[Step]:
    """*count* steps, the same for the same *seed*."""
    choose = random.Random(seed)
    weights = [_WEIGHTS.get(kind, 1) for kind in Kind]
    return [
        Step(
            kind,
            which=choose.randrange(60),
            where=choose.choice((choose.choice(_EDGES), choose.randrange(MAX_SIZE))),
            size=choose.choice((choose.choice(_EDGES), choose.randrange(1, 5000))),
            flags=choose.choice(_ACCESS) | choose.choice(_EXTRA),
        )
        for kind in choose.choices(list(Kind), weights, k=count)
    ]


def shortest(
    steps: Sequence[Step], fails: Callable[[Sequence[Step]], bool], *, limit_s: float
) -> list[Step]:
    """As few of *steps* as still fail, as far as *limit_s* allows to find out."""
    end = time.monotonic() + limit_s
    found = list(steps)
    size = len(found) // 2
    while size:
        start = 0
        while start < len(found) and time.monotonic() < end:
            fewer = found[:start] + found[start + size :]
            if fails(fewer):
                found = fewer
            else:
                start += size
        size //= 2
    return found


class Side:
    """One of the two directories, and the descriptors that are open in it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.descriptors: list[int] = []

    def take(self, step: Step, seed: int) -> object:
        """What the call answers: bytes, a number, or the name of its errno."""
        try:
            return self._take(step, seed)
        except OSError as error:
            return errno.errorcode[error.errno or 0]

    def sizes(self) -> dict[str, int]:
        """The size of every file, by name."""
        return {entry.name: entry.stat().st_size for entry in os.scandir(self.directory)}

    def open_sizes(self) -> list[int]:
        return [os.fstat(descriptor).st_size for descriptor in self.descriptors]

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}

    def close(self) -> None:
        while self.descriptors:
            os.close(self.descriptors.pop())

    def _take(self, step: Step, seed: int) -> object:
        path = self.directory / NAMES[step.which % len(NAMES)]
        match step.kind:
            case Kind.OPEN:
                self._open(path, step.flags)
            case Kind.RENAME:
                path.rename(self.directory / NAMES[step.where % len(NAMES)])
            case Kind.UNLINK:
                path.unlink()
            case Kind.TRUNCATE:
                os.truncate(path, step.where)
            case Kind.MAPPED_READ | Kind.MAPPED_WRITE:
                return self._map(path, step, seed)
            case Kind.LOOK:
                return path.read_bytes()
            case _ if self.descriptors:
                return self._use(step, self.descriptors[step.which % len(self.descriptors)], seed)
        return None

    def _open(self, path: Path, flags: int) -> None:
        if len(self.descriptors) < MOST_OPEN:
            self.descriptors.append(os.open(path, flags | os.O_CREAT, 0o644))

    def _map(self, path: Path, step: Step, seed: int) -> bytes:
        """What the mapping holds there, after the write if it is one; a mapping does not grow."""
        span = slice(step.where, step.where + step.size)
        with (
            path.open("r+b") as file,
            suppress(ValueError),  # an empty file cannot be mapped
            mmap.mmap(file.fileno(), 0) as mapped,
        ):
            if step.kind is Kind.MAPPED_WRITE:
                data = some_bytes(step, seed)[: len(mapped[span])]
                mapped[step.where : step.where + len(data)] = data
            return mapped[span]
        return b""

    def _use(self, step: Step, descriptor: int, seed: int) -> object:
        match step.kind:
            case Kind.PWRITE:
                return os.pwrite(descriptor, some_bytes(step, seed), step.where)
            case Kind.WRITE:
                return self._write(step, descriptor, seed)
            case Kind.PREAD:
                return os.pread(descriptor, step.size, step.where)
            case Kind.FTRUNCATE:
                os.ftruncate(descriptor, step.where)
            case Kind.FSYNC:
                os.fsync(descriptor)
            case Kind.DUP:
                self._dup(descriptor)
            case Kind.CLOSE:
                self.descriptors.remove(descriptor)
                os.close(descriptor)
        return None

    def _write(self, step: Step, descriptor: int, seed: int) -> int:
        """At the descriptor's own position, or the end (O_APPEND)."""
        where = max(os.fstat(descriptor).st_size, os.lseek(descriptor, 0, os.SEEK_CUR))
        if where + step.size > MAX_SIZE:
            return 0
        return os.write(descriptor, some_bytes(step, seed))

    def _dup(self, descriptor: int) -> None:
        if len(self.descriptors) < MOST_OPEN:
            self.descriptors.append(os.dup(descriptor))


def some_bytes(step: Step, seed: int) -> bytes:
    """Other bytes for each *seed*; no more than keep the file below MAX_SIZE."""
    start = seed * 7 % 4096
    return _POOL[start : start + min(step.size, MAX_SIZE - step.where)]


class Machine:
    """Takes steps on both sides and compares them after each."""

    def __init__(self, mounted: Path, local: Path, *, looks: bool) -> None:
        """*looks*: whether to read all files after each step, rather than where a step says so.

        Reading commits what was sent already, so that less of it is ever under way.
        """
        self._sides = Side(mounted), Side(local)
        self._looks = looks

    def run(self, steps: Sequence[Step]) -> None:
        """Take *steps*, then close everything. Raises Difference."""
        try:
            for number, step in enumerate(steps):
                self._compare(step, partial(Side.take, step=step, seed=number))
                self._compare(step, Side.sizes)
                self._compare(step, Side.open_sizes)
                if self._looks:
                    self._compare(step, Side.contents)
        finally:
            for side in self._sides:
                side.close()
        self._compare("the end", Side.contents)

    def _compare(self, after: object, ask: Callable[[Side], object]) -> None:
        mounted, local = (ask(side) for side in self._sides)
        if mounted != local:
            raise Difference(f"{after}: {_shown(mounted)}, not {_shown(local)}")


def _shown(value: object) -> str:
    """Short, whatever it is."""
    if isinstance(value, bytes):
        return f"{len(value)} bytes {value[:8].hex()}…"
    if isinstance(value, dict):
        return str({name: _shown(value[name]) for name in sorted(value)})
    return repr(value)
