"""Plans: whatever a file is made of, its parts cover it and COS takes them."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosfs.cos.model import MAX_PART_SIZE, MAX_PARTS, ByteRange
from cosfs.transfer.parts import (
    COPY_PART_SIZE,
    Base,
    Buffered,
    CopyPart,
    Hole,
    Piece,
    PlannedPart,
    SendPart,
    buffered_size,
    part_size_for,
    plan_parts,
    split_chunks,
)
from tests.support.engines import MIB

GIB = 1 << 30
SIZES = st.one_of(
    st.integers(1, 5 * MIB),
    st.sampled_from([1, MIB - 1, MIB, MIB + 1, 8 * MIB, COPY_PART_SIZE + 1, 6 * GIB]),
)
PART_SIZES = st.sampled_from([MIB, 8 * MIB])

# What stands for a byte: its source and where it is there. Runs of these are compared, not bytes.
Run = tuple[str, int, int]


def buffered(size: int) -> Buffered:
    """Bytes that take no memory worth mentioning."""
    block = bytes(MIB)
    return Buffered([block] * (size // MIB) + [block[: size % MIB]], size)


@st.composite
def pieces_of_a_file(draw: st.DrawFn) -> list[Piece]:
    """Pieces in the order of a file; base ranges come from where they have been in it."""
    pieces: list[Piece] = []
    position = 0
    for kind in draw(st.lists(st.sampled_from("buh"), min_size=1, max_size=8)):
        size = draw(SIZES if kind == "b" else st.integers(1, 20 * MIB))
        if kind == "b":
            pieces.append(Base(ByteRange(position, position + size)))
        else:
            pieces.append(Hole(size) if kind == "h" else buffered(size))
        position += size
    return pieces


def runs_of(pieces: Sequence[Piece]) -> list[Run]:
    """The pieces as runs of (source, start, stop), neighbours of one source joined."""
    runs: list[Run] = []
    for piece in pieces:
        start = piece.span.start if isinstance(piece, Base) else 0
        run = (type(piece).__name__, start, start + piece.size)
        if runs and runs[-1][0] == run[0] and (run[0] != "Base" or runs[-1][2] == run[1]):
            run = (run[0], runs[-1][1], runs[-1][2] + piece.size)
            runs.pop()
        runs.append(run)
    return runs


def pieces_in(parts: Sequence[PlannedPart]) -> list[Piece]:
    pieces: list[Piece] = []
    for part in parts:
        pieces += [Base(part.span)] if isinstance(part, CopyPart) else part.pieces
    return pieces


@given(pieces_of_a_file(), PART_SIZES)
@settings(max_examples=40)
def test_parts_cover_the_pieces_in_order(pieces: list[Piece], part_size: int) -> None:
    parts = plan_parts(pieces, part_size=part_size, last=True)

    assert runs_of(pieces_in(parts)) == runs_of(pieces)


@given(pieces_of_a_file(), PART_SIZES)
@settings(max_examples=40)
def test_parts_are_of_lawful_size(pieces: list[Piece], part_size: int) -> None:
    parts = plan_parts(pieces, part_size=part_size, last=True)

    assert all(part.size >= MIB for part in parts[:-1])
    assert all(0 < part.size <= MAX_PART_SIZE for part in parts)


@given(pieces_of_a_file(), PART_SIZES)
@settings(max_examples=40)
def test_parts_that_are_sent_stay_below_twice_the_part_size(
    pieces: list[Piece], part_size: int
) -> None:
    parts = plan_parts(pieces, part_size=part_size, last=True)

    assert all(part.size < 2 * part_size for part in parts if isinstance(part, SendPart))


@given(pieces_of_a_file(), PART_SIZES)
@settings(max_examples=40)
def test_parts_read_little_of_the_base(pieces: list[Piece], part_size: int) -> None:
    """Under 2 MiB of each base range: what makes a neighbour lawful, and a rest that is not."""
    parts = plan_parts(pieces, part_size=part_size, last=True)

    sent = [piece for part in parts if isinstance(part, SendPart) for piece in part.pieces]
    borrowed = sum(piece.size for piece in sent if isinstance(piece, Base))
    assert borrowed < 2 * MIB * sum(isinstance(piece, Base) for piece in pieces) + 1


@given(pieces_of_a_file(), PART_SIZES)
@settings(max_examples=40)
def test_parts_of_a_growing_file_can_all_be_followed(pieces: list[Piece], part_size: int) -> None:
    parts = plan_parts([*pieces, buffered(MIB)], part_size=part_size, last=False)

    assert all(part.size >= MIB for part in parts)
    assert sum(map(buffered_size, parts)) == MIB + sum(
        piece.size for piece in pieces if isinstance(piece, Buffered)
    )


def test_unchanged_file_is_copied_in_parts_of_about_a_gibibyte() -> None:
    parts = plan_parts([Base(ByteRange(0, 6 * GIB + 1))], part_size=MIB, last=True)

    assert all(isinstance(part, CopyPart) for part in parts)
    assert len(parts) == 7


def test_no_pieces_make_no_parts() -> None:
    assert plan_parts([], part_size=MIB, last=True) == []


def test_part_sizes_let_ten_thousand_parts_hold_half_a_terabyte() -> None:
    sizes = [
        part_size_for(number, smallest=8 * MIB, ceiling=64 * MIB)
        for number in range(1, MAX_PARTS + 1)
    ]

    assert sizes[0] == sizes[999] == 8 * MIB
    assert sizes == sorted(sizes)
    assert max(sizes) == 64 * MIB
    assert sum(sizes) > 492 * GIB


@pytest.mark.parametrize("number", [1, 5000, MAX_PARTS])
def test_part_size_keeps_to_the_limit_of_a_part(number: int) -> None:
    size = part_size_for(number, smallest=2 * GIB, ceiling=100 * GIB)

    assert 2 * GIB <= size <= MAX_PART_SIZE


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=6), st.integers(0, 60))
def test_split_chunks_loses_nothing(chunks: list[bytes], size: int) -> None:
    whole = b"".join(chunks)

    head, tail = split_chunks(chunks, size)

    assert b"".join(head) == whole[:size]
    assert b"".join(tail) == whole[size:]
    assert all([*head, *tail])
