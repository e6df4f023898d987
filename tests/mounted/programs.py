"""Running programs with a limit, and comparing what they left."""

import hashlib
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

TIMEOUT_S: Final = 90.0
_POLL_S: Final = 0.02


def run(*command: str | Path, cwd: Path | None = None, timeout_s: float = TIMEOUT_S) -> str:
    """What a program that must succeed prints."""
    done = attempt(*command, cwd=cwd, timeout_s=timeout_s)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def attempt(
    *command: str | Path, cwd: Path | None = None, timeout_s: float = TIMEOUT_S
) -> subprocess.CompletedProcess[str]:
    """A program that may fail; messages in English."""
    return subprocess.run(
        command,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )


def shell(script: str, cwd: Path, *, timeout_s: float = TIMEOUT_S) -> str:
    return run("bash", "-euc", script, cwd=cwd, timeout_s=timeout_s)


def eventually(holds: Callable[[], bool], *, timeout_s: float = 15.0) -> None:
    """Wait until *holds*: for what another process does without telling when."""
    end = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(_POLL_S)


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digests(directory: Path) -> dict[str, str]:
    """The SHA-256 of every file below, of a symlink's target: as COS keeps them."""
    found: dict[str, str] = {}
    for parent, directories, files in os.walk(directory):
        for name in [*files, *directories]:
            path = Path(parent, name)
            if path.is_symlink():
                data = os.readlink(os.fsencode(path))
            elif path.is_dir():
                continue
            else:
                data = path.read_bytes()
            found[str(path.relative_to(directory))] = digest(data)
    return found
