"""The half of the namespace that asks: nodes for names, attributes, directory entries.

Invariants: an answer that was asked for before an own change never undoes it; pending and dirty
nodes are changed by their owner alone; a node keeps its type. Between awaits nodes, listings and
what COS is known to hold agree.
"""

from collections.abc import Sequence
from dataclasses import replace

import trio

from cosfs.config import AttributeConfig, StatSource
from cosfs.cos.client import CosClient
from cosfs.cos.model import MAX_KEY_BYTES, Key, ObjectInfo
from cosfs.errors import AccessDenied, InvalidArgument, NameTooLong, NoSuchEntry, NotADirectory
from cosfs.namespace.attributes import DEFAULT_FILE_MODE, AttributeCodec, Attributes
from cosfs.namespace.changes import LISTING_LAG_S
from cosfs.namespace.directories import DirectoryEntry, DirectoryReader, Origin
from cosfs.namespace.entries import MAX_NAME_BYTES, ListedEntry, is_valid_name, split_key
from cosfs.namespace.hidden import new_hidden_path
from cosfs.namespace.inodes import NEVER, InodeTable, Node
from cosfs.namespace.known import KnownObjects
from cosfs.namespace.listings import ListingCache
from cosfs.namespace.lookups import Finder, Found
from cosfs.namespace.paging import PagedNames
from cosfs.namespace.siblings import Siblings
from cosfs.namespace.times import RecentTimes


class NamespaceReader:
    """Names and attributes of one mount, whose root is the key *prefix* ("" or "a/b/")."""

    def __init__(
        self,
        client: CosClient,
        codec: AttributeCodec,
        *,
        prefix: str,
        config: AttributeConfig,
        known: KnownObjects,
    ) -> None:
        self.ttl_s = config.metadata_ttl_s
        self.negative_ttl_s = config.absence_ttl_s
        self.inodes = InodeTable(codec.implicit_directory())
        self.codec = codec
        self._prefix = prefix
        self._listings = ListingCache(config)
        self._changes = self._listings.changes
        self._times = RecentTimes()
        self._listings_only = config.stat is StatSource.LIST
        self._finder = Finder(
            client,
            codec,
            self._listings,
            known,
            listings_only=self._listings_only,
        )
        known.expire_racy_after(config.metadata_ttl_s)
        self._distrusted_until = NEVER  # entries that were made before
        self._background: trio.Nursery | None = None
        self._siblings: Siblings | None = None

    def key_of(self, node: Node) -> Key:
        """The key for a node's place: a directory's ends with "/", or is empty for the bucket.

        Raises NameTooLong past COS's 850 bytes.
        """
        if node.is_directory:
            return self._prefix_of(node)
        assert node.parent is not None, node
        return checked_key(self._prefix_of(node.parent) + node.name)

    def path_of(self, key: Key) -> str:
        """The path below the mountpoint of an object that is at *key*."""
        return key[len(self._prefix) :]

    def hidden_key(self) -> Key:
        """A new key for what has no name any more but is still in use."""
        return checked_key(self._prefix + new_hidden_path())

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
            found = await self._finder.find_top(Key(self._prefix))
        except AccessDenied:
            return  # credentials for what is below need not reach the marker
        if found is not None:
            self._settle(root, found)

    async def lookup(self, parent: Node, name: str, *, to_remove: bool = False) -> Node:
        """The node under a name; not yet a reference of the kernel. Raises NoSuchEntry.

        Costs nothing while the time to live runs, else at most a page of LIST and a HEAD; if it is
        likely *to_remove* the name, what a listing tells is enough where it shows a file for sure.
        """
        while True:
            prefix = self._prefix_below(parent, name)
            node = self.inodes.child(parent, name)
            if node is not None and self._is_settled(node):
                return node
            if self._siblings is not None:
                self._siblings.asked(prefix, name, to_remove=to_remove)
            with self._changes.request() as began:
                found = await self._finder.find(prefix, name, to_remove=to_remove)
            unmoved = prefix == self.key_of(parent)
            if unmoved and not self._changes.changed_since(prefix, name, began):
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
            with self._changes.request() as began:
                found = await self._reload(node, force=force)
            if not self._changes.changed_since(prefix, name, began):
                return self._confirm(node, found)
        return None

    def ask_ahead(self, nursery: trio.Nursery) -> None:
        """From now on ask for what will be wanted soon, in tasks of *nursery*."""
        self._background = nursery
        self._siblings = Siblings(self._finder, nursery)

    def read(self, directory: Node) -> DirectoryReader:
        """A reading of the directory from its start, without "." and ".."."""
        if not directory.unlinked:
            self._require_directory(directory)
        paged = PagedNames(self._finder, self._listings, self._background)
        changes = {} if directory.unlinked else self._changes.recent(self.key_of(directory))
        owed = {name for name, change in changes.items() if change.entry is not None}
        owed |= {child.name for child in directory.children.values() if _is_owed(child)}

        async def next_batch() -> Sequence[DirectoryEntry] | None:
            if directory.unlinked:
                return None
            prefix = self.key_of(directory)
            listed = await paged.next_names(prefix)
            if listed is not None:
                owed.difference_update(entry.name for entry in listed)
                origin = Origin(paged.asked_at, self._changes.moment())
                return [self._listed_entry(directory, prefix, each, origin) for each in listed]
            names = sorted(owed)
            owed.clear()
            return self._owed_entries(directory, prefix, names) if names else None

        return DirectoryReader(
            next_batch, lambda name: self._named_entry(directory, name), paged.close
        )

    async def entries(self, directory: Node) -> list[DirectoryEntry]:
        """The whole directory by name; its pages of LIST at most."""
        reader = self.read(directory)
        found: list[DirectoryEntry] = []
        while batch := await reader.entries_from(len(found)):
            found += batch
        return sorted(found, key=lambda entry: entry.name)

    def entry_node(self, directory: Node, entry: DirectoryEntry) -> Node:
        """The node of a listed name, without asking COS. If it is not exact, a lookup makes it so.

        The entry may be old: a name that is gone by now gets a node that the next lookup drops.
        """
        node = self.inodes.child(directory, entry.name)
        if node is not None and self._is_settled(node):
            return node
        found, origin = entry.found, entry.origin
        if found and origin and self._is_trusted(directory, entry.name, origin):
            return self._adopt(directory, entry.name, replace(found, checked=origin.asked_at))
        if node is not None and node.is_directory != entry.attributes.is_directory:
            self.inodes.unlink(node)
            node = None
        return node or self.inodes.add(directory, entry.name, entry.attributes)

    def known_subdirectories(self, directory: Node) -> int:
        """How many directories are in it, as far as it was listed. Does not yield."""
        listing = self._listings.last_known(self.key_of(directory))
        return 0 if listing is None else listing.directories

    def _prefix_of(self, directory: Node) -> Key:
        if directory.prefix is None:
            parent = directory.parent
            path = f"{self._prefix_of(parent)}{directory.name}/" if parent else self._prefix
            directory.prefix = checked_key(path)
        return directory.prefix

    def _is_unseen(self, node: Node) -> bool:
        """Whether there may be an object of which only a listing is known."""
        return node.object is None and (self._listings_only or not node.is_directory)

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
        if found is not None and _is_another(node, found):
            self._leave_to_readers(node)
        elif found is not None and found.attributes.kind == node.attributes.kind:
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
            if found is not None and _is_another(node, found):
                self._leave_to_readers(node)
                node = None
            elif found is None or found.attributes.kind != node.attributes.kind:
                self.inodes.unlink(node)
                node = None
        if found is None or parent.unlinked:
            raise NoSuchEntry(f"{name!r} is not there")
        if node is None:
            node = self.inodes.add(parent, name, found.attributes)
        self._settle(node, found)
        return node

    def _leave_to_readers(self, node: Node) -> None:
        """Others have replaced the object that is being read: its name gets another node.

        The kernel ends reading at an inode's size, and shares its pages between all who read it.
        """
        node.replaced = True
        self.inodes.unlink(node)

    def _settle(self, node: Node, found: Found) -> None:
        if found.info is None and node.pins and not node.is_directory:
            return  # a listing alone does not replace the object that is being read or changed
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

    def _listed_entry(
        self, directory: Node, prefix: str, entry: ListedEntry, origin: Origin
    ) -> DirectoryEntry:
        node = self.inodes.child(directory, entry.name)
        if node is not None and (self._is_settled(node) or node.late is not None):
            return DirectoryEntry(name=entry.name, attributes=node.attributes, exact=True)
        found = self._finder.recall_entry(prefix, entry)
        if found is not None:
            return DirectoryEntry(
                name=entry.name,
                attributes=found.attributes,
                exact=True,
                found=found,
                origin=origin,
            )
        if node is not None and node.is_directory == entry.is_directory:
            attributes = node.attributes  # old, but of the type that the inode has
        elif entry.object is not None:
            attributes = self.codec.from_listing(entry.object)
        else:
            attributes = self.codec.implicit_directory()
        return DirectoryEntry(name=entry.name, attributes=attributes, exact=False)

    def _is_trusted(self, directory: Node, name: str, origin: Origin) -> bool:
        """Whether what a name was found to be may be shown now."""
        made = origin.made
        end = min(origin.asked_at + self.ttl_s, made.time + LISTING_LAG_S)  # then changes go
        if made.time <= self._distrusted_until or trio.current_time() >= end:
            return False
        return not self._changes.changed_since(self.key_of(directory), name, made)

    def _named_entry(self, directory: Node, name: str) -> DirectoryEntry:
        """An entry of a name that was shown before, whatever is there now."""
        node = self.inodes.child(directory, name)
        if node is None:
            attributes = self.codec.default(DEFAULT_FILE_MODE, size=0, time_ns=0)
            return DirectoryEntry(name=name, attributes=attributes, exact=False)
        exact = self._is_settled(node)
        return DirectoryEntry(name=name, attributes=node.attributes, exact=exact)

    def _owed_entries(
        self, directory: Node, prefix: str, names: list[str]
    ) -> list[DirectoryEntry]:
        """Entries of names that COS does not list yet, if they are still there."""
        changes = self._changes.recent(prefix)
        entries = []
        for name in names:
            child = self.inodes.child(directory, name)
            change = changes.get(name)
            if child is not None and _is_owed(child):
                entries.append(self._named_entry(directory, name))
            elif change is not None and change.entry is not None:
                origin = Origin(change.time, self._changes.moment())
                entries.append(self._listed_entry(directory, prefix, change.entry, origin))
        return entries

    def forget(self, node: Node, *, below: bool = True) -> list[Node]:
        """Drop what is known of a node and of all *below*, which is asked for anew then.

        Returns these nodes. What this mount has not stored yet stays. Does not yield.
        """
        self._distrusted_until = trio.current_time()
        key = self.key_of(node)
        if node.is_directory:
            self._listings.drop(key, below=below)
        if node.parent is not None:
            self._listings.drop(split_key(key)[0], below=False)
        nodes = [node, *self.inodes.descendants(node)] if below else [node]
        if below:
            self._finder.forget(key)
        for each in nodes:
            each.checked = NEVER
        return nodes

    def absent_for(self, parent: Node, name: str) -> float:
        """How many seconds more it may be trusted that *name* is not there. Does not yield."""
        return self._finder.absent_for(self.key_of(parent), name)

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


def _is_another(node: Node, found: Found) -> bool:
    """Whether *found* is not the object that is open under a node, to nobody but readers."""
    if node.writers or not node.readers or node.late is not None:
        return False
    old, new = node.object, found.info
    if old is None or new is None:
        return False
    return (old.key, old.etag, old.size) != (new.key, new.etag, new.size)


def _is_owed(node: Node) -> bool:
    """Whether a listing of its directory has to show the node, whatever COS lists."""
    return node.pending or node.dirty or node.late is not None


def _with_late(attributes: Attributes, node: Node) -> Attributes:
    """What COS knows, with what it is to be told yet; the inode shows since when that is so."""
    if node.late is None:
        return attributes
    return node.late.apply(attributes, node.attributes.ctime_ns)


def checked_key(text: str) -> Key:
    """*text* as a key. Raises NameTooLong past what COS takes."""
    if len(text if text.isascii() else text.encode()) > MAX_KEY_BYTES:
        raise NameTooLong(f"{text!r} is over the {MAX_KEY_BYTES} bytes of a COS key")
    return Key(text)
