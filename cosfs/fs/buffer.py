"""A growing run of bytes in memory, kept as the chunks in which it arrived.

Knows no file offsets: a position is relative to the run's own start.
"""

from collections.abc import Sequence
from typing import Final

from cosfs.transfer.parts import split_chunks

# A write at least this large is kept as it came: an 8 MiB part of such chunks costs nothing to
# build. Smaller ones are copied together, or their headers would outweigh their bytes.
_KEPT_WHOLE: Final = 64 << 10
_TAIL_SIZE: Final = 256 << 10  # h11 copies what it sends; pieces of this size stay cheap


class Buffer:
    """Bytes that can be appended, overwritten in place, and cut off in front.

    Chunks that grow or are overwritten are bytearrays; ``take`` hands out immutable bytes only.
    """

    def __init__(self, chunks: Sequence[bytes] = ()) -> None:
        self._chunks: list[bytes | bytearray] = list(chunks)
        self.size = sum(map(len, self._chunks))

    def append(self, data: bytes) -> None:
        """Add *data* at the end; a large one is kept, not copied."""
        self.size += len(data)
        tail = self._chunks[-1] if self._chunks else None
        if isinstance(tail, bytearray) and len(tail) + len(data) <= _TAIL_SIZE:
            tail += data
        elif len(data) < _KEPT_WHOLE:
            self._chunks.append(bytearray(data))
        else:
            self._chunks.append(data)

    def overwrite(self, position: int, data: bytes) -> None:
        """Replace the bytes from *position*, all inside the run."""
        assert position + len(data) <= self.size
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
        return [bytes(chunk) for chunk in self._chunks]

    def take(self, size: int) -> list[bytes]:
        """Cut off the first *size* bytes (or all) and return them as chunks."""
        head, tail = split_chunks(self.chunks(), size)
        self._chunks = list(tail)
        self.size -= min(size, self.size)
        return head
