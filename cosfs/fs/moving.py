"""Directories whose rename is under way: nothing below them may change until it has ended.

A rename of a directory copies every object and then deletes the old ones. What was stored or
removed under the old keys meanwhile would be lost, or come back.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from cosfs.namespace.inodes import Node


class MovingDirectories:
    """The gate that keeps changes out of directories on the move."""

    def __init__(self) -> None:
        self._ended: dict[Node, trio.Event] = {}

    @contextmanager
    def moving(self, directory: Node) -> Iterator[None]:
        """Keep changes below *directory* waiting while the block runs."""
        ended = self._ended[directory] = trio.Event()
        try:
            yield
        finally:
            del self._ended[directory]
            ended.set()

    async def settled(self, node: Node) -> None:
        """Wait until neither *node* nor a directory above it moves. Yields only if one does."""
        while (ended := self._end_of_move(node)) is not None:
            await ended.wait()

    def _end_of_move(self, node: Node) -> trio.Event | None:
        if not self._ended:
            return None
        return next((end for top, end in self._ended.items() if node.is_inside(top)), None)
