"""One piece of work on files, described by a JSON object (Order), in a process of its own.

A process, because nothing else can be given up when a mount does not answer. Prints when the work
began and ended by the system's monotonic clock. Times include open and close, for *sync* fsync
too; what is read is checked after the clock has stopped, what is written by the one who asked.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypedDict

from bench_http import RANDOM_SIZE, random_offsets, small_body

from cosfs.cos.checksum import crc64

COMMAND_TIMEOUT_S: Final = 600


class Order(TypedDict):
    """Work on *paths*; *source* is the file whose first *size* bytes they hold or get."""

    operation: str
    paths: list[str]
    source: str
    size: int
    block: int
    count: int
    sync: bool


class Work:
    """What an Order may ask for: made ready by the constructor, timed, then checked."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._paths = [Path(path) for path in order["paths"]]
        self._source = memoryview(Path(order["source"]).read_bytes())[: order["size"]]
        self._targets: list[memoryview] = []
        if order["operation"] in ("read", "random_read"):
            # Written once, so that the clock does not count how the kernel finds the memory.
            blank = b"\1" * order["size"]
            self._targets = [memoryview(bytearray(blank)) for _ in self._paths]
        if order["operation"] == "small_files":
            self._paths[0].parent.mkdir(exist_ok=True)

    def write(self) -> None:
        self._in_parallel(self._write_one)

    def _write_one(self, number: int) -> None:
        block, descriptor = self._order["block"], create(self._paths[number])
        try:
            for start in range(0, len(self._source), block):
                write_all(descriptor, self._source[start : start + block])
            self._sync(descriptor)
        finally:
            os.close(descriptor)

    def read(self) -> None:
        self._in_parallel(self._read_one)

    def _read_one(self, number: int) -> None:
        block, target = self._order["block"], self._targets[number]
        descriptor = os.open(self._paths[number], os.O_RDONLY)
        try:
            position = 0
            while read := os.readv(descriptor, [target[position : position + block]]):
                position += read
        finally:
            os.close(descriptor)

    def random_read(self) -> None:
        target = self._targets[0]
        descriptor = os.open(self._paths[0], os.O_RDONLY)
        try:
            for offset in self._offsets():
                read = os.preadv(descriptor, [target[offset : offset + RANDOM_SIZE]], offset)
                assert read == RANDOM_SIZE
        finally:
            os.close(descriptor)

    def small_files(self) -> None:
        for number, path in enumerate(self._paths):
            descriptor = create(path)
            try:
                write_all(descriptor, memoryview(small_body(self._source, number)))
                self._sync(descriptor)
            finally:
                os.close(descriptor)

    def rename(self) -> None:
        self._paths[0].rename(self._paths[1])

    def edit(self) -> None:
        with self._paths[0].open("r+b", buffering=0) as file:
            file.seek(self._order["size"] // 2)
            write_all(file.fileno(), self._source[:RANDOM_SIZE])
            self._sync(file.fileno())

    def append(self) -> None:
        with self._paths[0].open("ab", buffering=0) as file:
            write_all(file.fileno(), self._source[:RANDOM_SIZE])
            self._sync(file.fileno())

    def cp(self) -> None:
        command("cp", self._order["source"], self._order["paths"][0])
        if self._order["sync"]:
            command("sync", self._order["paths"][0])

    def rsync(self) -> None:
        command("rsync", "-a", *self._order["paths"])

    def remove(self) -> None:
        command("rm", "-r", self._order["paths"][0])

    def ls(self) -> None:
        text = command("ls", "-l", self._order["paths"][0])
        assert text.count(b"\n") == self._order["count"] + 1, text[-1000:]

    def check(self) -> None:
        """That what was read is what should be there."""
        if self._order["operation"] == "read":
            for target in self._targets:
                assert crc64([target]) == crc64([self._source]), "wrong data was read"
        if self._order["operation"] == "random_read":
            for offset in self._offsets():
                span = slice(offset, offset + RANDOM_SIZE)
                assert self._targets[0][span] == self._source[span], "wrong data was read"

    def _offsets(self) -> list[int]:
        return random_offsets(self._order["size"], self._order["count"])

    def _sync(self, descriptor: int) -> None:
        if self._order["sync"]:
            os.fsync(descriptor)

    def _in_parallel(self, work: Callable[[int], None]) -> None:
        with ThreadPoolExecutor(len(self._paths)) as pool:
            list(pool.map(work, range(len(self._paths))))


def create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)


def write_all(descriptor: int, data: memoryview) -> None:
    """A raw write may take less than it is given."""
    while data:
        data = data[os.write(descriptor, data) :]


def command(*words: str) -> bytes:
    done = subprocess.run(
        words,
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=COMMAND_TIMEOUT_S,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode:
        raise RuntimeError(f"{words[0]}: {done.stderr.decode(errors='replace')[-300:]}")
    return done.stdout


def main() -> None:
    order: Order = json.loads(sys.argv[1])
    work = Work(order)
    do: Callable[[], None] = getattr(work, order["operation"])
    began = time.monotonic()
    do()
    ended = time.monotonic()
    work.check()
    print(json.dumps({"began": began, "ended": ended}))


if __name__ == "__main__":
    main()
