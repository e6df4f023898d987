"""How answers are put into words."""

import pytest

from cosfs.cli.words import count_of, printable, size_of, some_of, span_of


def test_what_a_terminal_would_obey_is_shown_as_escapes() -> None:
    assert printable("a\x1b[2Jb\nc\udcffd\x9be ä") == "a\\x1b[2Jb\\nc\\udcffd\\x9be ä"


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 30, "5 GiB"), (3 << 40, "3 TiB")],
)
def test_sizes_have_binary_units(size: int, words: str) -> None:
    assert size_of(size) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.9, "0 min 0 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (90_000, "1 d 1 h")],
)
def test_times_have_their_two_largest_units(seconds: float, words: str) -> None:
    assert span_of(seconds) == words


def test_counts_know_singular_and_plural() -> None:
    assert (count_of(1, "file"), count_of(0, "file")) == ("1 file", "0 files")


def test_long_lists_are_cut() -> None:
    assert some_of(["a", "b"]) == "'a', 'b'"
    assert some_of(["a", "b", "c", "d"]) == "'a', 'b', 'c' and 1 more"
