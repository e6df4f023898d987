"""What every system has to do, with which names and sizes, and what is in the bucket then."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import bench_files
import bench_http
from bench_http import MIB, RANDOM_SIZE, small_body

from cosfs.cos.checksum import crc64

KIB: Final = 1 << 10


class Needs(StrEnum):
    """What is in the bucket before a task begins."""

    NOTHING = "nothing"
    SHARED = "shared"  # objects that no mount has seen yet, the same for all
    OWN = "own"  # objects that this system will change
    LISTING = "listing"  # a directory full of small files
    TREE = "tree"  # one that this system will change


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """How much is moved. *limit_s*: what takes longer is given up, and not tried again."""

    file: int
    files: int
    entries: int
    reads: int
    limit_s: float

    def of(self, task: "Task") -> int:
        """Bytes of each of the task's files, in whole parts where there can be."""
        return self.file // task.share


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """Work that is measured. *again* names the figure for doing the same once more at once.

    *bound* and *bound_again* say which plain transfers do the same; None if there is none.
    """

    name: str
    operation: str
    needs: Needs
    bound: str | None
    again: str | None = None
    bound_again: str | None = None
    copies: int = 1  # files, all at once
    share: int = 1  # of the size of a file
    block: int = MIB
    is_bulk: bool = False  # moves whole files: counted in MB/s, with CPU time per GiB
    over_https: bool = False
    on_nginx: bool = False

    @property
    def slug(self) -> str:
        return self.name.lower().replace(" ", "-").replace(",", "")


def _bulk(name: str, operation: str, *, block: int = MIB, copies: int = 1, share: int = 1) -> Task:
    writes = operation in ("write", "cp")
    return Task(
        name=name,
        operation=operation,
        needs=Needs.NOTHING if writes else Needs.SHARED,
        bound="write" if writes else "read",
        copies=copies,
        share=share,
        block=block,
        is_bulk=True,
        over_https=True,
        on_nginx=True,
    )


TASKS: Final = (
    _bulk("write 4 KiB", "write", block=4 * KIB, share=4),
    _bulk("write 128 KiB", "write", block=128 * KIB),
    _bulk("write 1 MiB", "write"),
    _bulk("write four at once", "write", copies=4, share=4),
    _bulk("cp", "cp"),
    _bulk("read 4 KiB", "read", block=4 * KIB, share=4),
    _bulk("read 128 KiB", "read", block=128 * KIB),
    _bulk("read 1 MiB", "read"),
    _bulk("read four at once", "read", copies=4, share=4),
    Task(
        name="random 64 KiB reads",
        operation="random_read",
        needs=Needs.SHARED,
        bound="random_read",
        on_nginx=True,
    ),
    Task(
        name="small files",
        operation="small_files",
        needs=Needs.NOTHING,
        bound="small_files",
        on_nginx=True,
    ),
    Task(
        name="rsync",
        operation="rsync",
        needs=Needs.NOTHING,
        bound="small_files",
        again="rsync again",
        bound_again="ls",
    ),
    Task(
        name="ls -l, cold",
        operation="ls",
        needs=Needs.LISTING,
        bound="ls",
        again="ls -l, warm",
    ),
    Task(name="rm -r", operation="remove", needs=Needs.TREE, bound="remove"),
    Task(name="rename", operation="rename", needs=Needs.OWN, bound="rename"),
    Task(name="edit in the middle", operation="edit", needs=Needs.OWN, bound="edit"),
    Task(name="append", operation="append", needs=Needs.OWN, bound="append"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A task for one system in one round: names below the run's prefix, and what is then stored.

    *before* are the objects that it needs, *directory* is set for trees of small files. What is
    *stored* as None is gone.
    """

    task: Task
    keys: tuple[str, ...]
    before: tuple[str, ...]
    directory: str | None
    stored: dict[str, int | None]  # key → CRC64
    size: int
    count: int
    again: bool = False

    @property
    def figure(self) -> str:
        """The name of what is measured."""
        return self.task.again or self.task.name if self.again else self.task.name

    @property
    def bound(self) -> str | None:
        """The plain transfers that do the same."""
        return self.task.bound_again if self.again else self.task.bound

    @property
    def own_keys(self) -> tuple[str, ...]:
        """What may be removed afterwards; what is shared is still needed."""
        return () if self.task.needs is Needs.SHARED else self.keys


def job(task: Task, system: str, number: int, *, sizes: Sizes, source: memoryview) -> Job:
    size = sizes.of(task)
    own = f"{system}/{task.slug}-{number}"
    keys: tuple[str, ...] = tuple(f"{own}-{copy}" for copy in range(task.copies))
    before: tuple[str, ...] = ()
    directory = None
    stored: dict[str, int | None] = {}
    count = sizes.reads
    whole = crc64([source[:size]])
    match task.operation:
        case "write" | "cp":
            stored = dict.fromkeys(keys, whole)
        case "read" | "random_read":
            before = keys = tuple(f"read/{task.slug}-{number}-{n}" for n in range(task.copies))
        case "small_files" | "rsync" | "remove":
            count, directory = sizes.files, own
            keys = tuple(f"{own}/{name}" for name in small_names(count))
            stored = _stored_tree(task, keys, source)
        case "ls":
            count, directory = sizes.entries, f"list-{number}"
            keys = ()
        case "rename":
            before, keys = (f"{own}-old",), (f"{own}-old", f"{own}-new")
            stored = {keys[1]: whole}
        case "edit":
            before, patch = keys, source[:RANDOM_SIZE]
            rest = source[size // 2 + RANDOM_SIZE : size]
            stored = {keys[0]: crc64([source[: size // 2], patch, rest])}
        case "append":
            before = keys
            stored = {keys[0]: crc64([source[:size], source[:RANDOM_SIZE]])}
    return Job(
        task=task,
        keys=keys,
        before=before,
        directory=directory,
        stored=stored,
        size=size,
        count=count,
    )


def _stored_tree(task: Task, keys: Sequence[str], source: memoryview) -> dict[str, int | None]:
    if task.operation == "remove":
        return dict.fromkeys(keys)
    return {key: crc64([small_body(source, number)]) for number, key in enumerate(keys)}


def small_names(count: int) -> list[str]:
    return [f"file-{number:05}" for number in range(count)]


def file_order(work: Job, root: str, *, source: str, tree: str, sync: bool) -> bench_files.Order:
    """The same for a program that works on files below *root*."""
    paths = [f"{root}/{key}" for key in work.keys]
    if work.task.operation == "rsync":
        paths = [f"{tree}/", f"{root}/{work.directory}/"]
    elif work.task.operation in ("ls", "remove"):
        paths = [f"{root}/{work.directory}"]
    return {
        "operation": work.task.operation,
        "paths": paths,
        "source": source,
        "size": work.size,
        "block": work.task.block,
        "count": work.count,
        "sync": sync,
    }


def http_order(
    work: Job, *, base: str, prefix: str, ca: str | None, source: str
) -> bench_http.Order:
    """The same for plain transfers, which the job must have."""
    bound = work.bound
    assert bound is not None
    keys = [f"{prefix}/{key}" for key in work.keys]
    if bound == "ls":
        keys = [f"{prefix}/{work.directory}/"]
    return {
        "operation": bound,
        "base": base,
        "ca": ca,
        "plain": False,
        "source": source,
        "keys": keys,
        "size": work.size,
        "count": work.count,
    }
