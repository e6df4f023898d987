"""Handles: what open and opendir give out."""

from dataclasses import dataclass

from cosfs.errors import IntegrityError
from cosfs.fs.openfile import OpenFile
from cosfs.namespace.directories import DirectoryEntry, DirectoryReader
from cosfs.namespace.inodes import Node
from cosfs.transfer.prefetch import Prefetcher


@dataclass(slots=True, eq=False)
class FileHandle:
    """One open of a file; *pid* is the thread that opened it, *uid* its user.

    *epoch* is the file's when it was opened: the handle reads no object that others stored since.
    *drops_pages* until it is known that the kernel has dropped pages of other versions for it.
    *damage* says that what it has read was damaged on its way; so it reads no more.
    """

    number: int
    file: OpenFile
    prefetcher: Prefetcher
    pid: int
    writable: bool
    uid: int
    epoch: int
    drops_pages: bool = False
    damage: IntegrityError | None = None


@dataclass(slots=True, eq=False)
class DirectoryHandle:
    """One open of a directory, and the reading that it shows: begun anew at the start.

    An inode for every name that is listed costs the kernel and us time and memory, and saves a
    lookup if somebody wants its attributes. So each answer leaves its first name without one: as
    long as those are looked up, the others of the next answer get one.
    """

    number: int
    directory: Node
    reader: DirectoryReader | None = None
    _left_out: str | None = None
    _is_asked: bool = False
    _gives_inodes: bool = False

    def begin_answer(self, position: int, first: str | None) -> None:
        """An answer with the names from *position* on is made; *first* is its first."""
        self._gives_inodes = self._is_asked or position == 0
        self._left_out, self._is_asked = first, False

    def looked_up(self, name: str) -> None:
        self._is_asked |= name == self._left_out

    def gives_inode(self, entry: DirectoryEntry) -> bool:
        """Whether the kernel is to keep an inode of the entry."""
        return self._gives_inodes and entry.exact and entry.name != self._left_out
