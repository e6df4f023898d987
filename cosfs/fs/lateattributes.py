"""Attributes of committed files, stored a moment after they were changed.

Changing them costs a copy of the object inside COS. Programs change them in bursts (``rsync``:
times, mode, then a rename, which copies anyway): a moment's patience makes one copy of three.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from cosfs.errors import CosfsError
from cosfs.namespace.inodes import InodeTable, Node

_log = logging.getLogger(__name__)

MOMENT_S: Final = 0.2  # a burst is over by then, even with a LIST before its rename
_MOST_WAITING: Final = 256  # nodes; past that, whoever changes one waits for its copy


class LateAttributes:
    """Sees to it that what was collected is stored: after a moment, or when asked."""

    def __init__(
        self,
        inodes: InodeTable,
        store: Callable[[Node], Awaitable[None]],
        lost: Callable[[Node, Exception], None],
        nursery: trio.Nursery,
    ) -> None:
        self._inodes = inodes
        self._store = store
        self._tell_lost = lost
        self._nursery = nursery
        self._waiting: set[Node] = set()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def collected(self, node: Node) -> None:
        """Store what was collected for *node* soon, or now if too much is waiting."""
        if node.late is None or node in self._waiting:
            return
        if len(self._waiting) >= _MOST_WAITING:
            await self._store(node)
            return
        self._waiting.add(node)
        self._inodes.pin(node)
        self._nursery.start_soon(self._store_later, node)

    async def store_all(self) -> list[Exception]:
        """Store everything that is waiting. Returns the errors, which the log names too."""
        errors: list[Exception] = []

        async def store(node: Node) -> None:
            error = await self._store_or_log(node)
            if error is not None:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for node in list(self._waiting):
                nursery.start_soon(store, node)
        return errors

    async def _store_later(self, node: Node) -> None:
        try:
            while node.late is not None:
                await trio.sleep(MOMENT_S)
                await self._store_or_log(node)
        finally:
            self._waiting.discard(node)
            self._inodes.unpin(node)

    async def _store_or_log(self, node: Node) -> Exception | None:
        try:
            await self._store(node)
        except Exception as error:  # noqa: BLE001 - a bug here must not end the mount
            bug = None if isinstance(error, CosfsError) else error
            _log.error("attributes lost name=%s error=%s", node.name, error, exc_info=bug)
            node.late = None  # what failed for good is not tried for ever
            self._tell_lost(node, error)
            return error
        return None
