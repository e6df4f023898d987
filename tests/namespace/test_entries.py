"""Names from the keys that a listing shows."""

from collections.abc import Sequence

from cosfs.cos.model import Key, ListingPage
from cosfs.namespace.entries import ListedEntry, collect_entries, is_valid_name, split_key
from tests.namespace.listed import listed


def page(*keys: str, prefixes: tuple[str, ...] = (), size: int = 1) -> ListingPage:
    return ListingPage(
        objects=[listed(key, size=size) for key in keys], prefixes=prefixes, next_marker=None
    )


def collect(prefix: str, pages: Sequence[ListingPage]) -> dict[str, ListedEntry]:
    entries: dict[str, ListedEntry] = {}
    for each in pages:
        collect_entries(entries, prefix, each)
    return entries


def test_split_key_finds_the_directory_that_lists_it() -> None:
    assert split_key("a") == ("", "a")
    assert split_key("a/b/c") == ("a/b/", "c")
    assert split_key("a/b/") == ("a/", "b")


def test_names_that_no_path_has_are_left_out() -> None:
    entries = collect(
        "d/", [page("d/", "d/a", "d/nul\0", "d/" + "x" * 256, prefixes=("d//", "d/./", "d/../"))]
    )

    assert list(entries) == ["a"]


def test_name_of_255_bytes_is_valid_and_of_256_is_not() -> None:
    assert is_valid_name("é" * 127 + "a")
    assert not is_valid_name("é" * 128)


def test_directory_wins_over_the_file_beside_it_on_any_page() -> None:
    entries = collect("", [page("a"), page(prefixes=("a/",)), page("b", prefixes=("b/",))])

    assert [found.is_directory for found in entries.values()] == [True, True]


def test_hadoop_marker_is_a_directory_and_names_its_key() -> None:
    entries = collect("", [page("a_$folder$", prefixes=("b/",), size=0), page("c_$folder$")])

    assert entries["a"] == ListedEntry(name="a", alias=Key("a_$folder$"))
    assert not entries["c_$folder$"].is_directory  # it has content: somebody's file
