"""The bucket's keys as a tree of names: lookup, list, make, remove, rename, set attributes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cosfs.cos.client import CosClient
from cosfs.cos.model import Key, ObjectInfo, ObjectProperties, StoredObject
from cosfs.namespace.attributes import AttributeChange, AttributeCodec, Attributes
from cosfs.namespace.inodes import InodeTable, Node

CopyObject = Callable[[ObjectInfo, Key, ObjectProperties | None], Awaitable[StoredObject]]
"""Copy a whole object of any size, If-Match on its ETag; None keeps its properties."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryEntry:
    """A name in a directory. Not *exact*: attributes as far as a listing shows them."""

    name: str
    attributes: Attributes
    exact: bool


class Namespace:
    """Names and attributes of one mount."""

    def __init__(
        self,
        client: CosClient,
        codec: AttributeCodec,
        *,
        prefix: str,
        ttl_s: float,
        copy: CopyObject,
    ) -> None:
        self.ttl_s = ttl_s
        self.inodes = InodeTable(codec.implicit_directory())

    def key_of(self, node: Node) -> Key:
        raise NotImplementedError

    async def load_root(self) -> None:
        raise NotImplementedError

    async def lookup(self, parent: Node, name: str) -> Node:
        raise NotImplementedError

    async def refresh(self, node: Node, *, force: bool = False) -> None:
        raise NotImplementedError

    async def entries(self, directory: Node) -> list[DirectoryEntry]:
        raise NotImplementedError

    def entry_node(self, directory: Node, entry: DirectoryEntry) -> Node:
        raise NotImplementedError

    def create(self, parent: Node, name: str, attributes: Attributes) -> Node:
        raise NotImplementedError

    def committed(self, node: Node, info: ObjectInfo) -> None:
        raise NotImplementedError

    async def make_directory(
        self, parent: Node, name: str, *, mode: int, uid: int, gid: int
    ) -> Node:
        raise NotImplementedError

    async def remove_file(self, node: Node) -> None:
        raise NotImplementedError

    async def remove_directory(self, node: Node) -> None:
        raise NotImplementedError

    async def rename(
        self, node: Node, new_parent: Node, new_name: str, *, replace: bool = True
    ) -> None:
        raise NotImplementedError

    async def set_attributes(self, node: Node, change: AttributeChange) -> None:
        raise NotImplementedError
