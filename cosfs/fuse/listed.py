"""Directory entries for READDIRPLUS that tell a name and its type and nothing else.

The kernel takes an entry whose node id is 0 as a name of which it knows no inode. An entry with a
node id makes it keep an inode, and us a node, for every name that anybody lists; or, without a
type, costs a FORGET. pyfuse3 sets the node id and the number that readdir(3) shows at once, so the
node id is cleared behind its back, where it proves to be.
"""

import ctypes
import sys
from typing import Final

from pyfuse3 import EntryAttributes, InodeT, ModeT

_PATTERN: Final = 0x1C0_5F5_5EED_0DD5  # no address or count looks like it


class ListedName:
    """One entry, used again for every name."""

    def __init__(self) -> None:
        self._entry = EntryAttributes()
        self._entry.entry_timeout = self._entry.attr_timeout = 0
        self._node_id = _find_node_id(self._entry)

    @property
    def works(self) -> bool:
        """Whether this pyfuse3 is built as expected; ``of`` may not be called otherwise."""
        return self._node_id is not None

    def of(self, kind: int, inode: int) -> EntryAttributes:
        """A name of this type (as in st_mode, 0 for unknown). Valid until the next call.

        *inode* is what readdir(3) shows, which leaves out names that have 0.
        """
        assert self._node_id is not None
        self._entry.st_ino = InodeT(inode)
        self._entry.st_mode = ModeT(kind)
        self._node_id.value = 0
        return self._entry


def _find_node_id(entry: EntryAttributes) -> ctypes.c_uint64 | None:
    """Where *entry* keeps its node id: the first of the two places that st_ino sets."""
    entry.st_ino = InodeT(_PATTERN)
    memory = ctypes.string_at(id(entry), type(entry).__basicsize__)
    pattern = _PATTERN.to_bytes(8, sys.byteorder)
    if memory.count(pattern) != 2:
        return None
    found = ctypes.c_uint64.from_address(id(entry) + memory.index(pattern))
    found.value = 0
    if entry.st_ino != 0:  # which reads the node id
        return None
    return found
