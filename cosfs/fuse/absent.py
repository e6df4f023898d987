"""Names of which the kernel was told that nothing is there, and for how long it may trust that."""

from collections.abc import Iterable
from typing import Final

import pyfuse3
import trio
from cachetools import LRUCache
from pyfuse3 import EntryAttributes, FileNameT, InodeT

_MOST: Final = 10_000  # names; one that is forgotten here appears when its time is over


class AbsentNames:
    """What the kernel keeps negative entries of."""

    def __init__(self) -> None:
        self._names: LRUCache[tuple[int, bytes], float] = LRUCache(_MOST)  # until then

    def entry(self, parent: InodeT, name: FileNameT, timeout_s: float) -> EntryAttributes:
        """The answer to a lookup that lets the kernel answer the next ones itself."""
        self._names[parent, name] = trio.current_time() + timeout_s
        entry = EntryAttributes()
        entry.st_ino = InodeT(0)
        entry.entry_timeout = timeout_s
        return entry

    def forget(self, parents: Iterable[int]) -> None:
        """Let the kernel ask again for all names in these directories. Does not yield."""
        among = set(parents)
        for parent, name in [each for each in self._names if each[0] in among]:
            self.appeared(parent, name.decode())

    def made(self, parent: int, name: str) -> None:
        """The kernel knows by itself that the name is there now. Does not yield."""
        if self._names:
            self._names.pop((parent, name.encode()), None)

    def appeared(self, parent: int, name: str) -> None:
        """A listing shows the name: the kernel must ask again. Does not yield."""
        if not self._names:
            return
        key = (parent, name.encode())
        if self._names.pop(key, 0) > trio.current_time():
            # Not at once: the directory that is being read holds the lock that this takes.
            pyfuse3.invalidate_entry_async(InodeT(parent), FileNameT(key[1]), ignore_enoent=True)
