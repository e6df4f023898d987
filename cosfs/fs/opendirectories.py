"""The open directories of a mount, by number: what each of their handles reads."""

from collections.abc import Iterator, Sequence

from cosfs.errors import NotADirectory
from cosfs.fs.handles import DirectoryHandle
from cosfs.namespace.directories import DirectoryEntry
from cosfs.namespace.inodes import Node
from cosfs.namespace.tree import Namespace


class OpenDirectories:
    """Handles for reading directories. Their nodes live as long as they do."""

    def __init__(self, namespace: Namespace, numbers: Iterator[int]) -> None:
        """*numbers* are those of all handles of the mount."""
        self._namespace = namespace
        self._numbers = numbers
        self._handles: dict[int, DirectoryHandle] = {}

    def open(self, node: Node) -> DirectoryHandle:
        if not node.is_directory:
            raise NotADirectory(f"{node.name!r} is not a directory")
        handle = DirectoryHandle(next(self._numbers), node)
        self._handles[handle.number] = handle
        self._namespace.inodes.pin(node)
        return handle

    def get(self, number: int) -> DirectoryHandle:
        return self._handles[number]

    def find(self, number: int) -> DirectoryHandle | None:
        return self._handles.get(number)

    async def read(self, handle: DirectoryHandle, position: int) -> Sequence[DirectoryEntry]:
        """Entries from *position* on, none at the end; read anew from the beginning."""
        if handle.reader is None or position == 0:
            _end_reading(handle)
            handle.reader = self._namespace.read(handle.directory)
        entries = await handle.reader.entries_from(position)
        handle.begin_answer(position, entries[0].name if entries else None)
        return entries

    def looked_up(self, directory: Node, name: str) -> None:
        """Somebody wants the attributes of *name*, perhaps who reads the directory."""
        for handle in self._handles.values():
            if handle.directory is directory:
                handle.looked_up(name)

    def release(self, number: int) -> None:
        handle = self._handles.pop(number)
        _end_reading(handle)
        self._namespace.inodes.unpin(handle.directory)


def _end_reading(handle: DirectoryHandle) -> None:
    if handle.reader is not None:
        handle.reader.close()
