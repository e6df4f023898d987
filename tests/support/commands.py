"""Run cosfs's command line as users do, in a process of its own, for a bounded time."""

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.support.mounted import mount_environment

COMMAND_TIMEOUT_S: Final = 45.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """How a command ended."""

    code: int
    output: str
    errors: str

    @property
    def complaint(self) -> str:
        """The one line that an error may take; fails when there are more or fewer."""
        lines = self.errors.splitlines()
        assert len(lines) == 1, self.errors
        return lines[0]


def cosfs(*words: str, environment: Mapping[str, str] | None = None) -> Finished:
    """Run ``cosfs WORDS``; with the emulator's keys unless *environment* is given."""
    done = subprocess.run(
        [sys.executable, "-m", "cosfs.cli.main", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
        env=dict(mount_environment() if environment is None else environment),
    )
    return Finished(code=done.returncode, output=done.stdout, errors=done.stderr)
