"""FUSE requests as calls of Filesystem: unpack, call, pack. No decisions.

Names are bytes outside and text inside: those that come in are decoded here, and nowhere else.
"""

import logging
import os
import stat
from collections.abc import Sequence
from typing import Final

import pyfuse3
from pyfuse3 import (
    EntryAttributes,
    FileHandleT,
    FileInfo,
    FileNameT,
    FlagT,
    InodeT,
    ModeT,
    ReaddirToken,
    RequestContext,
    SetattrFields,
    StatvfsData,
)

from cosfs.cos.model import MAX_OBJECT_SIZE
from cosfs.errors import (
    EntryExists,
    InvalidArgument,
    NoSuchEntry,
    NotPermitted,
    StaleFile,
    UnencodableName,
)
from cosfs.fs.filesystem import Filesystem
from cosfs.fs.handles import FileHandle
from cosfs.fuse.errnos import handler, notification, query
from cosfs.fuse.pacing import WritePacer
from cosfs.fuse.view import BLOCK_SIZE, KernelView
from cosfs.namespace.attributes import AttributeChange, Attributes, new_attributes

_log = logging.getLogger(__name__)

_FRAGMENT: Final = 4096
_FRAGMENTS: Final = MAX_OBJECT_SIZE // _FRAGMENT  # a bucket has no size; one object fits for sure
_DOTS: Final = 2  # "." and "..", which come first
_NAME_MAX: Final = 255  # bytes in a name, as on other Linux filesystems

# What the first arguments of a call stand for, if they are not an inode: for note_failure.
_OF_NAMES: Final = frozenset(
    ("lookup", "symlink", "mknod", "mkdir", "unlink", "rmdir", "rename", "create")
)
_OF_HANDLES: Final = frozenset(("read", "write", "flush", "fsync", "readdir", "fsyncdir"))
_CALLS: Final = {  # as programs know them
    "flush": "close",
    "fsyncdir": "fsync",
    "lookup": "stat",
    "getattr": "stat",
}


class Operations(pyfuse3.Operations):
    """The handlers that pyfuse3 calls; those that are missing answer ENOSYS."""

    supports_dot_lookup = False

    def __init__(
        self, filesystem: Filesystem, view: KernelView, pacer: WritePacer, *, timeout_s: float
    ) -> None:
        super().__init__()
        self.timeout_s = timeout_s
        self._fs = filesystem
        self._view = view
        self._pacer = pacer

    @query
    async def lookup(
        self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext
    ) -> EntryAttributes:
        parent, text = self._fs.node(parent_inode), _text(name)
        try:
            node = await self._fs.lookup(parent, text, uid=ctx.uid)
        except NoSuchEntry:
            absent = self._view.absent(parent, text)
            if absent is None:
                raise
            return absent
        return self._view.remembered(node)

    @notification
    async def forget(self, inode_list: Sequence[tuple[InodeT, int]]) -> None:
        for inode, count in inode_list:
            self._fs.namespace.inodes.forget(inode, count)

    @query
    async def getattr(self, inode: InodeT, ctx: RequestContext) -> EntryAttributes:
        node = self._fs.node(inode)
        await self._fs.attributes(node)
        return self._view.entry(node)

    @handler
    async def setattr(
        self,
        inode: InodeT,
        attr: EntryAttributes,
        fields: SetattrFields,
        fh: FileHandleT | None,
        ctx: RequestContext,
    ) -> EntryAttributes:
        node = self._fs.node(inode)
        change = AttributeChange(
            mode=stat.S_IMODE(attr.st_mode) if fields.update_mode else None,
            uid=attr.st_uid if fields.update_uid else None,
            gid=attr.st_gid if fields.update_gid else None,
            mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
            atime_ns=attr.st_atime_ns if fields.update_atime else None,
        )
        size = attr.st_size if fields.update_size else None
        await self._fs.set_attributes(node, change, size=size)
        return self._view.entry(node)

    @query
    async def readlink(self, inode: InodeT, ctx: RequestContext) -> FileNameT:
        return FileNameT(await self._fs.read_link(self._fs.node(inode)))

    @handler
    async def symlink(
        self,
        parent_inode: InodeT,
        name: FileNameT,
        target: FileNameT,
        ctx: RequestContext,
    ) -> EntryAttributes:
        attributes = new_attributes(stat.S_IFLNK | 0o777, ctx.uid, ctx.gid)
        node = await self._fs.names.make_symlink(
            self._fs.node(parent_inode), _text(name), target, attributes
        )
        return self._view.entry(node)

    @handler
    async def mknod(
        self,
        parent_inode: InodeT,
        name: FileNameT,
        mode: ModeT,
        rdev: int,
        ctx: RequestContext,
    ) -> EntryAttributes:
        attributes = _made(mode, ctx, rdev=rdev)
        handle = self._create(parent_inode, name, attributes, ctx, exclusive=True)
        try:
            await self._fs.fsync(handle)
            return self._view.remembered(handle.file.node)
        finally:
            await self._fs.release(handle)

    @handler
    async def mkdir(
        self, parent_inode: InodeT, name: FileNameT, mode: ModeT, ctx: RequestContext
    ) -> EntryAttributes:
        node = await self._fs.names.make_directory(
            self._fs.node(parent_inode), _text(name), mode=mode, uid=ctx.uid, gid=ctx.gid
        )
        return self._view.remembered(node)

    @handler
    async def unlink(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        await self._fs.names.unlink(self._fs.node(parent_inode), _text(name))

    @handler
    async def rmdir(self, parent_inode: InodeT, name: FileNameT, ctx: RequestContext) -> None:
        await self._fs.names.remove_directory(self._fs.node(parent_inode), _text(name))

    @handler
    async def rename(
        self,
        parent_inode_old: InodeT,
        name_old: FileNameT,
        parent_inode_new: InodeT,
        name_new: FileNameT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> None:
        if flags & ~pyfuse3.RENAME_NOREPLACE:
            raise InvalidArgument(f"rename flags {flags:#x}: COS cannot exchange two objects")
        new_parent, new_name = self._fs.node(parent_inode_new), _text(name_new)
        await self._fs.names.rename(
            self._fs.node(parent_inode_old),
            _text(name_old),
            new_parent,
            new_name,
            replace=not flags & pyfuse3.RENAME_NOREPLACE,
        )
        self._view.made(new_parent, new_name)

    @handler
    async def link(
        self,
        inode: InodeT,
        new_parent_inode: InodeT,
        new_name: FileNameT,
        ctx: RequestContext,
    ) -> EntryAttributes:
        raise NotPermitted(f"{new_name!r}: COS has no hard links")

    @handler
    async def open(self, inode: InodeT, flags: FlagT, ctx: RequestContext) -> FileInfo:
        node = self._fs.node(inode)
        known = self._fs.known_attributes(node)
        writable = flags & os.O_ACCMODE != os.O_RDONLY
        handle = await self._fs.open(
            node,
            writable=writable,
            truncate=bool(flags & os.O_TRUNC),
            pid=ctx.pid,
            uid=ctx.uid,
        )
        if self._fs.known_attributes(node) != known:
            self._view.drop_attributes(node)
        return self._file_info(handle, flags)

    @handler
    async def create(
        self,
        parent_inode: InodeT,
        name: FileNameT,
        mode: ModeT,
        flags: FlagT,
        ctx: RequestContext,
    ) -> tuple[FileInfo, EntryAttributes]:
        exclusive = bool(flags & os.O_EXCL)
        try:
            handle = self._create(parent_inode, name, _made(mode, ctx), ctx, exclusive=exclusive)
        except EntryExists as error:
            if exclusive:
                raise
            # The kernel trusts a lookup from before the name appeared; on ESTALE it looks again.
            raise StaleFile(f"{name!r} is there by now") from error
        return self._file_info(handle, flags), self._view.created(handle.file.node)

    @handler
    async def read(self, fh: FileHandleT, off: int, size: int) -> bytes:
        # pyfuse3 answers from any buffer; a copy of each megabyte would cost a tenth of the time.
        return await self._fs.read(self._fs.handle(fh), off, size)  # type: ignore[return-value]

    @handler
    async def write(self, fh: FileHandleT, off: int, buf: bytes) -> int:
        self._pacer.arrived(fh)
        await self._fs.write(self._fs.handle(fh), off, buf)
        await self._pacer.before_answer(fh, len(buf))
        return len(buf)

    @handler
    async def flush(self, fh: FileHandleT) -> None:
        await self._fs.flush(self._fs.handle(fh))

    @handler
    async def fsync(self, fh: FileHandleT, datasync: bool) -> None:  # noqa: FBT001 - pyfuse3's
        await self._fs.fsync(self._fs.handle(fh))

    @handler
    async def release(self, fh: FileHandleT) -> None:
        await self._fs.release(self._fs.handle(fh))

    @handler
    async def opendir(self, inode: InodeT, ctx: RequestContext) -> FileHandleT:
        handle = self._fs.directories.open(self._fs.node(inode))
        return FileHandleT(handle.number)

    @query
    async def readdir(self, fh: FileHandleT, start_id: int, token: ReaddirToken) -> None:
        """The positions 0 and 1 are "." and ".."; the kernel counts a lookup of the inodes."""
        handle = self._fs.directories.get(fh)
        directory = handle.directory
        for position, (name, node) in enumerate(
            ((b".", directory), (b"..", directory.parent or directory))
        ):
            if start_id <= position and not pyfuse3.readdir_reply(
                token, FileNameT(name), self._view.entry(node), position + 1
            ):
                return
        first = max(start_id, _DOTS)
        entries = await self._fs.directories.read(handle, first - _DOTS)
        for position, entry in enumerate(entries, first):
            if not self._view.show(token, handle, entry, position + 1):
                return

    @handler
    async def releasedir(self, fh: FileHandleT) -> None:
        self._fs.directories.release(fh)

    @handler
    async def fsyncdir(self, fh: FileHandleT, datasync: bool) -> None:  # noqa: FBT001 - pyfuse3's
        await self._fs.fsync_directory(self._fs.directories.get(fh).directory)

    @handler
    async def statfs(self, ctx: RequestContext) -> StatvfsData:
        """A bucket has neither a size nor a number of files that it could run out of."""
        data = StatvfsData()
        data.f_bsize = BLOCK_SIZE
        data.f_frsize = _FRAGMENT
        data.f_blocks = data.f_bfree = data.f_bavail = _FRAGMENTS
        data.f_files = data.f_ffree = data.f_favail = 1 << 32
        data.f_namemax = _NAME_MAX
        return data

    @handler
    async def access(self, inode: InodeT, mode: ModeT, ctx: RequestContext) -> bool:
        """The kernel checks by itself: every mount has default_permissions."""
        return True

    def note_failure(
        self, call: str, arguments: Sequence[object], error: Exception, errno_name: str
    ) -> None:
        """Remember a failed call by its path, for who asks why. See errnos.Noting."""
        path = self._subject(call, arguments)
        if path is not None:
            self._fs.files.troubles.note(path, _CALLS.get(call, call), error, errno_name)

    def _subject(self, call: str, arguments: Sequence[object]) -> str | None:
        """The path that a call is about; None if nothing stands for it any more."""
        match arguments:
            case [int(number), bytes(name), *_] if call in _OF_NAMES:
                directory = self._fs.find_path(number)
                shown = name.decode(errors="backslashreplace")
                return (directory and os.path.join(directory, shown)) or shown
            case [int(number), *_] if call in _OF_HANDLES:
                return self._fs.find_path_of_handle(number)
            case [int(number), *_]:
                return self._fs.find_path(number)
        return None

    def _create(
        self,
        parent_inode: InodeT,
        name: FileNameT,
        attributes: Attributes,
        ctx: RequestContext,
        *,
        exclusive: bool,
    ) -> FileHandle:
        parent = self._fs.node(parent_inode)
        return self._fs.create(parent, _text(name), attributes, pid=ctx.pid, exclusive=exclusive)

    def _file_info(self, handle: FileHandle, flags: int) -> FileInfo:
        # Without direct_io the kernel asks for security.capability before every write and copies
        # through its page cache; with it a file cannot be mapped, which needs reading as well.
        write_only = flags & os.O_ACCMODE == os.O_WRONLY
        pages = self._fs.page_use(handle)
        return FileInfo(
            fh=FileHandleT(handle.number),
            direct_io=write_only or pages.bypass,
            keep_cache=pages.keep,
        )


def _made(mode: int, ctx: RequestContext, *, rdev: int = 0) -> Attributes:
    """Those of a new file of any type but a directory."""
    kind = stat.S_IFMT(mode) or stat.S_IFREG
    return new_attributes(kind | stat.S_IMODE(mode), ctx.uid, ctx.gid, rdev=rdev)


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise UnencodableName(f"{name!r} is not UTF-8, as COS keys must be") from error
