"""Handles: what open and opendir give out."""

from dataclasses import dataclass

from cosfs.fs.openfile import OpenFile
from cosfs.namespace.inodes import Node
from cosfs.namespace.tree import DirectoryEntry
from cosfs.transfer.prefetch import Prefetcher


@dataclass(slots=True, eq=False)
class FileHandle:
    """One open of a file; *pid* is the thread that opened it, *uid* its user.

    *epoch* is the file's when it was opened: the handle reads no object that others stored since.
    """

    number: int
    file: OpenFile
    prefetcher: Prefetcher
    pid: int
    writable: bool
    uid: int
    epoch: int


@dataclass(slots=True, eq=False)
class DirectoryHandle:
    """One open of a directory, and the listing it shows: taken anew when read from the start."""

    number: int
    directory: Node
    entries: list[DirectoryEntry]
