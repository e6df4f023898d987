"""What a POSIX filesystem does, in terms of names, open files and commits. Runs without FUSE.

Nodes and handles stand for inode and handle numbers; attributes of a file that is being changed
come from its OpenFile, everybody else's from the namespace. How names change is names.py's.
"""

import itertools
import logging
import os
from collections.abc import Callable, Sequence
from typing import Final

import trio

from cosfs.cos.model import ByteRange
from cosfs.errors import (
    CosfsError,
    DeadlineExceeded,
    IntegrityError,
    IsADirectory,
    NoSuchEntry,
    StaleFile,
    TransportError,
)
from cosfs.fs.handles import FileHandle
from cosfs.fs.lateattributes import LateAttributes
from cosfs.fs.names import Names
from cosfs.fs.opendirectories import OpenDirectories
from cosfs.fs.openfiles import OpenFiles
from cosfs.fs.pages import KernelPages, PageUse
from cosfs.fs.storing import Engines
from cosfs.fs.troubles import path_of
from cosfs.namespace.attributes import (
    PATH_MAX,
    AttributeChange,
    Attributes,
    without_privileges,
)
from cosfs.namespace.inodes import Node
from cosfs.namespace.removals import Failures
from cosfs.transfer.prefetch import Prefetcher
from cosfs.transfer.version import BLOCK_SIZE, Version

_log = logging.getLogger(__name__)

# A lookup that the kernel made on the way to an open counts as the open's own check, once. Any
# other recent check does not: what another mount has stored since is what the open must show.
_JUST_CHECKED_S: Final = 0.1

StillHeld = Callable[[int, int], bool]
"""Whether a thread (pid) holds another descriptor of an inode besides the one it is closing."""

Invalidate = Callable[[Sequence[Node]], None]
"""Have the kernel forget what it knows of nodes, and that names are not there in them."""


class Filesystem:
    """The files of one mount: open files by node, handles by number."""

    def __init__(
        self, engines: Engines, *, still_held: StillHeld, invalidate: Invalidate = lambda _: None
    ) -> None:
        self.namespace = engines.namespace
        self.files = OpenFiles(engines)
        self._engines = engines
        self._still_held = still_held
        self._invalidate = invalidate
        self._unrestricted = frozenset((0, os.getuid()))  # root, and whose keys these are
        self._handles: dict[int, FileHandle] = {}
        self._numbers = itertools.count(1)
        self.directories = OpenDirectories(self.namespace, self._numbers)
        self._looked_up: Node | None = None  # by the latest lookup, if no open followed it
        self._looked_up_at = 0.0
        self._pages = KernelPages()
        self._moving = engines.moving
        self._late = LateAttributes(
            self.namespace.inodes,
            self._store_attributes,
            self.files.attributes_lost,
            engines.nursery,
        )
        self.names = Names(engines, self.files, self._late)
        self.namespace.removals.collect(engines.nursery, self._not_removed)
        engines.blocks.on_damage = self._note_damage

    def node(self, inode: int) -> Node:
        return self.namespace.inodes.get(inode)

    def handle(self, number: int) -> FileHandle:
        return self._handles[number]

    def find_path(self, inode: int) -> str | None:
        """The path below the mountpoint; None if the inode is not known any more."""
        try:
            return path_of(self.node(inode))
        except NoSuchEntry:
            return None

    def find_path_of_handle(self, number: int) -> str | None:
        handle = self._handles.get(number)
        if handle is not None:
            return path_of(handle.file.node)
        directory = self.directories.find(number)
        return None if directory is None else path_of(directory.directory)

    @property
    def attributes_waiting(self) -> int:
        """How many files have attributes that are still to be stored."""
        return self._late.waiting

    @property
    def waiting_for_memory(self) -> int:
        """How many calls wait until their bytes fit the budget."""
        return self._engines.memory.waiting

    async def lookup(self, parent: Node, name: str, *, uid: int = 0) -> Node:
        """The node of a name, for a user.

        Where a directory is being emptied its attributes may be too old to be used: what the
        kernel checks by them all the same, to whom a file belongs, does not keep this user from
        anything.
        """
        began = trio.current_time()
        to_remove = uid in self._unrestricted and self.namespace.is_being_emptied(parent)
        node = await self.namespace.lookup(parent, name, to_remove=to_remove)
        # What was answered from memory was checked for somebody else, and may be old by now.
        self._looked_up = node if node.checked >= began else None
        self._looked_up_at = trio.current_time()
        self.directories.looked_up(parent, name)
        return node

    async def attributes(self, node: Node) -> Attributes:
        """The attributes as they are now; asks COS when they are too old.

        Nobody waits for the root's: a mountpoint answers although COS does not.
        """
        if node is self.namespace.inodes.root and self.namespace.root_is_old:
            self._engines.nursery.start_soon(self._load_root_or_log)
        try:
            await self.namespace.refresh(node)
        except (DeadlineExceeded, TransportError):
            # The kernel asks before it reads: who is in the middle of a file must not fail for
            # want of attributes while the read itself would outlive an outage.
            if not self.files.is_open(node):
                raise
        return self.known_attributes(node)

    def known_attributes(self, node: Node) -> Attributes:
        file = self.files.find(node)
        known = node.attributes if file is None else file.attributes
        return self.namespace.codec.shown(known)

    def links(self, node: Node) -> int:
        """The number of names; of a directory, with its "." and the ".." of those in it."""
        if node.unlinked:
            return 0
        return 2 + self.namespace.known_subdirectories(node) if node.is_directory else 1

    async def set_attributes(
        self, node: Node, change: AttributeChange, *, size: int | None = None
    ) -> Attributes:
        """chmod, chown, utimens and truncate in one.

        A truncation is committed at once, or with the changes of those who have the file open to
        write.
        """
        _require_current(node)
        file = self.files.find(node)
        if size is not None:
            await self._truncate(node, size)
            if change == AttributeChange():
                return self.known_attributes(node)
        if file is not None:
            await file.change_attributes(change)
        else:
            self.namespace.collect_attributes(node, change)
        await self._late.collected(node)
        return self.known_attributes(node)

    async def open(
        self, node: Node, *, writable: bool, pid: int, uid: int = 0, truncate: bool = False
    ) -> FileHandle:
        """Open a file, as COS has it now (close-to-open).

        Raises NoSuchEntry if it is gone, StaleFile if it loses its name meanwhile, or if others
        have replaced what somebody reads: the kernel looks the name up again.
        """
        if node.is_directory:
            raise IsADirectory(f"{node.name!r} is a directory")
        recent = trio.current_time() - self._looked_up_at < _JUST_CHECKED_S
        recent &= self._looked_up is node
        self._looked_up = None
        # rsync changes the mode of what it has just closed through one more descriptor.
        in_burst = node.late is not None
        await self._moving.settled(node)
        if node.unlinked and not self.files.is_open(node):
            # The kernel remembers a name for a while. Told ESTALE, it looks the name up again.
            raise StaleFile(f"{node.name!r} is gone")
        unseen = node.object is None  # its attributes are a listing's, which knows no metadata
        # Held, so that whoever takes the name away meanwhile keeps the bytes.
        file = self.files.hold(node)
        try:
            await self.namespace.refresh(node, force=unseen or not (recent or in_burst))
            _require_current(node)
            handle = self._open(node, writable=writable, pid=pid, uid=uid)
        finally:
            await self.files.let_go(file)
        if truncate:
            try:
                await handle.file.truncate(0)
                await self._drop_privileges(handle)
            except BaseException:
                await self.release(handle)  # nobody else will: nobody knows of it
                raise
        return handle

    def create(
        self, parent: Node, name: str, attributes: Attributes, *, pid: int, exclusive: bool = False
    ) -> FileHandle:
        """Make a file that COS learns of when it is committed. Does not yield."""
        node = self.namespace.create(parent, name, attributes)
        handle = self._open(node, writable=True, pid=pid, uid=attributes.uid)
        handle.file.begin_new(exclusive=exclusive)
        return handle

    async def read(self, handle: FileHandle, offset: int, size: int) -> bytes | memoryview:
        if handle.drops_pages:
            self._pages.used(handle)
        if size == 0:
            return b""
        if handle.damage is not None:
            # The kernel asks again for what it could not read ahead: that would be read alone,
            # and nothing would show that what came before it was wrong.
            raise handle.damage
        span = ByteRange(offset, offset + size)
        try:
            return await handle.file.read(span, handle.prefetcher, epoch=handle.epoch)
        except IntegrityError:
            self._pages.forget(handle.file.node.inode)
            raise

    def page_use(self, handle: FileHandle) -> PageUse:
        """What the handle, just opened, may do with the kernel's pages. Does not yield."""
        return self._pages.opened(handle, self._handles.values())

    async def write(self, handle: FileHandle, offset: int, data: bytes) -> None:
        await handle.file.write(offset, data)
        await self._drop_privileges(handle)

    async def flush(self, handle: FileHandle) -> None:
        """One descriptor of the handle is being closed: commit, and raise what went wrong.

        ``echo x > f`` closes one descriptor of a still empty file before it writes through
        another. Storing the empty file then would destroy the old one too early. When the last of
        them is one for reading, that stores it.
        """
        file = handle.file
        if not handle.writable and not (file.untouched and file.put_off_by == handle.pid):
            return
        if file.untouched and self._still_held(handle.pid, file.node.inode):
            file.put_off_by = handle.pid
            return
        await self.files.commit(file)

    async def fsync(self, handle: FileHandle) -> None:
        await self.files.commit(handle.file)
        await self._store_attributes(handle.file.node)

    async def fsync_directory(self, directory: Node) -> None:
        """Store all attributes that were collected, and delete what was removed in *directory*.

        Everything else is stored already.
        """
        for error in await self._late.store_all():
            raise error  # before what a removal failed with, which waits to be told
        if not directory.unlinked:
            await self.namespace.removals.finished(self.namespace.key_of(directory))

    async def release(self, handle: FileHandle) -> None:
        """The last descriptor of the handle is closed. Nobody hears of errors any more."""
        if handle.drops_pages:
            self._pages.used(handle)
        del self._handles[handle.number]
        _count_user(handle, -1)
        handle.prefetcher.close()
        await self.files.let_go(handle.file)

    async def read_link(self, node: Node) -> bytes:
        file = self.files.hold(node)
        try:
            span = ByteRange(0, PATH_MAX)
            return bytes(await file.read(span, self._prefetcher(), epoch=file.epoch))
        finally:
            await self.files.let_go(file)

    def refresh(self, path: Sequence[str]) -> list[Node]:
        """Drop what is known of *path*, names from the root on, and of all below it.

        Returns the nodes, of which the kernel must forget what it knows too. Of a path that is
        not known, they are the directory where it would be. Does not yield.
        """
        node = self.namespace.inodes.root
        for name in path:
            known = self.namespace.inodes.child(node, name)
            if known is None:
                return self.namespace.forget(node, below=False)
            node = known
        return self.namespace.forget(node)

    async def close(self) -> None:
        """Commit everything that is still dirty, and delete what was removed.

        Raises FilesLost for what could not be, now or after the last close of a file.
        """
        await self._late.store_all()
        await self.namespace.removals.settled("")
        for key, error in self.namespace.removals.take_failures().items():
            self.files.removal_lost(self.namespace.path_of(key), error)
        await self.files.finish()

    def _not_removed(self, failures: Failures) -> None:
        """COS still has these objects, whose names were removed: they are there again."""
        nodes: list[Node] = []
        for key, error in failures.items():
            path = self.namespace.path_of(key)
            self.files.troubles.note(path, "unlink", error)
            nodes += self.refresh(path.split("/"))
        self._invalidate(list(dict.fromkeys(nodes)))

    def _note_damage(self, version: Version, error: IntegrityError) -> None:
        """Whoever has *version* open may have read wrong bytes of it."""
        for handle in self._handles.values():
            if handle.file.version == version:
                handle.damage = error
                self._pages.forget(handle.file.node.inode)

    def _open(self, node: Node, *, writable: bool, pid: int, uid: int) -> FileHandle:
        file = self.files.hold(node)
        handle = FileHandle(
            next(self._numbers), file, self._prefetcher(), pid, writable, uid, file.epoch
        )
        self._handles[handle.number] = handle
        _count_user(handle, 1)
        return handle

    async def _drop_privileges(self, handle: FileHandle) -> None:
        """What anybody but root has changed runs as its owner or group no more.

        The kernel sees to that itself, but for direct I/O and for O_TRUNC.
        """
        mode = handle.file.node.attributes.mode
        if handle.uid != 0 and without_privileges(mode) != mode:
            await handle.file.change_attributes(AttributeChange(mode=without_privileges(mode)))

    def _prefetcher(self) -> Prefetcher:
        return Prefetcher(self._engines.blocks, most=self._read_ahead)

    def _read_ahead(self) -> int:
        """How far one of the open files may be read ahead, in bytes.

        What is dropped before it is read is downloaded twice: all together have half the memory.
        """
        config = self._engines.config
        fair = config.memory // 2 // max(1, len(self._handles))
        return min(config.read_ahead, max(fair, BLOCK_SIZE))

    async def _load_root_or_log(self) -> None:
        try:
            await self.namespace.load_root()
        except Exception as error:  # noqa: BLE001 - what is known of the root stays
            bug = None if isinstance(error, CosfsError) else error
            _log.info("root not seen error=%s", error, exc_info=bug)

    async def _truncate(self, node: Node, size: int) -> None:
        if node.is_directory:
            raise IsADirectory(f"{node.name!r} is a directory")
        self._pages.forget(node.inode)
        if node.object is None:
            await self.namespace.refresh(node, force=True)
        handles = self._handles.values()
        has_writer = any(handle.writable and handle.file.node is node for handle in handles)
        file = self.files.hold(node)
        try:
            await file.truncate(size)
            if not has_writer:
                await file.commit()  # no flush will
        finally:
            await self.files.let_go(file)

    async def _store_attributes(self, node: Node) -> None:
        """Store attributes that were collected; a commit under way goes first."""
        await self._moving.settled(node)
        file = self.files.hold(node)
        try:
            async with file.held(commit=False):
                if not node.dirty:
                    await self.namespace.store_attributes(node)
                    file.changed_here()
        finally:
            await self.files.let_go(file)


def _count_user(handle: FileHandle, by: int) -> None:
    if handle.writable:
        handle.file.node.writers += by
    else:
        handle.file.node.readers += by


def _require_current(node: Node) -> None:
    """Raise StaleFile for what is only there to be read to its end; there is a new file."""
    if node.replaced:
        raise StaleFile(f"{node.name!r} was replaced by others")
