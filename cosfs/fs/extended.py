"""Extended attributes of a filesystem's files: kept beside mode and times, and stored with them.

All of a file's are one value there, so that a change goes out with the commit of a file that is
being written, or with the one copy that a burst of changes costs.
"""

from dataclasses import replace
from typing import Final

from cosfs.errors import NoSuchAttribute, NotSupported
from cosfs.fs.filesystem import Filesystem
from cosfs.namespace import xattrs
from cosfs.namespace.attributes import AttributeChange, Attributes
from cosfs.namespace.inodes import Node

_KEPT: Final = (b"user.", b"trusted.", b"security.")  # xattr(7); who may use them, the kernel says


class ExtendedAttributes:
    """Reads and changes them. The kernel lets one change of an inode in at a time."""

    def __init__(self, filesystem: Filesystem) -> None:
        self._fs = filesystem

    async def names(self, node: Node) -> list[bytes]:
        return list(_decoded(await self._fs.attributes(node)))

    async def get(self, node: Node, name: bytes) -> bytes:
        """Raises NoSuchAttribute."""
        _require_known(name)
        known = _decoded(await self._fs.attributes(node))
        if name not in known:
            raise NoSuchAttribute(f"{node.name!r} has no {name!r}")
        return known[name]

    async def set(self, node: Node, name: bytes, value: bytes) -> None:
        """Raises MetadataFull when COS has no room for it."""
        _require_known(name)
        attributes = await self._fs.attributes(node)
        await self._change(node, attributes, _decoded(attributes) | {name: value})

    async def remove(self, node: Node, name: bytes) -> None:
        """Raises NoSuchAttribute."""
        _require_known(name)
        attributes = await self._fs.attributes(node)
        known = _decoded(attributes)
        if known.pop(name, None) is None:
            raise NoSuchAttribute(f"{node.name!r} has no {name!r}")
        await self._change(node, attributes, known)

    async def _change(
        self, node: Node, attributes: Attributes, wanted: dict[bytes, bytes]
    ) -> None:
        text = xattrs.encode(wanted)
        # Now, as later, when it is stored, nobody would hear of it.
        self._fs.namespace.require_room(node, replace(attributes, xattr=text))
        await self._fs.set_attributes(node, AttributeChange(xattr=text))


def _decoded(attributes: Attributes) -> dict[bytes, bytes]:
    return xattrs.decode(attributes.xattr or "")


def _require_known(name: bytes) -> None:
    """Refuse names that mean something to the kernel, as local filesystems do.

    An ACL that is kept without being obeyed would cost ``cp -a`` the modes.
    """
    if not name.startswith(_KEPT):
        raise NotSupported(f"{name!r}: only {_KEPT} can be kept")
