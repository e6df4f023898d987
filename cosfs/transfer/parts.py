"""Part sizes, and the cheapest way from a file's extents to the parts of a multipart upload. Pure.

A file that is being changed is a sequence of extents, each with a source. A plan says for each
part whether its bytes are sent or copied inside COS.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from cosfs.config import TransferConfig
from cosfs.cos.model import MAX_PART_SIZE, MIN_PART_SIZE, ByteRange

_GROWTH_INTERVAL: Final = 1000  # parts of one size, before the size doubles
_PARTS_IN_BUDGET: Final = 4  # a part grows to this share of the memory at most
COPY_PART_SIZE: Final = 1 << 30  # under COS's 5 GiB, so that big copies run in parallel


@dataclass(frozen=True, slots=True)
class Buffered:
    """Bytes in memory, as chunks in order."""

    chunks: Sequence[bytes]
    size: int


@dataclass(frozen=True, slots=True)
class Base:
    """A range of the committed object that the file's content started from."""

    span: ByteRange

    @property
    def size(self) -> int:
        return self.span.size


@dataclass(frozen=True, slots=True)
class Hole:
    """Zeros."""

    size: int


Piece = Buffered | Base | Hole


@dataclass(frozen=True, slots=True)
class CopyPart:
    """A part that COS copies from the base object."""

    span: ByteRange

    @property
    def size(self) -> int:
        return self.span.size


@dataclass(slots=True)
class SendPart:
    """A part whose bytes we send, put together from *pieces*."""

    pieces: list[Piece] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(piece.size for piece in self.pieces)


PlannedPart = CopyPart | SendPart


def buffered_size(part: PlannedPart) -> int:
    """How many bytes of *part* are in memory."""
    if isinstance(part, CopyPart):
        return 0
    return sum(piece.size for piece in part.pieces if isinstance(piece, Buffered))


def part_size_for(number: int, *, smallest: int, ceiling: int) -> int:
    """The size of part *number*: *smallest*, doubled every 1000 parts, at most *ceiling*.

    So 10 000 parts hold more than 10 000 * *smallest*, while a file of ordinary size keeps
    small parts.
    """
    doublings = min((number - 1) // _GROWTH_INTERVAL, 13)
    return max(smallest, min(smallest << doublings, ceiling, MAX_PART_SIZE))


def next_part_size(
    config: TransferConfig, parts: int, *, earlier: Mapping[int, int] | None = None
) -> int:
    """The size of the part that follows *parts* others.

    It is that of an *earlier* run of the same upload, whose parts are not sent again if they are
    the same, unless it was allowed more memory.
    """
    ceiling = config.memory // _PARTS_IN_BUDGET
    size = part_size_for(parts + 1, smallest=config.part_size, ceiling=ceiling)
    wanted = size if earlier is None else earlier.get(parts + 1, size)
    return wanted if MIN_PART_SIZE <= wanted <= max(size, ceiling) else size


def plan_parts(pieces: Iterable[Piece], *, part_size: int, last: bool) -> list[PlannedPart]:
    """Cover *pieces* with parts: base ranges are copied, all else is sent.

    Every part but the last of the object is at least 1 MiB: base bytes are read and sent where
    a piece beside them would be smaller. *last* says that the object ends with *pieces*; if it
    does not, they must end with at least 1 MiB to send.
    """
    parts: list[PlannedPart] = []
    run = SendPart()
    for piece in pieces:
        if not isinstance(piece, Base):
            run.pieces.append(piece)
            continue
        lent = _lent(run.size, piece)
        rest = piece.size - lent
        if 0 < rest < MIN_PART_SIZE:
            lent, rest = piece.size, 0
        if lent:
            run.pieces.append(Base(ByteRange(piece.span.start, piece.span.start + lent)))
        if rest:
            parts.extend(_split(run, part_size))
            run = SendPart()
            rest_span = ByteRange(piece.span.start + lent, piece.span.stop)
            parts.extend(map(CopyPart, copy_spans(rest_span)))
    parts.extend(_split(run, part_size))
    assert last or run.size >= MIN_PART_SIZE
    return parts


def _lent(run_size: int, base: Base) -> int:
    """How many of *base*'s first bytes a run of *run_size* needs to make a lawful part."""
    if run_size == 0 or run_size >= MIN_PART_SIZE:
        return 0
    return min(MIN_PART_SIZE - run_size, base.size)


def copy_spans(span: ByteRange) -> Iterator[ByteRange]:
    """Cut *span*, at least 1 MiB unless it is the last, into parts of about equal size to copy."""
    count = -(-span.size // COPY_PART_SIZE)
    edges = [span.start + span.size * index // count for index in range(count + 1)]
    for start, stop in pairwise(edges):
        yield ByteRange(start, stop)


def _split(run: SendPart, part_size: int) -> Iterator[SendPart]:
    """Cut *run* into parts of about equal size, each from *part_size* up to twice that."""
    size = run.size
    if not size:
        return
    count = max(1, size // part_size)
    edges = [size * index // count for index in range(1, count + 1)]
    part, position = SendPart(), 0
    pieces = iter(run.pieces)
    piece = next(pieces, None)
    for edge in edges:
        while piece is not None and position < edge:
            head, tail = split_piece(piece, edge - position)
            part.pieces.append(head)
            position += head.size
            piece = tail or next(pieces, None)
        yield part
        part = SendPart()


def split_piece(piece: Piece, size: int) -> tuple[Piece, Piece | None]:
    """Cut *piece* after *size* bytes; the second half is None if nothing is left."""
    if size >= piece.size:
        return piece, None
    if isinstance(piece, Hole):
        return Hole(size), Hole(piece.size - size)
    if isinstance(piece, Base):
        middle = piece.span.start + size
        return (
            Base(ByteRange(piece.span.start, middle)),
            Base(ByteRange(middle, piece.span.stop)),
        )
    head, tail = split_chunks(piece.chunks, size)
    return Buffered(head, size), Buffered(tail, piece.size - size)


def split_chunks(chunks: Sequence[bytes], size: int) -> tuple[list[bytes], list[bytes]]:
    """Cut a sequence of chunks after *size* bytes; at most one chunk is copied."""
    head: list[bytes] = []
    for index, chunk in enumerate(chunks):
        if size < len(chunk):
            rest = [chunk[size:], *chunks[index + 1 :]]
            return ([*head, chunk[:size]] if size else head), rest
        head.append(chunk)
        size -= len(chunk)
    return head, []
