from collections.abc import Iterator
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from cosfs.emulator.listing import Page, Window, read_page


@dataclass(frozen=True, slots=True)
class Named:
    key: str


def page_of(keys: list[str], window: Window) -> Page[Named]:
    ordered = sorted(set(keys), key=str.encode)

    def seek(start: bytes) -> Iterator[Named]:
        return (Named(key) for key in ordered if key.encode() >= start)

    return read_page(seek, window)


def all_pages(keys: list[str], *, prefix: str, delimiter: str, limit: int) -> list[str]:
    names: list[str] = []
    after = ""
    while True:
        window = Window(prefix=prefix, delimiter=delimiter, after=after, limit=limit)
        page = page_of(keys, window)
        assert len(page) <= limit
        names += sorted([each.key for each in page.entries] + page.groups, key=str.encode)
        if not page.truncated:
            return names
        after = page.last


def expected(keys: list[str], *, prefix: str, delimiter: str) -> list[str]:
    """By definition, without any order of work."""
    shown = set()
    for key in keys:
        if key.startswith(prefix):
            head, found, _ = (
                key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            )
            shown.add(prefix + head + delimiter if found else key)
    return sorted(shown, key=str.encode)


KEYS = st.lists(st.text(alphabet="ab/é😀", min_size=1, max_size=6), max_size=30)


@given(
    keys=KEYS,
    prefix=st.text(alphabet="ab/", max_size=3),
    delimiter=st.sampled_from(["", "/", "é"]),
    limit=st.integers(1, 5),
)
def test_pages_together_show_every_key_or_its_group_once(
    keys: list[str], prefix: str, delimiter: str, limit: int
) -> None:
    shown = all_pages(keys, prefix=prefix, delimiter=delimiter, limit=limit)

    assert shown == expected(keys, prefix=prefix, delimiter=delimiter)


def test_marker_that_is_a_group_skips_the_group() -> None:
    page = page_of(["a/1", "a/2", "b"], Window(delimiter="/", after="a/"))

    assert (page.groups, [each.key for each in page.entries]) == ([], ["b"])


def test_marker_without_delimiter_is_passed_by_its_own_key_only() -> None:
    page = page_of(["a/", "a/1"], Window(after="a/"))

    assert [each.key for each in page.entries] == ["a/1"]


def test_group_costs_one_seek_however_large() -> None:
    seeks: list[bytes] = []
    ordered = [f"dir/{number:05}" for number in range(10_000)] + ["z"]
    visited = 0

    def seek(start: bytes) -> Iterator[Named]:
        nonlocal visited
        seeks.append(start)
        for key in ordered:
            if key.encode() >= start:
                visited += 1
                yield Named(key)

    read_page(seek, Window(delimiter="/"))

    assert seeks == [b"", b"dir0"]
    assert visited == 2
