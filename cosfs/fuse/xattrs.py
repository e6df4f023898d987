"""The handlers of a mount with extended attributes.

Without them every such request is answered ENOSYS, once: the kernel asks no more, not even for
security.capability before each write. XATTR_CREATE and XATTR_REPLACE are kept by pyfuse3, which
asks ``getxattr`` before ``setxattr``: right among the programs of one machine, not between two.
"""

from collections.abc import Sequence

from pyfuse3 import InodeT, RequestContext, XAttrNameT

from cosfs.fs.extended import ExtendedAttributes
from cosfs.fs.filesystem import Filesystem
from cosfs.fuse.errnos import handler, query
from cosfs.fuse.operations import Operations
from cosfs.fuse.pacing import WritePacer
from cosfs.fuse.view import KernelView


class XattrOperations(Operations):
    """Operations, with extended attributes."""

    def __init__(
        self, filesystem: Filesystem, view: KernelView, pacer: WritePacer, *, timeout_s: float
    ) -> None:
        super().__init__(filesystem, view, pacer, timeout_s=timeout_s)
        self._extended = ExtendedAttributes(filesystem)

    @handler
    async def setxattr(
        self, inode: InodeT, name: XAttrNameT, value: bytes, ctx: RequestContext
    ) -> None:
        await self._extended.set(self._fs.node(inode), name, value)

    @query
    async def getxattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> bytes:
        return await self._extended.get(self._fs.node(inode), name)

    @query
    async def listxattr(self, inode: InodeT, ctx: RequestContext) -> Sequence[XAttrNameT]:
        names = await self._extended.names(self._fs.node(inode))
        return [XAttrNameT(name) for name in names]

    @handler
    async def removexattr(self, inode: InodeT, name: XAttrNameT, ctx: RequestContext) -> None:
        await self._extended.remove(self._fs.node(inode), name)
