"""Making, removing and renaming of names, beside those who have their files open.

Invariants: nothing changes at or below a name while it moves; what is being written below goes
with it; those who have a file open that loses its name keep its bytes. How a name is kept on COS
is the namespace's, how a file is committed the OpenFile's. Knows of no handle.
"""

from contextlib import AsyncExitStack

from cosfs.errors import IsADirectory, NotADirectory
from cosfs.fs.lateattributes import LateAttributes
from cosfs.fs.openfiles import OpenFiles, outlive
from cosfs.fs.storing import Engines
from cosfs.namespace.attributes import Attributes
from cosfs.namespace.inodes import Node


class Names:
    """Changes of the names of one mount, each given by its directory."""

    def __init__(self, engines: Engines, files: OpenFiles, late: LateAttributes) -> None:
        self._namespace = engines.namespace
        self._moving = engines.moving
        self._files = files
        self._late = late

    async def make_symlink(
        self, parent: Node, name: str, target: bytes, attributes: Attributes
    ) -> Node:
        """Store a symlink: a file whose content is its target.

        The node is remembered for the kernel already: it would end with its handle otherwise.
        """
        await self._moving.settled(parent)
        node = self._namespace.create(parent, name, attributes)
        file = self._files.hold(node)
        try:
            file.begin_new(exclusive=True)
            await file.write(0, target)
            await file.commit()
            self._namespace.inodes.remember(node)
        finally:
            await self._files.let_go(file)
        return node

    async def make_directory(
        self, parent: Node, name: str, *, mode: int, uid: int, gid: int
    ) -> Node:
        await self._moving.settled(parent)
        return await self._namespace.make_directory(parent, name, mode=mode, uid=uid, gid=gid)

    async def unlink(self, parent: Node, name: str) -> None:
        """Remove a file's name; those who have it open keep it, and it leaves nothing on COS."""
        await self._moving.settled(parent)
        node = await self._namespace.lookup(parent, name, to_remove=True)
        if node.is_directory:
            raise IsADirectory(f"{name!r} is a directory")
        async with self._files.held([], dropping=[node]) as held:
            await outlive(held)
            await self._namespace.remove_file(node)
            self._files.forget_loss(node)
            for file in held:
                file.outlived()

    async def remove_directory(self, parent: Node, name: str) -> None:
        await self._moving.settled(parent)
        node = await self._namespace.lookup(parent, name)
        if not node.is_directory:
            raise NotADirectory(f"{name!r} is not a directory")
        async with self._files.held([], dropping=[node]):
            await self._namespace.remove_directory(node)

    async def rename(
        self, parent: Node, name: str, new_parent: Node, new_name: str, *, replace: bool
    ) -> None:
        """Rename a file or a directory; what is being written below is committed first."""
        await self._moving.settled(parent)
        await self._moving.settled(new_parent)
        node = await self._namespace.lookup(parent, name)
        target = self._namespace.inodes.child(new_parent, new_name)
        dropping = [] if target is None or target is node else [target]
        async with AsyncExitStack() as stack:
            if node.is_directory:
                await self._late.store_all()
            stack.enter_context(self._moving.moving(node))
            moving = [file.node for file in self._files if file.node.is_inside(node)]
            held = await stack.enter_async_context(self._files.held(moving, dropping=dropping))
            replaced = [file for file in held if file.node in dropping]
            await outlive(replaced)
            await self._namespace.rename(node, new_parent, new_name, replace=replace)
            for file in held:
                file.changed_here()
            for file in replaced:
                file.outlived()
