"""A real mount of an emulator's bucket, in a process of its own, for as long as a block runs."""

import atexit
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.emulated import BUCKET, SECRET_ID, SECRET_KEY, EmulatorProcess

READY_TIMEOUT_S: Final = 30.0
END_TIMEOUT_S: Final = 20.0
LIMIT_S: Final = 110.0  # below the limit of a test
# One for a run of the tests: what a mount leaves there says nothing to mounts of other emulators.
STATE_DIRECTORY: Final = Path(tempfile.mkdtemp(prefix="cosfs-test-state-"))
atexit.register(shutil.rmtree, STATE_DIRECTORY, ignore_errors=True)
COSFS: Final = (sys.executable, "-m", "cosfs.cli.main")


class Watchdog:
    """Kills a process after *limit_s*: whoever waits for a mount that does not answer cannot be
    interrupted otherwise.
    """

    def __init__(self, process: subprocess.Popen[str], limit_s: float) -> None:
        self._process = process
        self._limit_s = limit_s
        self._timer: threading.Timer | None = None

    def restart(self) -> None:
        self.stop()
        self._timer = threading.Timer(self._limit_s, self._process.kill)
        self._timer.start()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


@dataclass(frozen=True, slots=True)
class Mounted:
    """A mount that answers. *log* is what its process writes to stderr."""

    path: Path
    process: subprocess.Popen[str]
    log: Path
    watchdog: Watchdog

    def unmount(self) -> None:
        """Unmount as users do and wait for the process; nothing may have gone wrong in it."""
        subprocess.run(["fusermount3", "-u", str(self.path)], check=True, timeout=END_TIMEOUT_S)
        code = self.process.wait(timeout=END_TIMEOUT_S)
        assert code == 0, f"exit code {code}: {self.log.read_text()}"


def mount_environment(emulator_url: str | None = None, **more: str) -> dict[str, str]:
    """What a cosfs command needs: the keys of the emulator's account, and its address if given."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COS", "TENCENTCLOUD"))
    }
    environment |= {"COS_SECRET_ID": SECRET_ID, "COS_SECRET_KEY": SECRET_KEY}
    environment["COSFS_STATE_DIR"] = str(STATE_DIRECTORY)
    if emulator_url is not None:
        environment["COS_ENDPOINT"] = emulator_url
    return environment | more


@contextmanager
def mounted(
    emulator: EmulatorProcess,
    *,
    source: str = BUCKET,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    command: Sequence[str] = COSFS,
    limit_s: float = LIMIT_S,
) -> Iterator[Mounted]:
    """Mount *source* in a new directory; *options* are words of the command line.

    However the block ends, the mount is gone and its process too. *limit_s* is the watchdog's.
    """
    with tempfile.TemporaryDirectory(prefix="cosfs-test-") as directory:
        path = Path(directory, "mount")
        path.mkdir()
        log = Path(directory, "log")
        words = [*command, "mount", source, str(path), "--foreground", *options]
        with log.open("w") as errors:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env={**mount_environment(emulator.url), **(environment or {})},
            )
        watchdog = Watchdog(process, limit_s)
        watchdog.restart()
        try:
            _await_ready(process, log)
            yield Mounted(path, process, log, watchdog)
        finally:
            end_mount(path, process)
            watchdog.stop()


def end_mount(path: Path, process: subprocess.Popen[str]) -> None:
    """Detach what is mounted on *path*, dead or alive, then end *process*."""
    subprocess.run(
        ["fusermount3", "-u", "-z", str(path)],
        check=False,
        capture_output=True,
        timeout=END_TIMEOUT_S,
    )
    try:
        process.wait(timeout=END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=END_TIMEOUT_S)
    if process.stdout is not None:
        process.stdout.close()


def _await_ready(process: subprocess.Popen[str], log: Path) -> None:
    assert process.stdout is not None
    line = ""
    if select.select([process.stdout], [], [], READY_TIMEOUT_S)[0]:
        line = process.stdout.readline()
    assert line.startswith("mounted "), f"no mount: {line!r} {log.read_text()}"
