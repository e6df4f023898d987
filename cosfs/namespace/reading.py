"""The half of the namespace that asks: nodes for names, attributes, directory entries.

Invariants: an answer that was asked for before an own change never undoes it; pending and dirty
nodes are changed by their owner alone; a node keeps its type. Between awaits nodes, listings and
what COS is known to hold agree.
"""

import secrets
from dataclasses import dataclass
from typing import Final

import trio

from cosfs.cos.client import CosClient
from cosfs.cos.model import MAX_KEY_BYTES, Key, ObjectInfo
from cosfs.errors import AccessDenied, InvalidArgument, NameTooLong, NoSuchEntry, NotADirectory
from cosfs.namespace.attributes import AttributeCodec, Attributes
from cosfs.namespace.inodes import InodeTable, Node
from cosfs.namespace.listings import (
    MAX_NAME_BYTES,
    ListedEntry,
    ListingCache,
    is_valid_name,
    split_key,
)
from cosfs.namespace.lookups import Finder, Found
from cosfs.namespace.times import RecentTimes

HIDDEN_DIRECTORY: Final = ".cosfs-removed"  # below the mount's root
ENTRIES_AT_ONCE: Final = 1000  # about 7 ms; other tasks run in between


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryEntry:
    """A name in a directory. Not *exact*: attributes as far as a listing shows them."""

    name: str
    attributes: Attributes
    exact: bool


class NamespaceReader:
    """Names and attributes of one mount, whose root is the key *prefix* ("" or "a/b/")."""

    def __init__(
        self, client: CosClient, codec: AttributeCodec, *, prefix: str, ttl_s: float
    ) -> None:
        self.ttl_s = ttl_s
        self.inodes = InodeTable(codec.implicit_directory())
        self.codec = codec
        self._prefix = prefix
        self._listings = ListingCache(ttl_s)
        self._times = RecentTimes()
        self._finder = Finder(client, codec, self._listings)

    def key_of(self, node: Node) -> Key:
        """The key for a node's place: a directory's ends with "/", or is empty for the bucket.

        Raises NameTooLong past COS's 850 bytes.
        """
        names: list[str] = []
        step = node
        while step.parent is not None:
            names.append(step.name)
            step = step.parent
        path = self._prefix + "/".join(reversed(names))
        return checked_key(path + "/" if names and node.is_directory else path)

    def hidden_key(self) -> Key:
        """A new key for what has no name any more but is still in use."""
        return checked_key(f"{self._prefix}{HIDDEN_DIRECTORY}/{secrets.token_hex(16)}")

    @property
    def root_is_old(self) -> bool:
        """Whether ``load_root`` may find something new; the root of a bucket has no object."""
        return bool(self._prefix) and not self._is_fresh(self.inodes.root)

    async def load_root(self) -> None:
        """Take the root's attributes from its marker, if there is one that may be read."""
        root = self.inodes.root
        root.checked = trio.current_time()
        if not self._prefix:
            return
        try:
            found = await self._finder.find_file(Key(self._prefix))
        except AccessDenied:
            return  # credentials for what is below need not reach the marker
        if found is not None:
            self._settle(root, found)

    async def lookup(self, parent: Node, name: str) -> Node:
        """The node under a name; not yet a reference of the kernel. Raises NoSuchEntry.

        Costs nothing while the time to live runs, else at most a page of LIST and a HEAD.
        """
        while True:
            prefix = self._prefix_below(parent, name)
            node = self.inodes.child(parent, name)
            if node is not None and self._is_settled(node):
                return node
            with self._listings.request() as began:
                found = await self._finder.find(prefix, name)
            unmoved = prefix == self.key_of(parent)
            if unmoved and not self._listings.changed_since(prefix, name, began):
                return self._adopt(parent, name, found)

    async def refresh(self, node: Node, *, force: bool = False) -> None:
        """Make the attributes as old as the time to live at most; *force*: as of now.

        Pending, dirty, leaving and unlinked nodes are left alone, and so is the root:
        ``load_root`` is for that. Raises NoSuchEntry if it is gone.
        """
        if node is self.inodes.root:
            node.checked = trio.current_time()
            return None
        while not node.unlinked and (force or not self._is_fresh(node)):
            if _is_ours(node):
                return None
            prefix, name = split_key(self.key_of(node))
            with self._listings.request() as began:
                found = await self._reload(node, force=force)
            if not self._listings.changed_since(prefix, name, began):
                return self._confirm(node, found)
        return None

    async def entries(self, directory: Node) -> list[DirectoryEntry]:
        """The whole directory by name, without "." and ".."; its pages of LIST at most."""
        if directory.unlinked:
            return []
        self._require_directory(directory)
        prefix = self.key_of(directory)
        listing = await self._finder.list_directory(prefix)
        # Both as of the same moment: a file that is committed meanwhile is in one of them.
        listed = list(listing.entries.values())
        ours = [
            (name, child)
            for name, child in directory.children.items()
            if child.pending or child.dirty or child.late is not None
        ]
        shown: dict[str, DirectoryEntry] = {}
        for number, entry in enumerate(listed):
            if number % ENTRIES_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
            shown[entry.name] = self._listed_entry(directory, prefix, entry)
        for name, child in ours:
            shown[name] = DirectoryEntry(name=name, attributes=child.attributes, exact=True)
        return [shown[name] for name in sorted(shown)]

    def entry_node(self, directory: Node, entry: DirectoryEntry) -> Node:
        """The node of a listed name, without asking COS. If it is not exact, a lookup makes it so.

        The entry may be old: a name that is gone by now gets a node that the next lookup drops.
        """
        node = self.inodes.child(directory, entry.name)
        if node is not None and self._is_settled(node):
            return node
        found = self._recall(self.key_of(directory), entry.name)
        if found is not None:
            return self._adopt(directory, entry.name, found)
        if node is not None and node.is_directory != entry.attributes.is_directory:
            self.inodes.unlink(node)
            node = None
        return node or self.inodes.add(directory, entry.name, entry.attributes)

    def known_subdirectories(self, directory: Node) -> int:
        """How many directories are in it, as far as it was listed. Does not yield."""
        listing = self._listings.last_known(self.key_of(directory))
        return 0 if listing is None else listing.directories

    def _is_fresh(self, node: Node) -> bool:
        return trio.current_time() < node.checked + self.ttl_s

    def _is_settled(self, node: Node) -> bool:
        return _is_ours(node) or self._is_fresh(node)

    async def _reload(self, node: Node, *, force: bool) -> Found | None:
        key = self.key_of(node)
        prefix, name = split_key(key)
        if not force and not self._listings.is_large(prefix):
            return await self._finder.find(prefix, name)  # one page confirms all its siblings
        if node.is_directory:
            marker = None if node.object is None else node.object.key
            return await self._finder.find_directory(key, marker=marker)
        return await self._finder.find_file(key, shared=not force)

    def _confirm(self, node: Node, found: Found | None) -> None:
        """Bring a known node up to date. Raises NoSuchEntry if it is gone or another type."""
        if _is_ours(node) or node.unlinked:
            return
        if found is not None and found.attributes.kind == node.attributes.kind:
            self._settle(node, found)
        elif not self._holds_pending(node):
            self.inodes.unlink(node)
            raise NoSuchEntry(f"{node.name!r} is gone")

    def _adopt(self, parent: Node, name: str, found: Found | None) -> Node:
        """The node for what was found; another type means another node. Raises NoSuchEntry."""
        node = self.inodes.child(parent, name)
        if node is not None:
            if _is_ours(node) or (found is None and self._holds_pending(node)):
                return node
            if found is None or found.attributes.kind != node.attributes.kind:
                self.inodes.unlink(node)
                node = None
        if found is None or parent.unlinked:
            raise NoSuchEntry(f"{name!r} is not there")
        if node is None:
            node = self.inodes.add(parent, name, found.attributes)
        self._settle(node, found)
        return node

    def _settle(self, node: Node, found: Found) -> None:
        node.object = found.info
        node.checked = max(node.checked, found.checked)
        if not node.dirty:
            known = _with_late(found.attributes, node)
            node.attributes = self._times.shown(self.key_of(node), known)

    def _holds_pending(self, node: Node) -> bool:
        """Whether files below exist in this mount alone, and so their directory does."""
        return any(below.pending for below in self.inodes.descendants(node))

    def _found(self, info: ObjectInfo) -> Found:
        """What the mount itself has just stored."""
        return Found(
            attributes=self.codec.from_object(info), checked=trio.current_time(), info=info
        )

    def _recall(self, prefix: str, name: str) -> Found | None:
        """What a fresh listing confirms of an object that was seen before."""
        listing = self._listings.fresh(prefix)
        listed = None if listing is None else listing.entries.get(name)
        info = None if listed is None else self._finder.recall(prefix, listed)
        if listing is None or info is None:
            return None
        return Found(attributes=self.codec.from_object(info), checked=listing.time, info=info)

    def _listed_entry(self, directory: Node, prefix: str, entry: ListedEntry) -> DirectoryEntry:
        node = self.inodes.child(directory, entry.name)
        if node is not None and self._is_settled(node):
            return DirectoryEntry(name=entry.name, attributes=node.attributes, exact=True)
        info = self._finder.recall(prefix, entry)
        if info is not None:
            attributes = self.codec.from_object(info)
        elif node is not None and node.is_directory == entry.is_directory:
            attributes = node.attributes  # old, but of the type that the inode has
        elif entry.object is not None:
            attributes = self.codec.from_listing(entry.object)
        else:
            attributes = self.codec.implicit_directory()
        return DirectoryEntry(name=entry.name, attributes=attributes, exact=info is not None)

    def _require_directory(self, node: Node) -> None:
        if not node.is_directory:
            raise NotADirectory(f"{node.name!r} is not a directory")
        if node.unlinked:
            raise NoSuchEntry(f"{node.name!r} was removed")

    def _prefix_below(self, parent: Node, name: str) -> Key:
        """The directory's prefix, once it is clear that it can hold *name*."""
        self._require_directory(parent)
        if len(name.encode()) > MAX_NAME_BYTES:
            raise NameTooLong(f"{name!r} is over {MAX_NAME_BYTES} bytes")
        if not is_valid_name(name):
            raise InvalidArgument(f"{name!r} cannot be a name")
        prefix = self.key_of(parent)
        checked_key(prefix + name)
        return prefix


def _is_ours(node: Node) -> bool:
    """Whether this mount knows better than COS what the node is."""
    return node.pending or node.dirty or node.leaving


def _with_late(attributes: Attributes, node: Node) -> Attributes:
    """What COS knows, with what it is to be told yet; the inode shows since when that is so."""
    if node.late is None:
        return attributes
    return node.late.apply(attributes, node.attributes.ctime_ns)


def checked_key(text: str) -> Key:
    """*text* as a key. Raises NameTooLong past what COS takes."""
    if len(text.encode()) > MAX_KEY_BYTES:
        raise NameTooLong(f"{text!r} is over the {MAX_KEY_BYTES} bytes of a COS key")
    return Key(text)
