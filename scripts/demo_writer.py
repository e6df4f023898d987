"""Write a large file and show, from the emulator's request log, which parts have arrived."""

import hashlib
import os
import sys
import time
from pathlib import Path
from typing import Final

CHUNK: Final = 8 << 20
CHUNKS: Final = 40
PAUSE_S: Final = 0.05  # an application that also computes; without it nobody could watch


def main() -> None:
    """Arguments: the file to write, the emulator's log, where the SHA-256 goes."""
    target, log, checksum = (Path(argument) for argument in sys.argv[1:])
    digest = hashlib.sha256()
    started = time.monotonic()
    with target.open("wb", buffering=0) as file:
        for number in range(1, CHUNKS + 1):
            chunk = os.urandom(CHUNK)
            digest.update(chunk)
            write_all(file.fileno(), chunk)
            show(number, log)
            time.sleep(PAUSE_S)
        closing = time.monotonic()
    ended = time.monotonic()
    size = CHUNK * CHUNKS
    print(f"\nclose() returned after {ended - closing:.2f} s: COS has the whole object")
    print(f"{size >> 20} MiB in {ended - started:.1f} s")
    checksum.write_text(digest.hexdigest())


def write_all(descriptor: int, chunk: bytes) -> None:
    """A raw write may take less than it is given."""
    view = memoryview(chunk)
    while view:
        view = view[os.write(descriptor, view) :]


def show(chunks: int, log: Path) -> None:
    """One line, rewritten on a terminal; elsewhere a line for every fifth chunk."""
    parts = sum(" UploadPart " in line for line in log.read_text().splitlines())
    text = f"written {chunks * CHUNK >> 20:4} MiB   parts at COS: {parts:3}"
    if sys.stdout.isatty():
        print(f"\r{text}", end="", flush=True)
    elif chunks % 5 == 0:
        print(text, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)  # what a shell says of SIGINT
