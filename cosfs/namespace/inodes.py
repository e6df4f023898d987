"""Inodes: the numbers that the kernel knows files by, and how long each is kept.

Owns the tree of known nodes. Invariants: a linked node is its parent's child under its name;
no two nodes have the same number; a node lives while the kernel, a handle or a child holds it.
Knows no keys and sends nothing; no method yields.

Programs tell by its number whether a file is still the same: git and backup programs read anew
what has got another one. So it comes from the directory's and the name, and is the same in every
mount, but for a name that was given away while its node is in use: that one gets a small number.
Within a mount a node that was moved keeps its number, also when nothing has held it meanwhile.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from cachetools import LRUCache

from cosfs.cos.model import Key, ObjectInfo
from cosfs.errors import NoSuchEntry
from cosfs.namespace.attributes import AttributeChange, Attributes

ROOT_INODE: Final = 1  # FUSE_ROOT_ID of linux/fuse.h
_MOST_MOVED: Final = 1 << 14  # nodes whose numbers are kept that their names do not have
_FIRST_OF_NAMES: Final = 1 << 32  # the smaller ones are counted
NEVER: Final = float("-inf")  # a Node.checked that is older than any time to live


@dataclass(slots=True, eq=False)
class Node:
    """One inode: a file, symlink or directory, the same object as long as it is known."""

    inode: int
    parent: "Node | None"
    name: str
    attributes: Attributes
    # None: an implicit directory, a pending file, or a name that only a listing has shown.
    object: ObjectInfo | None = None
    pending: bool = False  # a file that exists only in this mount so far
    unlinked: bool = False  # has no place in the tree any more
    replaced: bool = False  # unlinked, as others have stored another object under its name
    leaving: bool = False  # set by fs: about to lose its name; its key may hold another object
    late: AttributeChange | None = None  # collected, part of the attributes, not stored yet
    dirty: bool = False  # set by fs: content or attributes here are newer than the object
    lookups: int = 0  # the kernel's references
    pins: int = 0  # open handles
    readers: int = 0  # set by fs: handles that only read
    writers: int = 0  # set by fs: the others
    checked: float = NEVER  # trio.current_time() when the attributes were last known right
    replaces: Key | None = None  # the object that a pending file took the name of, still stored
    children: "dict[str, Node]" = field(default_factory=dict)
    prefix: Key | None = None  # of a directory's keys, once it was asked for; ends with a move

    @property
    def is_directory(self) -> bool:
        return self.attributes.is_directory

    def is_inside(self, top: "Node") -> bool:
        """Whether it is *top* or somewhere below it."""
        step: Node | None = self
        while step is not None and step is not top:
            step = step.parent
        return step is top

    def __repr__(self) -> str:
        states = ("pending", "dirty", "unlinked")
        marks = "".join(f" {state}" for state in states if getattr(self, state))
        return f"<Node {self.inode} {self.name!r}{marks}>"


class InodeTable:
    """All nodes of a mount, by number and by parent and name."""

    def __init__(self, root: Attributes) -> None:
        self.root: Final = Node(inode=ROOT_INODE, parent=None, name="", attributes=root)
        self._nodes: dict[int, Node] = {ROOT_INODE: self.root}
        self._moved: LRUCache[int, int] = LRUCache(_MOST_MOVED)  # by the number of the name
        self._counted = itertools.count(ROOT_INODE + 1)

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, inode: int) -> Node:
        try:
            return self._nodes[inode]
        except KeyError as error:
            raise NoSuchEntry(f"inode {inode} is not known") from error

    def child(self, parent: Node, name: str) -> Node | None:
        return parent.children.get(name)

    def number(self, parent: Node, name: str, *, is_directory: bool) -> int:
        """Of the node under the name, or that it gets if none other has it when it is added."""
        node = parent.children.get(name)
        if node is not None:
            return node.inode
        number = _number_of(parent.inode, name, is_directory=is_directory)
        return self._moved.get(number, number)

    def add(
        self, parent: Node, name: str, attributes: Attributes, object: ObjectInfo | None = None
    ) -> Node:
        """A new node under a free name. It stays only if it is remembered or pinned soon."""
        assert name not in parent.children, name
        natural = _number_of(parent.inode, name, is_directory=attributes.is_directory)
        number = self._moved.pop(natural, natural)
        if number in self._nodes:
            number = next(self._counted)
        node = Node(number, parent, name, attributes, object)
        self._nodes[node.inode] = node
        parent.children[name] = node
        return node

    def remember(self, node: Node) -> None:
        """Count a reference of the kernel."""
        node.lookups += 1

    def forget(self, inode: int, count: int) -> None:
        """Take *count* of the kernel's references back. An unknown inode is no error."""
        node = self._nodes.get(inode)
        if node is None:
            return
        assert node.lookups >= count, (node, node.lookups, count)
        node.lookups -= count
        self.drop_unused(node)

    def pin(self, node: Node) -> None:
        """Count an open handle."""
        node.pins += 1

    def unpin(self, node: Node) -> None:
        assert node.pins > 0, node
        node.pins -= 1
        self.drop_unused(node)

    def unlink(self, node: Node) -> None:
        """Take the node's name away. It stays for those that still hold it."""
        assert node.parent is not None, node
        if not node.unlinked:
            del node.parent.children[node.name]
            node.unlinked = True
        self.drop_unused(node)

    def move(self, node: Node, new_parent: Node, new_name: str) -> None:
        """Give the node another, free name."""
        old_parent = node.parent
        assert old_parent is not None, node
        assert new_name not in new_parent.children, new_name
        del old_parent.children[node.name]
        node.parent, node.name = new_parent, new_name
        new_parent.children[new_name] = node
        for moved in (node, *self.descendants(node)):
            moved.prefix = None
        self.drop_unused(old_parent)

    def descendants(self, node: Node) -> Iterator[Node]:
        """Every known node below, parents first."""
        for child in list(node.children.values()):
            yield child
            yield from self.descendants(child)

    def check_invariants(self) -> None:
        for inode, node in self._nodes.items():
            assert node.inode == inode, node
            assert min(node.lookups, node.pins) >= 0, node
            if node.parent is not None and not node.unlinked:
                assert node.parent.children[node.name] is node, node
                assert node.parent.inode in self._nodes, node

    def drop_unused(self, node: Node) -> None:
        """Let go of the node, and then its parents, if nothing holds it; as after add()."""
        # A pending file is data that COS does not have: fs unpins it only after its commit.
        while node.parent is not None and not (node.lookups or node.pins or node.children):
            if self._nodes.get(node.inode) is not node:
                return  # it has gone before, and its number may be another's
            del self._nodes[node.inode]
            if not node.unlinked:
                self._keep_number(node, node.parent)
                del node.parent.children[node.name]
                node.unlinked = True  # for a task that still holds it
            node = node.parent

    def _keep_number(self, node: Node, parent: Node) -> None:
        number = _number_of(parent.inode, node.name, is_directory=node.is_directory)
        if number != node.inode:
            self._moved[number] = node.inode


def _number_of(parent: int, name: str, *, is_directory: bool) -> int:
    """63 bits, as some programs take it for signed; two of a million names rarely share one."""
    place = f"{parent}/{name}/" if is_directory else f"{parent}/{name}"
    digest = blake2b(place.encode(), digest_size=8).digest()
    return max(int.from_bytes(digest) >> 1, _FIRST_OF_NAMES)
