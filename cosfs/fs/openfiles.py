"""The open files of a mount, by node: who holds them, what of them is lost, and who makes room.

Owns every commit that no call waits for: after the last close, at the end of the mount, and when
memory is short. What fails there is logged, and remembered for those who ask.
"""

import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import trio
from cachetools import LRUCache

from cosfs.cos.model import MIN_PART_SIZE
from cosfs.errors import CosfsError, FilesLost
from cosfs.fs.advice import reason_of
from cosfs.fs.openfile import OpenFile
from cosfs.fs.storing import Engines
from cosfs.fs.troubles import MOST_PATHS, Trouble, Troubles, path_of
from cosfs.namespace.inodes import Node

_log = logging.getLogger(__name__)


class OpenFiles:
    """At most one OpenFile for a node; it goes when nobody holds it any more."""

    def __init__(self, engines: Engines) -> None:
        self.troubles = Troubles()
        self._engines = engines
        self._files: dict[Node, OpenFile] = {}
        self._lost: LRUCache[str, str] = LRUCache(MOST_PATHS)  # reasons that no call could tell
        engines.memory.on_shortage(press=self._press)

    def __iter__(self) -> Iterator[OpenFile]:
        return iter(list(self._files.values()))

    def find(self, node: Node) -> OpenFile | None:
        return self._files.get(node)

    def is_open(self, node: Node) -> bool:
        file = self._files.get(node)
        return file is not None and not file.ended

    @property
    def unstored(self) -> list[str]:
        """The paths of files with changes that COS does not have yet."""
        return [path_of(file.node) for file in self if file.is_unstored]

    @property
    def lost(self) -> dict[str, str]:
        """What COS does not have, by path, and why: no call could tell, or its file is open."""
        failed = {path: str(reason_of(error)) for path, error in self._failed()}
        return {**self._lost, **failed}

    def trouble_of(self, path: str) -> Trouble | None:
        """What went wrong last for *path*, also if no call of the open file has said so yet."""
        if self.troubles.find(path) is None:
            for failed, error in self._failed():
                if failed == path:
                    self.troubles.note(path, "uploading", error)
        return self.troubles.find(path)

    def hold(self, node: Node) -> OpenFile:
        """The file of *node*, until ``let_go``. Does not yield."""
        file = self._files.get(node)
        if file is None or file.ended:
            file = self._files[node] = OpenFile(self._engines, node)
        file.handles += 1
        self._engines.namespace.inodes.pin(node)
        return file

    async def let_go(self, file: OpenFile) -> None:
        file.handles -= 1
        try:
            if file.handles == 0 and not file.failed:
                # Only writes through a mapping come after the last flush.
                await self._commit_or_log(file)
            if file.handles == 0:
                await file.discard()
        finally:
            if file.handles == 0 and self._files.get(file.node) is file:
                del self._files[file.node]
            self._engines.namespace.inodes.unpin(file.node)

    async def commit(self, file: OpenFile) -> None:
        """Commit *file* for a call that hears of errors."""
        is_news = file.is_unstored
        await file.commit()
        if is_news:
            self.forget_loss(file.node)

    async def finish(self) -> None:
        """Commit everything that is still dirty and leave nothing behind.

        Raises FilesLost for what could not be stored, now or after the last close of a file.
        """
        async with trio.open_nursery() as nursery:
            for file in self:
                nursery.start_soon(self._finish, file)
        if self._lost:
            raise FilesLost(self._lost)

    def attributes_lost(self, node: Node, error: Exception) -> None:
        """What was collected for *node* could not be stored, and no call can tell."""
        self._note_loss(node, "storing attributes", error)

    def removal_lost(self, path: str, error: Exception) -> None:
        """COS still has the object of a name that was removed, and no call has told."""
        self._lost[path] = f"not removed: {reason_of(error)}"

    def forget_loss(self, node: Node) -> None:
        """What was lost of *node* is of no interest any more: stored anew, or removed."""
        self._lost.pop(path_of(node), None)

    @asynccontextmanager
    async def held(
        self, moving: Sequence[Node], *, dropping: Sequence[Node]
    ) -> AsyncIterator[list[OpenFile]]:
        """Hold the open files among both; those that move are committed, the others lose a name.

        What was collected for those that lose a name is not stored meanwhile: it would come back.
        Always in the order of their inodes: two renames that wait for each other would never end.
        """
        async with AsyncExitStack() as stack:
            for node in dropping:
                stack.enter_context(self._engines.moving.leaving(node))
            held = []
            for node in sorted([*moving, *dropping], key=lambda node: node.inode):
                file = self._files.get(node)
                if file is not None:
                    await stack.enter_async_context(file.held(commit=node not in dropping))
                    held.append(file)
            yield held

    def _failed(self) -> Iterator[tuple[str, Exception]]:
        """The open files that have lost data, by path, and why."""
        for file in self:
            if file.error is not None and not file.node.unlinked:
                yield path_of(file.node), file.error

    async def _finish(self, file: OpenFile) -> None:
        """Commit *file* and leave nothing of it behind: nobody comes back to it."""
        path, was_unstored = path_of(file.node), file.is_unstored
        await self._commit_or_log(file)
        if was_unstored and not file.is_unstored:
            _log.info("file stored path=%s", path)
        file.handles = 0  # whoever has it open will not be served again
        try:
            await file.discard()
        except CosfsError as error:
            _log.warning("file not cleared away path=%s error=%s", path, error)

    async def _commit_or_log(self, file: OpenFile) -> None:
        if file.node.unlinked:
            return
        try:
            await self.commit(file)
        except Exception as error:  # noqa: BLE001 - not even a bug may keep others from their commit
            bug = None if isinstance(error, CosfsError) else error
            _log.error("file lost path=%s error=%s", path_of(file.node), error, exc_info=bug)
            self._note_loss(file.node, "close", error)

    def _note_loss(self, node: Node, call: str, error: Exception) -> None:
        """Remember what no call can tell: its reason, as the error would keep the data alive."""
        self._lost[path_of(node)] = str(reason_of(error))
        self.troubles.note(path_of(node), call, error)

    def _press(self) -> None:
        """Memory is short: let the longest buffered runs leave before they fill a part."""
        while self._engines.memory.wants_more_leaving:
            file = max(self, key=lambda file: file.longest_sendable, default=None)
            if file is None or file.longest_sendable < MIN_PART_SIZE:
                self._relieve_scattered()
                return
            file.send_early()

    def _relieve_scattered(self) -> None:
        """No run makes a part: store the file that holds most in pieces, as it is."""
        file = max(self, key=lambda file: file.scattered_size, default=None)
        if file is not None and file.scattered_size >= MIN_PART_SIZE:
            self._engines.nursery.start_soon(self._relieve_or_log, file)

    async def _relieve_or_log(self, file: OpenFile) -> None:
        if file.ended:
            return
        self.hold(file.node)
        try:
            await file.relieve()
        except Exception as error:  # noqa: BLE001 - the file's next call tells its user
            bug = None if isinstance(error, CosfsError) else error
            _log.warning("file not relieved name=%s error=%s", file.node.name, error, exc_info=bug)
            self.troubles.note(path_of(file.node), "storing early", error)
        finally:
            await self.let_go(file)


async def outlive(files: Iterable[OpenFile]) -> None:
    """Let files that lose their name live on; without that, their readers get ESTALE."""
    for file in files:
        try:
            await file.outlive()
        except CosfsError as error:
            _log.warning("open file not kept name=%s error=%s", file.node.name, error)
