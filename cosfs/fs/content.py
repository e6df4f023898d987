"""The content of a file that is being changed: extents that cover it, each with a source.

``[0, frontier)`` is *Uploaded*: already sent as parts of the running upload, and not to be read
or changed here until it completes. From there on every byte is Buffered, a range of the Base
object, or a Hole.
Pure: no I/O, nothing here yields. Memory is charged by the caller from what ``write`` reports.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cosfs.cos.model import MIN_PART_SIZE, ByteRange
from cosfs.fs.buffer import Buffer
from cosfs.transfer.parts import Base, Buffered, Hole, Piece


@dataclass(slots=True)
class _Extent:
    """*size* bytes of the file from *start*; *source* is a Buffer, a base offset, or a hole."""

    start: int
    size: int
    source: Buffer | int | None

    @property
    def stop(self) -> int:
        return self.start + self.size


class FileContent:
    """The bytes of one file, edited in place; starts as the *base_size* bytes of its object.

    Invariants (``check_invariants``): the extents are in order, without gap or overlap, none is
    empty, and they cover ``[frontier, size)``; ``buffered`` is the sum of the Buffer extents.
    """

    def __init__(self, base_size: int = 0) -> None:
        self.frontier = 0
        self.buffered = 0
        self._extents = [_Extent(0, base_size, 0)] if base_size else []

    def __repr__(self) -> str:
        return (
            f"<FileContent size={self.size} uploaded={self.frontier} buffered={self.buffered}"
            f" extents={len(self._extents)}>"
        )

    @property
    def size(self) -> int:
        return self._extents[-1].stop if self._extents else self.frontier

    @property
    def extents(self) -> int:
        """How many extents follow the frontier: 1 for a file that is written front to back."""
        return len(self._extents)

    def check_invariants(self) -> None:
        """Assert what the class docstring promises."""
        position = self.frontier
        for extent in self._extents:
            assert extent.start == position, self
            assert extent.size > 0, self
            position = extent.stop
            if isinstance(extent.source, Buffer):
                assert extent.source.size == extent.size, self
        buffers = [e.source.size for e in self._extents if isinstance(e.source, Buffer)]
        assert sum(buffers) == self.buffered, self

    def is_run_to(self, offset: int) -> bool:
        """Whether all after the frontier is one run of buffered bytes, which ends at *offset*."""
        if len(self._extents) != 1:
            return False
        extent = self._extents[0]
        return extent.stop == offset and isinstance(extent.source, Buffer)

    def write(self, offset: int, data: bytes) -> None:
        """Put *data* at *offset*, which is not below the frontier; a gap becomes a hole."""
        assert offset >= self.frontier
        size = self.size
        if offset > size:
            self.truncate(offset)
        if offset < size:
            self._overwrite(offset, data)
        else:
            self.append(data)

    def append(self, data: bytes) -> None:
        """Put *data* at the end."""
        last = self._extents[-1] if self._extents else None
        if last is None or not isinstance(last.source, Buffer):
            last = _Extent(self.size, 0, Buffer())
            self._extents.append(last)
        assert isinstance(last.source, Buffer)
        last.source.append(data)
        last.size += len(data)
        self.buffered += len(data)

    def truncate(self, size: int) -> None:
        """Cut or extend to *size*, which is not below the frontier."""
        assert size >= self.frontier
        if size > self.size:
            self._extents.append(_Extent(self.size, size - self.size, None))
            return
        index = self._split(size)
        for extent in self._extents[index:]:
            self._forget(extent)
        del self._extents[index:]

    def read(self, offset: int, size: int) -> Iterator[Piece]:
        """The pieces of ``[offset, offset + size)``, which is not below the frontier."""
        assert offset >= self.frontier
        stop = min(offset + size, self.size)
        index = self._index(offset)
        while offset < stop:
            extent = self._extents[index]
            yield _piece(extent, offset, min(stop, extent.stop))
            offset, index = extent.stop, index + 1

    def full_run_at(self, position: int, size: int) -> int | None:
        """Where the run of buffered bytes around *position* ends, cut to *size*; None if shorter.

        Everything before that point can be uploaded, and becomes so with ``advance``.
        """
        index = self._index(position)
        if index < 0 or not self._is_buffered(index):
            return None
        first = last = index
        while first and self._is_buffered(first - 1):
            first -= 1
        while last + 1 < len(self._extents) and self._is_buffered(last + 1):
            last += 1
        start, stop = self._extents[first].start, self._extents[last].stop
        return start + size if stop - start >= size else None

    def longest_run(self) -> tuple[int, int]:
        """How many bytes the longest run of buffered bytes has, and where it ends.

        Gaps that are too small for a part of their own belong to the run, as they are sent with
        it: else the memory that scattered writes take could never be freed.
        """
        best, size = (0, self.frontier), 0
        for extent in self._extents:
            if isinstance(extent.source, Buffer):
                size += extent.size
                best = max(best, (size, extent.stop))
            elif extent.size >= MIN_PART_SIZE:
                size = 0
        return best

    def advance(self, stop: int) -> list[Piece]:
        """Move the frontier to *stop*; returns the pieces that it passed, for the upload."""
        pieces: list[Piece] = []
        while self._extents and self._extents[0].start < stop:
            extent = self._extents[0]
            size = min(stop - extent.start, extent.size)
            if isinstance(extent.source, Buffer):
                pieces.append(Buffered(extent.source.take(size), size))
                self.buffered -= size
            else:
                pieces.append(_piece(extent, extent.start, extent.start + size))
            if size == extent.size:
                del self._extents[0]
            else:
                _trim_front(extent, size)
        self.frontier = stop
        return pieces

    def restore(self, pieces: Iterable[Piece]) -> None:
        """Take back all that ``advance`` handed out, from the start on: it was not stored."""
        assert not self._extents
        self.frontier = 0
        for piece in pieces:
            source: Buffer | int | None = None
            if isinstance(piece, Buffered):
                source = Buffer(piece.chunks)
                self.buffered += piece.size
            elif isinstance(piece, Base):
                source = piece.span.start
            self._extents.append(_Extent(self.size, piece.size, source))

    def _overwrite(self, offset: int, data: bytes) -> None:
        stop = offset + len(data)
        extent = self._extents[self._index(offset)]
        if isinstance(extent.source, Buffer) and stop <= extent.stop:
            extent.source.overwrite(offset - extent.start, data)
            return
        first = self._split(offset)
        last = self._split(stop) if stop < self.size else len(self._extents)
        for covered in self._extents[first:last]:
            self._forget(covered)
        self._extents[first:last] = []
        self._insert(first, offset, data)

    def _insert(self, index: int, offset: int, data: bytes) -> None:
        """Put *data* before extent *index*, joined to a buffer that ends there."""
        self.buffered += len(data)
        before = self._extents[index - 1] if index else None
        if before is not None and isinstance(before.source, Buffer):
            before.source.append(data)
            before.size += len(data)
        else:
            self._extents.insert(index, _Extent(offset, len(data), Buffer([data])))

    def _is_buffered(self, index: int) -> bool:
        return isinstance(self._extents[index].source, Buffer)

    def _forget(self, extent: _Extent) -> None:
        if isinstance(extent.source, Buffer):
            self.buffered -= extent.size

    def _index(self, offset: int) -> int:
        return bisect_right(self._extents, offset, key=lambda extent: extent.start) - 1

    def _split(self, offset: int) -> int:
        """Make *offset* an edge; returns the index of the extent that begins there."""
        index = self._index(offset)
        if index < 0 or self._extents[index].stop <= offset:
            return index + 1
        extent = self._extents[index]
        if extent.start == offset:
            return index
        size = offset - extent.start
        if isinstance(extent.source, Buffer):
            head = _Extent(extent.start, size, Buffer(extent.source.take(size)))
        else:
            head = _Extent(extent.start, size, extent.source)
        _trim_front(extent, size)
        self._extents.insert(index, head)
        return index + 1


def _trim_front(extent: _Extent, size: int) -> None:
    """Drop the first *size* bytes of *extent*; a Buffer has lost them already by ``take``."""
    extent.start += size
    extent.size -= size
    if isinstance(extent.source, int):
        extent.source += size


def _piece(extent: _Extent, start: int, stop: int) -> Piece:
    if isinstance(extent.source, Buffer):
        return Buffered([extent.source.read(start - extent.start, stop - start)], stop - start)
    if isinstance(extent.source, int):
        offset = extent.source + start - extent.start
        return Base(ByteRange(offset, offset + stop - start))
    return Hole(stop - start)
