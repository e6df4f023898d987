"""What the kernel sees of nodes and names: what it is told, and for how long it may trust that.

Owns how nodes are packed for it, how names that a listing shows and nobody has asked for, and how
it is made to ask again. Invariant: the kernel counts a lookup of an inode when, and only when, the
inode table has remembered one. Answers no request, and reads nothing from COS.
"""

import contextlib
from collections.abc import Sequence
from typing import Final

import pyfuse3
import trio
from pyfuse3 import EntryAttributes, FileNameT, InodeT, ModeT, ReaddirToken

from cosfs.fs.filesystem import Filesystem
from cosfs.fs.handles import DirectoryHandle
from cosfs.fuse.absent import AbsentNames
from cosfs.fuse.listed import ListedName
from cosfs.namespace.attributes import PATH_MAX, Attributes, without_privileges
from cosfs.namespace.directories import DirectoryEntry
from cosfs.namespace.inodes import Node

BLOCK_SIZE: Final = 1 << 20  # st_blksize: most programs write and read in pieces of it
_STAT_BLOCK: Final = 512  # POSIX: the unit of st_blocks


class KernelView:
    """What the kernel of one mount is told of its nodes, and of names that have none."""

    def __init__(self, filesystem: Filesystem) -> None:
        self._fs = filesystem
        self._listed = ListedName()
        self._absent = AbsentNames()

    def entry(self, node: Node) -> EntryAttributes:
        """The attributes of *node*, and for how long they hold."""
        if node.parent is not None and not node.unlinked:
            self.made(node.parent, node.name)
        entry = _packed(node, self._fs.known_attributes(node), links=self._fs.links(node))
        age = trio.current_time() - node.checked
        left = max(0.0, self._fs.namespace.ttl_s - age)
        entry.entry_timeout = left
        entry.attr_timeout = 0 if node.dirty else left
        return entry

    def remembered(self, node: Node) -> EntryAttributes:
        """The entry of *node*, which the kernel will count as looked up."""
        self._fs.namespace.inodes.remember(node)
        return self.entry(node)

    def created(self, node: Node) -> EntryAttributes:
        """``remembered``, of a file that was made just now.

        Whatever happens to it passes through the kernel, which forgets size and times with each
        write. It does not forget the mode, from which a write may take the privileges.
        """
        entry = self.remembered(node)
        if without_privileges(entry.st_mode) == entry.st_mode:
            entry.attr_timeout = self._fs.namespace.ttl_s
        return entry

    def made(self, parent: Node, name: str) -> None:
        """The kernel has been told that the name is there. Does not yield."""
        self._absent.made(parent.inode, name)

    def absent(self, parent: Node, name: str) -> EntryAttributes | None:
        """That nothing is there, for a while; None where the kernel has to ask each time."""
        left = 0.0 if parent.unlinked else self._fs.namespace.absent_for(parent, name)
        if left <= 0:
            return None
        return self._absent.entry(InodeT(parent.inode), FileNameT(name.encode()), left)

    def show(
        self, token: ReaddirToken, handle: DirectoryHandle, listed: DirectoryEntry, following: int
    ) -> bool:
        """Put a name into an answer to readdir; whether there was room for it.

        *following* is the position where the next answer goes on.
        """
        if self._listed.works and not handle.gives_inode(listed):
            return self._show_name(token, handle.directory, listed, following)
        return self._show_inode(token, handle.directory, listed, following)

    def invalidate(self, nodes: Sequence[Node]) -> None:
        """Have the kernel ask again for what it knows of *nodes*. Does not yield."""
        self._absent.forget(node.inode for node in nodes)
        for node in nodes:
            # Dropping pages that are being written would wait for our own answer.
            keep = node.is_directory or node.pins > 0
            if node.lookups:
                _drop(node, attr_only=keep)
            if node.lookups and node.parent is not None:
                name = FileNameT(node.name.encode())
                parent = InodeT(node.parent.inode)
                pyfuse3.invalidate_entry_async(parent, name, ignore_enoent=True)

    def drop_attributes(self, node: Node) -> None:
        """Have the kernel ask again for the attributes of *node* alone. Does not yield."""
        _drop(node, attr_only=True)

    def _show_name(
        self, token: ReaddirToken, directory: Node, listed: DirectoryEntry, following: int
    ) -> bool:
        self._absent.appeared(directory.inode, listed.name)
        is_directory = listed.attributes.is_directory
        inode = self._fs.namespace.inodes.number(directory, listed.name, is_directory=is_directory)
        kind = 0 if _may_be_symlink(listed) else listed.attributes.kind
        entry = self._listed.of(kind, inode)
        name = FileNameT(listed.name.encode())
        return pyfuse3.readdir_reply(token, name, entry, following)

    def _show_inode(
        self, token: ReaddirToken, directory: Node, listed: DirectoryEntry, following: int
    ) -> bool:
        """The kernel keeps an inode of the entry if there was room for it."""
        inodes = self._fs.namespace.inodes
        node = self._fs.namespace.entry_node(directory, listed)
        entry = self.entry(node) if listed.exact else _provisional(node, listed)
        name = FileNameT(listed.name.encode())
        if not pyfuse3.readdir_reply(token, name, entry, following):
            inodes.drop_unused(node)
            return False
        inodes.remember(node)
        return True


def _drop(node: Node, *, attr_only: bool) -> None:
    with contextlib.suppress(
        OSError
    ):  # it has forgotten the inode meanwhile, or the mount is gone
        pyfuse3.invalidate_inode(InodeT(node.inode), attr_only=attr_only)


def _may_be_symlink(listed: DirectoryEntry) -> bool:
    """What a listing shows as a file may be a symlink if it is short enough to be a target.

    Such an entry has no type: readdir(3) then says DT_UNKNOWN.
    """
    attributes = listed.attributes
    return not (listed.exact or attributes.is_directory or attributes.size > PATH_MAX)


def _provisional(node: Node, listed: DirectoryEntry) -> EntryAttributes:
    """A name whose attributes are not known: the kernel asks when somebody wants them."""
    entry = _packed(node, listed.attributes, links=1)
    entry.entry_timeout = entry.attr_timeout = 0
    if _may_be_symlink(listed):
        entry.st_mode = ModeT(0)
    return entry


def _packed(node: Node, attributes: Attributes, *, links: int) -> EntryAttributes:
    entry = EntryAttributes()
    entry.st_ino = InodeT(node.inode)
    entry.generation = 0
    entry.st_mode = ModeT(attributes.mode)
    entry.st_nlink = links
    entry.st_uid = attributes.uid
    entry.st_gid = attributes.gid
    entry.st_rdev = attributes.rdev
    entry.st_size = attributes.size
    entry.st_blksize = BLOCK_SIZE
    entry.st_blocks = -(-attributes.size // _STAT_BLOCK)
    entry.st_atime_ns = attributes.atime_ns
    entry.st_mtime_ns = attributes.mtime_ns
    entry.st_ctime_ns = attributes.ctime_ns
    return entry
