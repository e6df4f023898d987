"""A growing run of bytes in memory, kept as the chunks in which it arrived.

Knows no file offsets: a position is relative to the run's own start.
"""

from collections.abc import Sequence
from typing import Final

from cosfs.transfer.parts import split_chunks

# A write at least this large is kept as it came: an 8 MiB part of such chunks costs nothing to
# build. Smaller ones are copied together, or their headers would outweigh their bytes.
_KEPT_WHOLE: Final = 64 << 10
_JOINED_SIZE: Final = 256 << 10  # bytes in a chunk of them
_MOST_SMALL: Final = 64  # that wait to be joined


class Buffer:
    """Bytes that can be appended, overwritten in place, and cut off in front.

    Small writes are joined once there are many, or somebody looks at them. Chunks that were
    overwritten are bytearrays; ``take`` hands out immutable bytes only.
    """

    def __init__(self, chunks: Sequence[bytes] = ()) -> None:
        self._chunks: list[bytes | bytearray] = list(chunks)
        self._small: list[bytes | bytearray] = []  # they follow the chunks
        self.size = sum(map(len, self._chunks))

    def append(self, data: bytes) -> None:
        """Add *data* at the end; a large one is kept, not copied."""
        self.size += len(data)
        if len(data) < _KEPT_WHOLE:
            self._small.append(data)
            if len(self._small) >= _MOST_SMALL:
                self._join()
        else:
            self._join()
            self._chunks.append(data)

    def overwrite(self, position: int, data: bytes) -> None:
        """Replace the bytes from *position*, all inside the run."""
        assert position + len(data) <= self.size
        self._join()
        start = 0
        for index, chunk in enumerate(self._chunks):
            stop = start + len(chunk)
            low, high = max(start, position), min(stop, position + len(data))
            if low < high:
                mutable = chunk if isinstance(chunk, bytearray) else bytearray(chunk)
                mutable[low - start : high - start] = data[low - position : high - position]
                self._chunks[index] = mutable
            start = stop

    def read(self, position: int, size: int) -> bytes:
        """The *size* bytes from *position*, all inside the run."""
        self._join()
        found: list[bytes | bytearray] = []
        start = 0
        for chunk in self._chunks:
            low, high = max(start, position), min(start + len(chunk), position + size)
            if low < high:
                found.append(chunk[low - start : high - start])
            start += len(chunk)
            if start >= position + size:
                break
        return b"".join(found)

    def chunks(self) -> list[bytes]:
        """All of it, as chunks that later changes do not touch."""
        self._join()
        return [bytes(chunk) for chunk in self._chunks]

    def take(self, size: int) -> list[bytes]:
        """Cut off the first *size* bytes (or all) and return them as chunks."""
        head, tail = split_chunks(self.chunks(), size)
        self._chunks = list(tail)
        self.size -= min(size, self.size)
        return head

    def _join(self) -> None:
        """Make one chunk of the small writes, and of the chunk before them if that is small."""
        if not self._small:
            return
        size = sum(map(len, self._small))
        if self._chunks and len(self._chunks[-1]) + size <= _JOINED_SIZE:
            self._small.insert(0, self._chunks.pop())
        self._chunks.append(b"".join(self._small))
        self._small.clear()
