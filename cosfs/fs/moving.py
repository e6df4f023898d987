"""Names that are being changed or removed: nothing at or below them may change until that ends.

A rename copies every object and then deletes the old ones. What was stored or removed under the
old keys meanwhile would be lost, or come back; so would what is stored while it is removed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from cosfs.namespace.inodes import Node


class MovingNodes:
    """The gate that keeps changes out of files and directories on the move."""

    def __init__(self) -> None:
        self._tops: dict[trio.Event, Node] = {}  # by the end of their move

    @contextmanager
    def moving(self, top: Node) -> Iterator[None]:
        """Keep changes of *top* and of what is below it waiting while the block runs."""
        ended = trio.Event()
        self._tops[ended] = top
        try:
            yield
        finally:
            del self._tops[ended]
            ended.set()

    @contextmanager
    def leaving(self, node: Node) -> Iterator[None]:
        """As ``moving``, for a node that is to lose its name; nor is it looked up meanwhile."""
        with self.moving(node):
            node.leaving = True
            try:
                yield
            finally:
                node.leaving = False

    def has_settled(self, node: Node) -> bool:
        """Whether ``settled`` would not wait. Does not yield."""
        return self._end_of_move(node) is None

    async def settled(self, node: Node) -> None:
        """Wait until neither *node* nor a directory above it moves. Yields only if one does."""
        while (ended := self._end_of_move(node)) is not None:
            await ended.wait()

    def _end_of_move(self, node: Node) -> trio.Event | None:
        if not self._tops:
            return None
        return next((end for end, top in self._tops.items() if node.is_inside(top)), None)
