"""Who is measured, and how: in a child process, checked, with what it cost."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench_bucket import Bucket
from bench_http import small_body
from bench_processes import SCRIPTS, Mount, Service, environment
from bench_tasks import Job, Needs, Sizes, file_order, http_order, small_names

_STDERR_SHOWN: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One measurement. CPU time and memory are those of the mount's process."""

    seconds: float
    cpu_s: float | None = None
    peak: int | None = None  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all of a run shares; *source* is the file that everything written comes from."""

    work: Path
    source: Path
    tree: Path
    content: memoryview
    sizes: Sizes
    rounds: int


class Failure(Exception):
    """A measurement that came to nothing; the text says why."""


class System:
    """Somebody who can do jobs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def can(self, work: Job) -> bool:  # noqa: ARG002  # most can do everything
        """Whether the question makes sense."""
        return True

    def prepare(self, work: Job) -> None:
        """Make what only this system needs. Not timed."""

    def do(self, work: Job) -> Sample:
        """Raises Failure."""
        raise NotImplementedError

    def clean(self, work: Job) -> None:
        """Remove what the job left; its names are never used again. Not timed."""

    def recover(self) -> None:
        """Be as new after a failure. Raises Unavailable."""

    def stop(self) -> None:
        """Let go of everything. Harmless when repeated."""


class MountSystem(System):
    """A mount of the bucket, through the kernel."""

    def __init__(self, mount: Mount, service: Service, bucket: Bucket, setup: Setup) -> None:
        super().__init__(mount.name)
        self._mount = mount
        self._bucket = bucket
        self._setup = setup
        self._root = str(mount.place / service.prefix)

    def do(self, work: Job) -> Sample:
        """Until the bucket has the data, less the time for which the mount chose to do nothing."""
        setup, pid = self._setup, self._mount.pid
        assert pid is not None
        limit_s = setup.sizes.limit_s
        order = file_order(
            work, self._root, source=str(setup.source), tree=str(setup.tree), sync=False
        )
        before_s = cpu_seconds(pid)
        forget_peak(pid)
        began, ended = run_child("bench_files.py", order, limit_s)
        if work.stored:
            stored = self._bucket.await_stored(work.stored, limit_s)
            if self._mount.idle_s is not None:
                ended = max(ended, stored - self._mount.idle_s)
        return Sample(
            seconds=ended - began, cpu_s=cpu_seconds(pid) - before_s, peak=peak_memory(pid)
        )

    def clean(self, work: Job) -> None:
        self._bucket.remove(work.own_keys)

    def recover(self) -> None:
        self._mount.stop()
        self._mount.start()

    def stop(self) -> None:
        self._mount.stop()


class DiskSystem(System):
    """The local disk, for comparison: with fsync, and the page cache without what is read."""

    def __init__(self, setup: Setup) -> None:
        super().__init__("disk")
        self._setup = setup
        self._root = setup.work / "disk"

    def prepare(self, work: Job) -> None:
        for key in (*work.before, *work.keys):
            (self._root / key).parent.mkdir(parents=True, exist_ok=True)
        for key in work.before:
            write_cold(self._root / key, self._setup.content[: work.size])
        if work.directory is not None:
            (self._root / work.directory).mkdir(parents=True, exist_ok=True)
        if work.task.needs in (Needs.LISTING, Needs.TREE):
            assert work.directory is not None
            for number, name in enumerate(small_names(work.count)):
                body = small_body(self._setup.content, number)
                (self._root / work.directory / name).write_bytes(body)

    def do(self, work: Job) -> Sample:
        setup = self._setup
        order = file_order(
            work, str(self._root), source=str(setup.source), tree=str(setup.tree), sync=True
        )
        began, ended = run_child("bench_files.py", order, setup.sizes.limit_s)
        return Sample(seconds=ended - began)

    def clean(self, work: Job) -> None:  # noqa: ARG002  # there is nothing else
        shutil.rmtree(self._root, ignore_errors=True)


class HttpSystem(System):
    """Plain transfers, to the service itself or to an nginx that serves the files of *data*."""

    def __init__(
        self, name: str, service: Service, bucket: Bucket, setup: Setup, data: Path | None = None
    ) -> None:
        super().__init__(name)
        self._service = service
        self._bucket = bucket
        self._setup = setup
        self._data = data

    def can(self, work: Job) -> bool:
        return work.bound is not None and (self._data is None or work.task.on_nginx)

    def prepare(self, work: Job) -> None:
        if self._data is not None:
            for key in work.before:
                path = self._data / self._service.prefix / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._setup.content[: work.size])

    def do(self, work: Job) -> Sample:
        service, setup = self._service, self._setup
        order = http_order(
            work,
            base=service.base if self._data is None else service.endpoint,
            prefix=service.prefix,
            ca=None if service.ca is None else str(service.ca),
            source=str(setup.source),
        )
        order["plain"] = self._data is not None
        began, ended = run_child("bench_http.py", order, setup.sizes.limit_s)
        if self._data is None:
            self._bucket.await_stored(work.stored, setup.sizes.limit_s)
        return Sample(seconds=ended - began)

    def clean(self, work: Job) -> None:
        if self._data is None:
            self._bucket.remove(work.own_keys)
        else:
            shutil.rmtree(self._data / self._service.prefix, ignore_errors=True)


def write_cold(path: Path, data: memoryview) -> None:
    """A file that is on the disk and not in the page cache."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run_child(script: str, order: Mapping[str, object], limit_s: float) -> tuple[float, float]:
    """Do *order*: when it began and ended. Raises Failure."""
    try:
        done = subprocess.run(
            [sys.executable, str(SCRIPTS / script), json.dumps(order)],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            env=environment(),
        )
    except subprocess.TimeoutExpired as error:
        raise Failure(f"over {limit_s:g} s") from error
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        raise Failure(last[-_STDERR_SHOWN:] or f"exit code {done.returncode}")
    times = json.loads(done.stdout)
    return times["began"], times["ended"]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_memory(pid: int) -> int:
    """The most that was resident since forget_peak(), in bytes."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.partition("VmHWM:")[2].split()[0]) << 10
