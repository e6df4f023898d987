"""Where bytes lie: write-once files in memory or in a directory, read back piece by piece.

A file is written by one request, is never changed, and is removed when the store says that no
object refers to it. The store's index decides what exists: a file that it does not know is
the rest of a request that did not finish, and is swept away at the start.
"""

import os
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NewType
from uuid import uuid4

from cosfs.emulator.streams import Buffer

FileId = NewType("FileId", str)

_READ_SIZE: Final = 1 << 20  # a larger read only costs memory: the socket takes less at once


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of bytes of one file."""

    file: FileId
    offset: int
    size: int


class Bodies(ABC):
    """Write-once files."""

    in_memory: bool

    @abstractmethod
    def create(self) -> "FileWriter":
        """A new, empty file that nobody else knows."""

    @abstractmethod
    def read(self, piece: Piece) -> Iterator[Buffer]:
        """The bytes of *piece* in buffers of at most 1 MiB."""

    @abstractmethod
    def remove(self, file: FileId) -> None:
        """Forget *file*; harmless if it is gone."""

    @abstractmethod
    def sweep(self, known: set[FileId]) -> None:
        """Remove every file that is not *known*."""


class FileWriter(ABC):
    """A file while it is written. Ends with close(); abandoned files are removed by the owner."""

    def __init__(self, file: FileId) -> None:
        self.file = file

    @abstractmethod
    def append(self, chunks: Sequence[Buffer]) -> None:
        """Add *chunks*, which the caller will not change. May be called in a worker thread."""

    def close(self) -> None:  # noqa: B027  # a hook: memory has nothing to close
        """No more will be written."""


class MemoryBodies(Bodies):
    """Files as lists of the buffers that came from the socket, without copying."""

    in_memory = True

    def __init__(self) -> None:
        self._files: dict[FileId, _MemoryFile] = {}
        self._created = 0

    def __repr__(self) -> str:
        return f"<MemoryBodies files={len(self._files)}>"

    def create(self) -> "FileWriter":
        self._created += 1
        writer = _MemoryFile(FileId(str(self._created)))
        self._files[writer.file] = writer
        return writer

    def read(self, piece: Piece) -> Iterator[Buffer]:
        return self._files[piece.file].read(piece.offset, piece.offset + piece.size)

    def remove(self, file: FileId) -> None:
        self._files.pop(file, None)

    def sweep(self, known: set[FileId]) -> None:
        for file in self._files.keys() - known:
            del self._files[file]


class _MemoryFile(FileWriter):
    def __init__(self, file: FileId) -> None:
        super().__init__(file)
        self._chunks: list[Buffer] = []
        self._starts: list[int] = []
        self._size = 0

    def append(self, chunks: Sequence[Buffer]) -> None:
        for chunk in chunks:
            self._chunks.append(chunk)
            self._starts.append(self._size)
            self._size += len(chunk)

    def read(self, start: int, stop: int) -> Iterator[Buffer]:
        index = bisect_right(self._starts, start) - 1
        while start < stop:
            begin = start - self._starts[index]
            chunk = memoryview(self._chunks[index])[begin : begin + min(stop - start, _READ_SIZE)]
            yield chunk
            start += len(chunk)
            if start == self._starts[index] + len(self._chunks[index]):
                index += 1


class DiskBodies(Bodies):
    """Files of a directory, two levels deep."""

    in_memory = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def create(self) -> "FileWriter":
        file = FileId(uuid4().hex)
        path = self._path(file)
        path.parent.mkdir(exist_ok=True)
        return _DiskFile(file, path)

    def read(self, piece: Piece) -> Iterator[Buffer]:
        # Read on the event loop: from the page cache 1 MiB takes what a thread hop takes (0.2 ms).
        descriptor = os.open(self._path(piece.file), os.O_RDONLY)
        try:
            position, stop = piece.offset, piece.offset + piece.size
            while position < stop:
                data = os.pread(descriptor, min(stop - position, _READ_SIZE), position)
                if not data:
                    raise OSError(f"{self._path(piece.file)}: shorter than its index says")
                yield data
                position += len(data)
        finally:
            os.close(descriptor)

    def remove(self, file: FileId) -> None:
        self._path(file).unlink(missing_ok=True)

    def sweep(self, known: set[FileId]) -> None:
        for path in self._directory.glob("*/*"):
            if FileId(path.name) not in known:
                path.unlink()

    def _path(self, file: FileId) -> Path:
        return self._directory / file[:2] / file


class _DiskFile(FileWriter):
    def __init__(self, file: FileId, path: Path) -> None:
        super().__init__(file)
        self._stream = path.open("xb", buffering=0)

    def append(self, chunks: Sequence[Buffer]) -> None:
        for chunk in chunks:
            remaining = memoryview(chunk)
            while remaining:
                remaining = remaining[self._stream.write(remaining) :]

    def close(self) -> None:
        self._stream.close()
