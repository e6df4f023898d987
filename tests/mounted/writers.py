"""Programs that keep a file open, for what happens to a mount meanwhile."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

WRITER: Final = """
import sys
with open(sys.argv[1], "wb", buffering=0) as file:
    file.write(sys.argv[2].encode() * int(sys.argv[3]))
    print("written", flush=True)
    sys.stdin.read()
"""


@dataclass(frozen=True, slots=True)
class Writer:
    """A process that has a file open."""

    process: subprocess.Popen[str]

    def start_closing(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()


@contextmanager
def open_file(path: Path, data: str, *, times: int = 1) -> Iterator[Writer]:
    """A file with *data* written and not closed; closed at the end, if not before.

    By another process: when this one starts a child, the child closes its copy of the
    descriptor, and that is a flush.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, path, data, str(times)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        assert process.stdout.readline() == "written\n"
        yield Writer(process)
    finally:
        process.stdin.close()
        process.wait(timeout=30)
        process.stdout.close()
