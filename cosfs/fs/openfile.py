"""One inode that somebody has open: its content while it changes, and the commits to COS.

Every handle of the inode shares one OpenFile. Its lock orders edits and commits; reading buffered
bytes needs none, because content changes only between awaits.
"""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import trio

from cosfs.cos.model import (
    MAX_OBJECT_SIZE,
    ByteRange,
    ObjectInfo,
)
from cosfs.errors import (
    FileTooLarge,
    NotFound,
    PreconditionFailed,
    ServiceAway,
    StaleFile,
)
from cosfs.fs.content import FileContent
from cosfs.fs.storing import Engines, FileStore
from cosfs.namespace.attributes import AttributeChange, Attributes
from cosfs.namespace.inodes import NEVER, Node
from cosfs.transfer.parts import Buffered, Hole, Piece
from cosfs.transfer.prefetch import Prefetcher
from cosfs.transfer.version import Version

_log = logging.getLogger(__name__)

_WAITING_WRITE: Final = 2 << 20  # its bytes, 1 MiB at most, and FUSE's receive buffer
_MOST_EXTENTS: Final = 4000  # each may become a part, and COS takes 10 000


class OpenFile:
    """The file behind one inode.

    ========= ======================================== =====================================
    state     means                                    left by
    ========= ======================================== =====================================
    clean     ``content`` is None: reads go to COS     write, truncate, create
    dirty     ``content`` holds what COS does not      ``commit``, ``discard``
    failed    the upload lost written data             ``discard``; every call raises it
    ========= ======================================== =====================================
    """

    def __init__(self, engines: Engines, node: Node) -> None:
        self.node = node
        self.handles = 0
        self.content: FileContent | None = None
        self.failed = False  # the last commit failed, and whoever asked for it knows
        self.ended = False  # by ``discard``
        self.put_off_by: int | None = None  # who closed it untouched, and holds it still
        self._engines = engines
        self._lock = trio.Lock()
        self._store = FileStore(engines, node)
        self._epoch = 0  # how often somebody else replaced the object while it was open
        self._own = self._store.version  # the version that the epoch is about
        self._modified_ns: int | None = None  # of the last write, until attributes say otherwise
        self._written = False  # since it was made or emptied
        self._is_relieving = False
        self._hidden: ObjectInfo | None = None  # the copy that is left when the name goes

    def __repr__(self) -> str:
        state = "FAILED" if self._store.error else "CLEAN" if self.content is None else "DIRTY"
        return f"<OpenFile {self.node.name!r} {state} {self.content} {self._store}>"

    @property
    def untouched(self) -> bool:
        """Made or emptied, and nothing written since: perhaps the writing is still to come."""
        return self.content is not None and self.content.size == 0 and not self._written

    @property
    def error(self) -> Exception | None:
        """Why written data is lost, if it is; every call raises it."""
        return self._store.error

    @property
    def is_unstored(self) -> bool:
        """Whether it has changes that COS does not hold, and a name to hold them under."""
        return self.content is not None and not self.node.unlinked

    @property
    def stored(self) -> int:
        """How many bytes of the content COS has taken, in parts of an upload that runs."""
        return 0 if self.content is None else self._store.stored

    @property
    def longest_sendable(self) -> int:
        """How many buffered bytes ``send_early`` would send."""
        if self.content is None or self._store.error or self._lock.locked():
            return 0
        return self.content.longest_run()[0]

    @property
    def attributes(self) -> Attributes:
        """The inode's attributes, with size and times as they are now."""
        if self.content is None:
            return self.node.attributes
        attributes = replace(self.node.attributes, size=self.content.size)
        if self._modified_ns is None:
            return attributes
        # A rename or the loss of the name may have changed the inode since.
        changed_ns = max(self._modified_ns, attributes.ctime_ns)
        return replace(attributes, mtime_ns=self._modified_ns, ctime_ns=changed_ns)

    @property
    def version(self) -> Version | None:
        """The object that is read, and that changes start from."""
        return self._store.version

    @property
    def epoch(self) -> int:
        """Another number once somebody else has replaced the object."""
        if self._store.version != self._own:
            self._epoch += 1
            self._own = self._store.version
        return self._epoch

    def changed_here(self) -> None:
        """Say that this mount itself has just changed the object's key, ETag or metadata.

        The name is this file's from then on: O_EXCL has had its say. Where others had stored
        another object meanwhile, that is what was changed, and readers are not to go on in it.
        """
        version = self._store.version
        if self._own is None or version is None or self._own.may_equal(version):
            self._own = version
        self._store.is_exclusive = False

    @property
    def scattered_size(self) -> int:
        """How many buffered bytes ``relieve`` would send, which ``send_early`` cannot."""
        if self.content is None or self.content.extents < 2 or self._is_relieving:
            return 0
        return 0 if self._store.error or self._lock.locked() else self.content.buffered

    def begin_new(self, *, exclusive: bool) -> None:
        """Make it a new, empty file, to be stored even if nothing is written.

        *exclusive*: the first commit raises AlreadyExists rather than replace an object (O_EXCL).
        """
        self._edit()
        self._store.is_exclusive = exclusive

    async def read(
        self, span: ByteRange, prefetcher: Prefetcher, *, epoch: int
    ) -> bytes | memoryview:
        """The bytes of *span* that exist; fewer at the end of the file.

        Raises StaleFile when somebody else replaced or removed the object since *epoch*.
        """
        while True:
            self._require(epoch)
            if self._is_sent(span.start):
                if self._store.keeps(span.stop):
                    self._raise_error()
                    return self._store.read_kept(span)
                async with self._turn():
                    await self._seal_below(span.start)
            # After the seal, which makes a new version, and before anything else can.
            version = self._store.version
            try:
                return await self._read(version, span, prefetcher)
            except (PreconditionFailed, NotFound) as error:
                # A rename under way may be putting its bytes elsewhere.
                await self._engines.moving.settled(self.node)
                self._require(epoch)
                if version == self._store.version:
                    raise StaleFile(
                        f"{self.node.name!r} was replaced while it was read"
                    ) from error

    def _require(self, epoch: int) -> None:
        if self.epoch != epoch or self.node.replaced:
            raise StaleFile(f"{self.node.name!r} was replaced since it was opened")

    async def write(self, offset: int, data: bytes) -> None:
        """Put *data* at *offset*; waits only for memory, and for a commit under way."""
        if self._append(offset, data):
            return
        if offset + len(data) > MAX_OBJECT_SIZE:
            raise FileTooLarge(f"{self.node.name!r}: COS holds {MAX_OBJECT_SIZE} bytes an object")
        memory = self._engines.memory
        if not memory.try_acquire(len(data)):
            await self._wait_for_memory(len(data))
        unused = len(data)
        try:
            await self._take_turn()
            try:
                unused -= await self._put_in(offset, data)
                self._wrote()
            finally:
                self._lock.release()
        finally:
            if unused:
                memory.release(unused)

    def _append(self, offset: int, data: bytes) -> bool:
        """Write at the end, if that takes no waiting and fills no part. Does not yield.

        Most small writes are such; in this way they cost a third.
        """
        content = self.content
        if (
            content is None
            or not content.is_run_to(offset)
            or content.buffered + len(data) >= self._store.part_size
            or offset + len(data) > MAX_OBJECT_SIZE
            or self._store.error is not None
            or self._lock.locked()
            or not self._engines.moving.has_settled(self.node)
            or not self._engines.memory.try_acquire(len(data))
        ):
            return False
        content.append(data)
        self._wrote()
        return True

    async def _wait_for_memory(self, size: int) -> None:
        self._raise_error()
        try:
            await self._engines.memory.acquire(size)
        except ServiceAway as error:
            # Without these bytes the file is no whole: its close must not store the others.
            self._store.give_up(error)
            raise

    async def truncate(self, size: int) -> None:
        """Cut or extend the file to *size* bytes."""
        if size > MAX_OBJECT_SIZE:
            raise FileTooLarge(f"{self.node.name!r}: COS holds {MAX_OBJECT_SIZE} bytes an object")
        async with self._turn():
            if size == 0:
                await self._start_over()
            content = await self._editable(size)
            buffered = content.buffered
            content.truncate(size)
            self._engines.memory.release(buffered - content.buffered)
            self._touch()

    async def change_attributes(self, change: AttributeChange) -> None:
        """Change the attributes, for the next commit to store if there is one to come."""
        async with self._turn():
            if self.content is None:
                self._engines.namespace.collect_attributes(self.node, change)
                return
            now = time.time_ns()
            # chmod(2) to the same mode changes the inode all the same.
            self.node.attributes = replace(change.apply(self.attributes, now), ctime_ns=now)
            self._modified_ns = None
            self._store.explicit_mtime |= change.mtime_ns is not None

    async def commit(self) -> None:
        """Make the object at the key what the file is now; nothing to do for a clean file.

        Raises what COS answered. After a failed PUT the file stays dirty and may be committed
        again; after a failed upload its data is lost and every later call says so.
        """
        async with self._turn():
            try:
                self._raise_error()
                if not self.node.unlinked:  # else there is no key to make an object at
                    await self._commit()
            except BaseException:
                self.failed = True
                raise

    @asynccontextmanager
    async def held(self, *, commit: bool) -> AsyncIterator[None]:
        """Hold off edits and commits, for a change of the file's name.

        With *commit*, store first what the name's change could not carry along: all but a new
        file of which nothing has been sent yet.
        """
        async with self._lock:  # not after renames of directories above: this may be for one
            if commit and (self._store.has_begun or not self.node.pending):
                self._raise_error()
                await self._commit()
            yield

    async def outlive(self) -> None:
        """Before the name goes: put what is stored under it where the handles still find it.

        To be called while held, and followed by ``outlived`` when the name is gone.
        """
        if self._store.has_begun:
            await self._commit()
        self._hidden = await self._store.hide()

    def outlived(self) -> None:
        """The name is gone: the handles go on with the hidden copy."""
        if self._hidden is not None:
            self.node.object = self._hidden
            self.changed_here()

    async def discard(self) -> None:
        """Forget what is not stored, and what only the handles could reach.

        Nothing happens if somebody has opened the file meanwhile. Whoever does from then on gets
        another OpenFile: this one may take a while to end on COS.
        """
        async with self._turn():
            if self.handles:
                return
            self.ended = True
            if self.content is not None:
                self._forget_content()
                self.node.checked = NEVER
            if self.node.pending and not self.node.unlinked:
                # The name alone: an object that has it on COS is not this file.
                self._engines.namespace.inodes.unlink(self.node)
        await self._store.end_upload()
        await self._store.forget_hidden()

    async def relieve(self) -> None:
        """Store the file as it is, to free the memory of bytes too scattered to make a part."""
        self._is_relieving = True
        try:
            async with self._turn():
                await self._seal()
        finally:
            self._is_relieving = False

    def send_early(self) -> None:
        """Send the longest run as a part of less than the usual size. Does not yield."""
        assert self.content is not None
        self._store.send(self.content.advance(self.content.longest_run()[1]))

    async def _read(
        self, version: Version | None, span: ByteRange, prefetcher: Prefetcher
    ) -> bytes | memoryview:
        if self.content is not None:
            self._raise_error()
            pieces = list(self.content.read(span.start, span.size))
            return b"".join([await self._bytes_of(version, piece) for piece in pieces])
        if version is None or span.start >= version.size:
            return b""
        wanted = ByteRange(span.start, min(span.stop, version.size))
        prefetcher.follow(version, wanted)
        return await self._engines.blocks.read(version, wanted)

    async def _bytes_of(self, version: Version | None, piece: Piece) -> bytes | memoryview:
        if isinstance(piece, Buffered):
            return b"".join(piece.chunks)
        if isinstance(piece, Hole):
            return bytes(piece.size)
        assert version is not None
        return await self._engines.blocks.read(version, piece.span)

    async def _put_in(self, offset: int, data: bytes) -> int:
        """Edit the content; returns by how many bytes what is buffered has grown."""
        self._raise_error()
        if self._is_sent(offset) and self._store.keeps(offset + len(data)):
            self._store.rewrite_kept(offset, data)
            return 0
        content = await self._editable(offset)
        buffered = content.buffered
        content.write(offset, data)
        grown = content.buffered - buffered
        self._send_full_parts(content, offset + len(data) - 1)
        if self._store.is_long or content.extents > _MOST_EXTENTS:
            await self._seal()
        return grown

    def _is_sent(self, offset: int) -> bool:
        """Whether the byte at *offset* is part of what was uploaded already."""
        return self.content is not None and offset < self.content.frontier

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        await self._take_turn()
        try:
            yield
        finally:
            self._lock.release()

    async def _take_turn(self) -> None:
        """Wait for renames of directories above, and for the lock; without yielding if free."""
        await self._engines.moving.settled(self.node)
        try:
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()

    async def _editable(self, offset: int) -> FileContent:
        """The content, ready for a change at *offset*."""
        self._raise_error()
        await self._seal_below(offset)
        return self._edit()

    async def _seal_below(self, offset: int) -> None:
        """Commit what is there if *offset* was sent already: parts cannot be read back."""
        if self._is_sent(offset):
            await self._seal()

    async def _seal(self) -> None:
        """Complete the upload with what is there; the content goes on from that object."""
        self._raise_error()
        await self._commit()

    def _edit(self) -> FileContent:
        if self.content is None:
            size = 0 if self.node.object is None else self.node.object.size
            self._begin_content(FileContent(size))
        assert self.content is not None
        return self.content

    def _begin_content(self, content: FileContent) -> None:
        if self.content is None:
            self._engines.memory.reserve(_WAITING_WRITE)
        self.content = content
        self.node.dirty = True

    async def _start_over(self) -> None:
        """Drop everything written so far: the file becomes empty."""
        self._raise_error()
        await self._store.end_upload()
        if self.content is not None:
            self._engines.memory.release(self.content.buffered)
        self._begin_content(FileContent())
        self._written = False

    def _wrote(self) -> None:
        self._written = True
        self.failed = False
        self._touch()

    def _touch(self) -> None:
        self._modified_ns = time.time_ns()
        self._store.explicit_mtime = False

    def _raise_error(self) -> None:
        if self._store.error is not None:
            raise self._store.error

    def _send_full_parts(self, content: FileContent, position: int) -> None:
        """Send the full parts of the run around *position*, the only one that has grown."""
        while (stop := content.full_run_at(position, self._store.part_size)) is not None:
            if self._store.has_begun:
                self._store.send(content.advance(stop))
            else:
                self._store.begin()  # one that is taken up again has parts of its own sizes

    async def _commit(self) -> None:
        if self.content is None:
            return
        self.node.attributes = self.attributes
        self._modified_ns = None
        made = await self._store.make(self.content)
        try:
            made = await self._store.settle(made)
        finally:
            # Whatever became of the rest: the content is stored, and nothing of it left here.
            self._committed(made)

    def _committed(self, info: ObjectInfo) -> None:
        self._forget_content()
        self._engines.namespace.committed(self.node, info)
        self._own = self._store.version
        self._store.is_exclusive = False
        _log.debug("file committed key=%s bytes=%d", info.key, info.size)

    def _forget_content(self) -> None:
        if self.content is not None:
            self._engines.memory.release(self.content.buffered)
            self._engines.memory.unreserve(_WAITING_WRITE)
        self.content = None
        self.node.dirty = False
        self._modified_ns = None
        self._store.explicit_mtime = False
