"""What a mount tells of itself, as plain values: to whoever watches it or waits for its end."""

from dataclasses import dataclass
from itertools import islice
from typing import Final

from cosfs.cos.health import HealthReport
from cosfs.fs.advice import reason_of
from cosfs.fs.filesystem import Filesystem
from cosfs.fs.openfile import OpenFile
from cosfs.fs.storing import Engines
from cosfs.fs.troubles import path_of

MOST_FILES: Final = 100  # are told one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class FileStatus:
    """A file with changes that COS does not have yet."""

    path: str
    size: int  # bytes
    stored: int  # bytes that COS has, in parts; a file without parts goes in one piece
    error: str  # why it is lost, if it is


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesystemStatus:
    """A moment of a mount. *dirty* are the largest first, *MOST_FILES* at most."""

    memory_used: int
    memory_limit: int
    files_open: int
    files_dirty: int
    bytes_left: int  # of the dirty files, that COS does not have
    attributes_waiting: int  # files whose changed attributes are still to be stored
    removals: int  # objects that are still to be deleted
    dirty: list[FileStatus]
    requests: dict[str, int]  # in flight, by kind
    health: HealthReport
    lost: dict[str, str]  # path to reason
    failed_calls: int


def status_of(filesystem: Filesystem, engines: Engines) -> FilesystemStatus:
    """The moment as it is. Does not yield."""
    files = list(filesystem.files)
    dirty = [_file_status(file) for file in files if file.is_unstored]
    left = [max(0, file.size - file.stored) for file in dirty]
    dirty.sort(key=lambda file: file.stored - file.size)
    return FilesystemStatus(
        memory_used=engines.memory.used,
        memory_limit=engines.memory.limit,
        files_open=len(files),
        files_dirty=len(dirty),
        bytes_left=sum(left),
        attributes_waiting=filesystem.attributes_waiting,
        removals=filesystem.namespace.removals.count,
        dirty=dirty[:MOST_FILES],
        requests=engines.client.requests_in_flight,
        health=engines.client.health,
        lost=dict(islice(filesystem.files.lost.items(), MOST_FILES)),
        failed_calls=filesystem.files.troubles.count,
    )


def _file_status(file: OpenFile) -> FileStatus:
    assert file.content is not None, file
    return FileStatus(
        path=path_of(file.node),
        size=file.content.size,
        stored=file.stored,
        error="" if file.error is None else str(reason_of(file.error)),
    )
