"""What the kernel keeps of file contents: pages that all handles of an inode share.

Pages are asked for through one handle and read through every other, and nobody asks us then. So
they must be of the one version that all handles are to see.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache

from cosfs.fs.handles import FileHandle
from cosfs.transfer.version import Version

_MOST_FILES: Final = 1 << 14  # what is forgotten is read anew


@dataclass(frozen=True, slots=True, kw_only=True)
class PageUse:
    """What a handle may do with pages: *keep* those that are there; *bypass* them."""

    keep: bool
    bypass: bool


@dataclass(slots=True, eq=False)
class _Pages:
    """Of one version, once the handle of this number has *dropped* those that were there."""

    version: Version
    dropped_by: int
    dropped: bool = False


class KernelPages:
    """Which version the pages of each inode are of, where that is certain."""

    def __init__(self) -> None:
        self._pages: LRUCache[int, _Pages] = LRUCache(_MOST_FILES)

    def opened(self, handle: FileHandle, handles: Iterable[FileHandle]) -> PageUse:
        """How *handle*, the newest of *handles*, is to use the pages. Does not yield.

        Pages of a file that is written are not kept: they hold what COS may refuse. A handle that
        was opened before others replaced the object still reads the pages, so that those who read
        the new version stay away from them.
        """
        file = handle.file
        same_file = [other for other in handles if other.file is file]
        is_mixed = any(other.epoch != handle.epoch for other in same_file)
        is_written = file.node.dirty or any(other.writable for other in same_file)
        version = file.version
        if is_mixed or is_written or version is None:
            self.forget(file.node.inode)
            return PageUse(keep=False, bypass=is_mixed)
        known = self._pages.get(file.node.inode)
        if known is not None and known.dropped and known.version == version:
            return PageUse(keep=True, bypass=False)
        self._pages[file.node.inode] = _Pages(version, handle.number)
        handle.drops_pages = True
        return PageUse(keep=False, bypass=False)

    def used(self, handle: FileHandle) -> None:
        """A handle with ``drops_pages`` is in use, so the kernel has dropped what was there.

        It does so in the thread that opens, when that runs again after our answer: somebody else
        may open the file before, and read. Does not yield.
        """
        handle.drops_pages = False
        known = self._pages.get(handle.file.node.inode)
        if known is not None and known.dropped_by == handle.number:
            known.dropped = True

    def forget(self, inode: int) -> None:
        """The pages may be wrong: the next open drops them. Does not yield."""
        self._pages.pop(inode, None)
