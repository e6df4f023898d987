"""The bucket's keys as a tree of names: the part of the namespace that changes it.

Owns how make, remove and rename become COS operations, and that nodes and listings know of them
at once. Two operations on the same name are kept apart by the caller.
"""

import stat
from collections.abc import Iterable, Mapping, Sequence

from cosfs.cos.model import ETag, Key, ObjectInfo
from cosfs.errors import (
    DirectoryNotEmpty,
    EntryExists,
    InvalidArgument,
    IsADirectory,
    NoSuchEntry,
    NotADirectory,
    NotSupported,
)
from cosfs.namespace.attributes import (
    Attributes,
    new_attributes,
)
from cosfs.namespace.directories import DirectoryEntry
from cosfs.namespace.entries import ListedEntry, split_key
from cosfs.namespace.inodes import NEVER, Node
from cosfs.namespace.moving import CopyObject, Move
from cosfs.namespace.reading import checked_key
from cosfs.namespace.writing import NEW_DIRECTORY, NamespaceWriter, as_listed

__all__ = ["CopyObject", "DirectoryEntry", "Namespace"]


class Namespace(NamespaceWriter):
    """Names and attributes of one mount, and every change of them."""

    def is_being_emptied(self, directory: Node) -> bool:
        """Whether one name after the other is removed, whoever owns them. Does not yield."""
        is_sticky = directory.attributes.mode & stat.S_ISVTX
        return not is_sticky and self.removals.is_row(self.key_of(directory))

    def create(self, parent: Node, name: str, attributes: Attributes) -> Node:
        """A pending file under a name that the caller has looked up. Raises EntryExists."""
        self._prefix_below(parent, name)
        if self.inodes.child(parent, name) is not None:
            raise EntryExists(f"{name!r} is there already")
        if not self.codec.can_show(attributes.kind):
            raise NotSupported(f"{name!r}: with stat=list only files are recognised")
        node = self.inodes.add(parent, name, self._as_made_in(parent, attributes))
        node.pending = True
        self._name_made(parent)
        return node

    async def make_directory(
        self, parent: Node, name: str, *, mode: int, uid: int, gid: int
    ) -> Node:
        """PUT the marker. Raises EntryExists."""
        await self.removals.settled(self.key_of(parent) + name)
        if await self._find_child(parent, name) is not None:
            raise EntryExists(f"{name!r} is there already")
        attributes = self._as_made_in(
            parent, new_attributes(stat.S_IFDIR | stat.S_IMODE(mode), uid, gid)
        )
        prefix = checked_key(f"{self.key_of(parent)}{name}/")
        info = await self._put_marker(prefix, attributes, NEW_DIRECTORY)
        with self._changes.request() as began:
            self._listings.store(prefix, {}, began, as_listed(info))
        self._times.removed(prefix)
        self._name_made(parent)
        return self._adopt(parent, name, self._found(info))

    async def remove_file(self, node: Node) -> None:
        """DELETE the object, the one that a pending file has replaced too; else no request.

        Where a directory is being emptied it may be deleted later: see removals.py. Raises what
        an earlier removal there failed with.
        """
        if node.is_directory:
            raise IsADirectory(f"{node.name!r} is a directory")
        key = self._stored_key(node)
        if key is not None:
            await self._keep_directory(node)
            await self.removals.remove(key, plain=not self._is_ordinary(node))
        self._unlink(node)

    async def remove_directory(self, node: Node) -> None:
        """DELETE the marker of a directory that COS lists as empty. Raises DirectoryNotEmpty.

        Raises what an earlier removal in it, or beside it, failed with.
        """
        self._require_directory(node)
        await self.removals.finished(self.key_of(node))
        if node.parent is not None:
            self.removals.raise_failure(self.key_of(node.parent))
        await self._require_empty(node)
        await self._keep_directory(node)
        await self._mover.delete(self._markers(node))
        self._listings.drop(self.key_of(node))
        self._unlink(node)
        self._times.removed(self.key_of(node))

    async def rename(
        self, node: Node, new_parent: Node, new_name: str, *, replace: bool = True
    ) -> None:
        """Move a file or a whole directory, over a file or an empty directory with *replace*.

        An error leaves the source whole. Where files are renamed one after the other the source
        may be deleted later: see removals.py. Raises what an earlier removal beside it failed
        with, and what rename(2) names: EntryExists, IsADirectory, NotADirectory,
        DirectoryNotEmpty, InvalidArgument.
        """
        if new_parent.is_inside(node):
            raise InvalidArgument(f"{node.name!r} cannot be moved into itself")
        key = self.key_of(new_parent) + new_name
        await self.removals.settled(self.key_of(node), key, f"{key}/")
        target = await self._find_child(new_parent, new_name)
        if target is node:
            return
        try:
            if target is not None:
                _require_replaceable(node, target, replace=replace)
            if node.is_directory:
                await self._rename_directory(node, new_parent, new_name, target)
            else:
                await self._rename_file(node, new_parent, new_name)
        finally:
            if target is not None:
                self.inodes.drop_unused(target)

    async def _find_child(self, parent: Node, name: str) -> Node | None:
        try:
            return await self.lookup(parent, name)
        except NoSuchEntry:
            return None

    async def _rename_file(self, node: Node, new_parent: Node, new_name: str) -> None:
        key = checked_key(self.key_of(new_parent) + new_name)
        if node.pending:
            await self._leave_replaced(node)
            occupant = self.inodes.child(new_parent, new_name)
            node.replaces = None if occupant is None else self._stored_key(occupant)
            self._relocate(node, new_parent, new_name)
            return
        self.removals.raise_failure(split_key(self.key_of(node))[0])
        if node.object is None:
            await self.refresh(node, force=True)
        assert node.object is not None, node
        source = node.object
        move = Move(source=source.key, target=key, listed=as_listed(source))
        late = node.late
        made = await self._mover.copy_current(move, late)
        if made is None:
            raise NoSuchEntry(f"{node.name!r} is gone")
        if node.late is late:
            node.late = None
        self._note(made)
        try:
            await self._keep_directory(node)
            await self.removals.remove(source.key, moved=True)
        except BaseException:
            # Both names are there, and the target is replaced all the same.
            occupant = self.inodes.child(new_parent, new_name)
            if occupant is not None and not occupant.pending:
                self._settle(occupant, self._found(made))
            raise
        self._relocate(node, new_parent, new_name)
        self._settle(node, self._found(made))

    async def _rename_directory(
        self, node: Node, new_parent: Node, new_name: str, target: Node | None
    ) -> None:
        source = self.key_of(node)
        destination = checked_key(f"{self.key_of(new_parent)}{new_name}/")
        if target is not None:
            await self._require_empty(target)
        markers = [key for key in self._markers(node) if not key.startswith(source)]
        moves = await self._plan_moves(node, source, destination, markers)
        for moved in [node, *self.inodes.descendants(node)]:
            moved.checked = NEVER  # whatever becomes of the move
        try:
            existing = frozenset() if target is None else frozenset([destination])
            made = await self._mover.copy_all(moves, existing=existing)
            self._note_copies(made.values(), destination)
            if not made:
                await self._put_marker(destination, node.attributes, NEW_DIRECTORY)
            await self._keep_directory(node)
            await self._mover.delete(list(dict.fromkeys([*made, *markers])))
        finally:
            self._listings.drop(source)
            self._listings.drop(destination)
        self._times.moved(source, destination)
        self._relocate(node, new_parent, new_name)
        self._note_moved(node, made)

    async def _plan_moves(
        self, node: Node, source: str, destination: Key, markers: Sequence[Key]
    ) -> list[Move]:
        """All that has to move with a directory; *markers* are those not under its prefix."""
        moves = await self._mover.plan(source, destination, self._known_keys(node))
        if markers and all(move.target != destination for move in moves):
            moves.append(Move(source=markers[0], target=destination))
        for move in moves:
            checked_key(move.target)
        return moves

    def _note_moved(self, directory: Node, made: Mapping[Key, ObjectInfo]) -> None:
        """Own change: what was copied is gone from its old keys, and the nodes are the copies."""
        for key, info in made.items():
            self._listings.removed(*split_key(key), info.etag)
        for moved in [directory, *self.inodes.descendants(directory)]:
            if moved.object is not None and moved.object.key in made:
                self._settle(moved, self._found(made[moved.object.key]))

    def _note_copies(self, copies: Iterable[ObjectInfo], destination: str) -> None:
        """Own change: these objects are stored, and so are the directories that hold them."""
        directories = {destination}
        for info in copies:
            self._note(info)
            above = split_key(info.key)[0]
            while len(above) > len(destination) and above not in directories:
                directories.add(above)
                above = split_key(above)[0]
        for directory in directories:
            above, name = split_key(directory)
            self._listings.added(above, ListedEntry(name=name))

    def _relocate(self, node: Node, new_parent: Node, new_name: str) -> None:
        """Give the node its new name, here and in the listings, over whatever has it now."""
        self._note_removed(node)
        assert node.parent is not None, node
        occupant = self.inodes.child(new_parent, new_name)
        if occupant is not None:
            self.inodes.unlink(occupant)
            self._touch(occupant)
        self._entries_changed(node.parent)
        self._name_made(new_parent)
        self.inodes.move(node, new_parent, new_name)
        self._touch(node)

    async def _leave_replaced(self, node: Node) -> None:
        """Delete the object that a pending file has hidden, as its name is free from now on."""
        if node.replaces is not None:
            await self._client.delete_object(node.replaces)
            node.replaces = None

    def _known_keys(self, node: Node) -> list[Key]:
        """Keys below a directory that its listing may not show yet."""
        objects = [below.object for below in [node, *self.inodes.descendants(node)]]
        keys = [info.key for info in objects if info is not None]
        return [*keys, *self._changes.recent_keys(self.key_of(node))]

    def _markers(self, directory: Node) -> list[Key]:
        """Every key that makes the directory exist without entries."""
        key = self.key_of(directory)
        prefix, name = split_key(key)
        listing = self._listings.last_known(prefix)
        entry = None if listing is None else listing.entries.get(name)
        object_key = None if directory.object is None else directory.object.key
        choices = [key, object_key, None if entry is None else entry.alias]
        return list(dict.fromkeys(choice for choice in choices if choice is not None))

    async def _require_empty(self, directory: Node) -> None:
        pending = any(child.pending for child in directory.children.values())
        if pending or not await self._finder.is_empty(self.key_of(directory)):
            raise DirectoryNotEmpty(f"{directory.name!r} has entries")

    async def _keep_directory(self, node: Node) -> None:
        """Before an implicit directory loses its last entry, give it a marker.

        Otherwise it would vanish with that entry, which no program expects.
        """
        parent = node.parent
        if parent is None or parent.parent is None or parent.object is not None:
            return
        prefix = self.key_of(parent)
        listing = self._listings.last_known(prefix)
        if listing is None or listing.marker or any(name != node.name for name in listing.entries):
            return
        info = await self._put_marker(prefix, parent.attributes, NEW_DIRECTORY)
        self._settle(parent, self._found(info))

    def _note_removed(self, node: Node) -> None:
        """Own change: the name is free now."""
        prefix, name = split_key(self.key_of(node))
        self._listings.removed(prefix, name, self._stored_etag(node))

    def _unlink(self, node: Node) -> None:
        self._note_removed(node)
        node.late = None
        assert node.parent is not None, node
        self._entries_changed(node.parent)
        self.inodes.unlink(node)
        self._touch(node)

    def _stored_key(self, node: Node) -> Key | None:
        """The key of the object under a node's name, whether or not it is the node's own."""
        if node.object is not None:
            return node.object.key
        return node.replaces if node.pending else self.key_of(node)

    def _stored_etag(self, node: Node) -> ETag | None:
        """The ETag by which listings show the node's object, if it is known."""
        if node.is_directory or node.pending:
            return None
        if node.object is not None:
            return node.object.etag
        listed = self._listings.last_entry(*split_key(self.key_of(node)))
        return None if listed is None or listed.object is None else listed.object.etag

    def _is_ordinary(self, node: Node) -> bool:
        """Whether a stored file is nothing but that: listings can be told what not to show, and
        nobody has it open or has changed what is still to be stored.
        """
        is_busy = node.pins > 0 or node.dirty or node.late is not None
        return not is_busy and self._stored_etag(node) is not None

    def _name_made(self, directory: Node) -> None:
        self.removals.interrupted(self.key_of(directory))
        self._entries_changed(directory)


def _require_replaceable(node: Node, target: Node, *, replace: bool) -> None:
    if not replace:
        raise EntryExists(f"{target.name!r} is there already")
    if node.is_directory and not target.is_directory:
        raise NotADirectory(f"{target.name!r} is not a directory")
    if target.is_directory and not node.is_directory:
        raise IsADirectory(f"{target.name!r} is a directory")
