"""Random edits of a file's content against the same edits of a bytearray."""

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from cosfs.fs.content import FileContent
from cosfs.transfer.parts import Base, Buffered, Hole, Piece
from tests.support.engines import some_bytes

BASE = some_bytes(1000, seed=3)
OFFSETS = st.integers(0, 1500)
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["write", "append", "truncate", "advance", "restore"]),
        OFFSETS,
        st.integers(1, 400),
    ),
    max_size=25,
)


def bytes_of(piece: Piece) -> bytes:
    if isinstance(piece, Buffered):
        return b"".join(piece.chunks)
    if isinstance(piece, Hole):
        return bytes(piece.size)
    return BASE[piece.span.start : piece.span.stop]


def joined(pieces: list[Piece]) -> bytes:
    return b"".join(map(bytes_of, pieces))


@dataclass
class Edited:
    """A content, what it should be, and what ``advance`` has handed out of it."""

    content: FileContent
    model: bytearray
    sent: list[Piece] = field(default_factory=list)

    def edit(self, kind: str, offset: int, data: bytes) -> None:
        frontier, size = self.content.frontier, len(self.model)
        if kind == "write":
            self.write(max(offset, frontier), data)
        elif kind == "append":
            self.write(size, data)
        elif kind == "truncate":
            self.truncate(max(offset, frontier))
        elif kind == "advance":
            self.sent += self.content.advance(max(frontier, min(offset, size)))
        else:
            self.sent += self.content.advance(size)
            self.content.restore(self.sent)
            self.sent = []

    def write(self, offset: int, data: bytes) -> None:
        self.content.write(offset, data)
        self.model.extend(bytes(max(0, offset - len(self.model))))
        self.model[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        self.content.truncate(size)
        del self.model[size:]
        self.model.extend(bytes(size - len(self.model)))

    def check(self) -> None:
        self.content.check_invariants()
        frontier, size = self.content.frontier, self.content.size
        assert size == len(self.model)
        assert joined(self.sent) == self.model[:frontier]
        assert joined(list(self.content.read(frontier, size))) == self.model[frontier:]


@given(st.sampled_from([0, 1, 1000]), EDITS)
@settings(max_examples=200)
def test_content_is_what_the_edits_make(base_size: int, edits: list[tuple[str, int, int]]) -> None:
    edited = Edited(FileContent(base_size), bytearray(BASE[:base_size]))
    for seed, (kind, offset, size) in enumerate(edits):
        edited.edit(kind, offset, some_bytes(size, seed))
        edited.check()


@given(EDITS, OFFSETS, st.integers(0, 500))
def test_content_reads_any_range(
    edits: list[tuple[str, int, int]], offset: int, size: int
) -> None:
    edited = Edited(FileContent(len(BASE)), bytearray(BASE))
    for seed, (kind, place, length) in enumerate(edits):
        edited.edit(kind, place, some_bytes(length, seed))
    offset = max(offset, edited.content.frontier)

    found = joined(list(edited.content.read(offset, size)))

    assert found == edited.model[offset : offset + size]


def test_stream_is_one_extent() -> None:
    content = FileContent()
    for number in range(100):
        content.write(number * 10, bytes(10))

    assert repr(content) == "<FileContent size=1000 uploaded=0 buffered=1000 extents=1>"


def test_gap_before_a_write_is_a_hole() -> None:
    content = FileContent()
    content.write(5, b"abc")

    assert list(content.read(0, 8)) == [Hole(5), Buffered([b"abc"], 3)]


def test_write_into_the_base_leaves_its_ends() -> None:
    content = FileContent(1000)
    content.write(400, bytes(10))

    kinds = [(type(piece), piece.size) for piece in content.read(0, 1000)]

    assert kinds == [(Base, 400), (Buffered, 10), (Base, 590)]


def test_full_run_ends_at_the_wanted_size() -> None:
    content = FileContent(1000)
    content.write(100, bytes(50))
    content.write(390, bytes(70))
    content.write(300, bytes(90))

    assert content.full_run_at(389, 120) == 420
    assert content.full_run_at(459, 160) == 460
    assert content.full_run_at(389, 161) is None
    assert content.full_run_at(100, 51) is None
    assert content.full_run_at(200, 1) is None


def test_no_run_is_full_once_it_was_sent() -> None:
    content = FileContent()
    content.write(0, bytes(100))
    content.advance(100)

    assert content.full_run_at(99, 1) is None


def test_longest_run_goes_over_gaps_that_are_no_part() -> None:
    content = FileContent(5 << 20)
    content.write(100, bytes(50))
    content.write(300, bytes(90))
    content.write(2 << 20, bytes(130))

    assert content.longest_run() == (140, 390)
    assert FileContent(1000).longest_run()[0] == 0
