"""What this mount stores under names: attributes and directories' markers, and that it has.

The part of the namespace between asking (reading.py) and changing the tree of names (tree.py).
Invariant: own changes are in the listings, and in what is remembered, as soon as they are stored.
"""

import stat
import time
from dataclasses import replace
from typing import Final

from cosfs.config import AttributeConfig
from cosfs.cos.client import CosClient
from cosfs.cos.model import Key, ListedObject, ObjectInfo, ObjectProperties
from cosfs.errors import PreconditionFailed
from cosfs.namespace.attributes import (
    DIRECTORY_CONTENT_TYPE,
    AttributeChange,
    AttributeCodec,
    Attributes,
)
from cosfs.namespace.entries import ListedEntry, split_key
from cosfs.namespace.inodes import NEVER, Node
from cosfs.namespace.known import KnownObjects
from cosfs.namespace.moving import CopyObject, ObjectMover
from cosfs.namespace.reading import NamespaceReader
from cosfs.namespace.removals import Removals

NEW_DIRECTORY: Final = ObjectProperties(content_type=DIRECTORY_CONTENT_TYPE)


class NamespaceWriter(NamespaceReader):
    """Names and attributes, and what is stored of them without a change of names."""

    def __init__(
        self,
        client: CosClient,
        codec: AttributeCodec,
        *,
        prefix: str,
        config: AttributeConfig,
        copy: CopyObject,
        known: KnownObjects | None = None,
    ) -> None:
        """*known* is what the mounts before this one have left."""
        known = known or KnownObjects()
        super().__init__(client, codec, prefix=prefix, config=config, known=known)
        self._client = client
        self._mover = ObjectMover(client, codec, self._finder, copy)
        self.removals = Removals(client, self._listings)

    def committed(self, node: Node, info: ObjectInfo) -> None:
        """Take over that *node* is the object *info* now. Attributes stay if it is dirty again."""
        node.pending = False
        node.replaces = None
        node.late = None  # the commit took the attributes along
        if node.unlinked:
            node.object = info
            return
        self._note(info)
        self._settle(node, self._found(info))

    async def set_attributes(self, node: Node, change: AttributeChange) -> None:
        """Change attributes and store them."""
        self.collect_attributes(node, change)
        await self.store_attributes(node)

    def collect_attributes(self, node: Node, change: AttributeChange) -> None:
        """Change attributes here; what has to be stored is ``node.late`` until it is.

        Nothing has to for pending and dirty files, whose commit stores the attributes, for the
        root of a bucket, which has no key, and for a change that changes nothing. A rename of a
        file stores the rest with its own copy. Raises MetadataFull, as nobody would hear of it
        later.
        """
        changed = change.apply(node.attributes, time.time_ns())
        if changed is node.attributes:
            self._touch(node)  # chmod(2) to the same mode changes the inode all the same
            return
        self.require_room(node, changed)
        node.attributes = changed
        if node.unlinked:
            return
        if change.mtime_ns is not None:
            self._times.mtime_set(self.key_of(node))
        if not node.pending and not node.dirty and self.key_of(node):
            node.late = change if node.late is None else node.late.then(change)

    def require_room(self, node: Node, attributes: Attributes) -> None:
        """Raise MetadataFull unless COS has room for *attributes* beside what is kept there."""
        stored = {} if node.object is None else node.object.properties.metadata
        self.codec.require_room(attributes, keep=stored)

    async def store_attributes(self, node: Node) -> None:
        """Store what was collected: by a copy onto itself, by a PUT for a directory.

        On an error it is given up, and the attributes are those that COS has.
        """
        if node.late is None or node.unlinked:
            return
        try:
            # The copy replaces all metadata: what others stored meanwhile must be in it.
            await self.refresh(node, force=self._is_unseen(node))
            try:
                await self._store_late(node)
            except PreconditionFailed:
                await self.refresh(node, force=True)
                await self._store_late(node)
        except BaseException:
            node.late = None
            node.checked = NEVER
            raise

    async def _store_late(self, node: Node) -> None:
        change = node.late
        await self._store_attributes(node, node.attributes)
        if node.late is change:
            node.late = None

    async def _store_attributes(self, node: Node, changed: Attributes) -> None:
        key, stored = self.key_of(node), node.object
        if stored is None or (node.is_directory and stored.size == 0):
            kept = NEW_DIRECTORY if stored is None else stored.properties
            info = await self._put_marker(key, changed, kept)
            if stored is not None and stored.key + "/" == key:
                await self._client.delete_object(
                    stored.key
                )  # an old style marker: now there are two
        else:
            metadata = self.codec.to_metadata(changed, keep=stored.properties.metadata)
            properties = replace(stored.properties, metadata=metadata)
            info = await self._mover.rewrite(stored, key, properties)
            self._note(info)
        self._times.stored(key, changed.ctime_ns)
        self._settle(node, self._found(info))

    async def _put_marker(
        self, key: Key, attributes: Attributes, kept: ObjectProperties
    ) -> ObjectInfo:
        metadata = self.codec.to_metadata(attributes, keep=kept.metadata)
        properties = replace(kept, metadata=metadata)
        stored = await self._client.put_object(key, [], properties=properties)
        info = ObjectInfo(
            key=key,
            size=0,
            etag=stored.etag,
            modified_ns=time.time_ns() if stored.modified_ns is None else stored.modified_ns,
            crc64=stored.crc64,
            properties=properties,
        )
        self._note(info)
        return info

    def _note(self, info: ObjectInfo) -> None:
        """Own change: this object is stored under its key now."""
        self._finder.stored(info)
        prefix, name = split_key(info.key)
        listed = None if info.key.endswith("/") else as_listed(info)
        if listed is None:
            self._listings.marked(info.key, as_listed(info))
        self._listings.added(prefix, ListedEntry(name=name, object=listed))

    def _as_made_in(self, parent: Node, attributes: Attributes) -> Attributes:
        """Those of a new entry: a setgid directory gives its group on, as inode(7) has it."""
        if parent.attributes.mode & stat.S_ISGID:
            inherited = stat.S_ISGID if attributes.is_directory else 0
            attributes = replace(
                attributes, gid=parent.attributes.gid, mode=attributes.mode | inherited
            )
        return attributes

    def _entries_changed(self, directory: Node) -> None:
        now = time.time_ns()
        self._times.entries_changed(self.key_of(directory), now)
        directory.attributes = replace(directory.attributes, mtime_ns=now, ctime_ns=now)
        if directory.late is not None and directory.late.mtime_ns is not None:
            # A time that was chosen before is over: shown once more, it could not be chosen again.
            directory.late = replace(directory.late, mtime_ns=None)

    def _touch(self, node: Node) -> None:
        """The inode was changed in a way that COS does not store."""
        now = time.time_ns()
        node.attributes = replace(node.attributes, ctime_ns=now)
        if not node.unlinked:
            self._times.changed(self.key_of(node), now)


def as_listed(info: ObjectInfo) -> ListedObject:
    return ListedObject(
        key=info.key,
        size=info.size,
        etag=info.etag,
        modified_ns=info.modified_ns,
        storage_class=info.properties.storage_class or "STANDARD",
    )
