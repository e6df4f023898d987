"""Positions in a directory that is read in batches."""

from collections.abc import Iterator, Sequence

from cosfs.config import AttributeConfig
from cosfs.namespace.attributes import AttributeCodec
from cosfs.namespace.directories import DirectoryEntry, DirectoryReader

CODEC = AttributeCodec(AttributeConfig())


def entry(name: str, *, exact: bool = True) -> DirectoryEntry:
    return DirectoryEntry(name=name, attributes=CODEC.implicit_directory(), exact=exact)


def reader_of(*batches: Sequence[str]) -> DirectoryReader:
    remaining: Iterator[Sequence[str]] = iter(batches)

    async def next_batch() -> Sequence[DirectoryEntry] | None:
        names = next(remaining, None)
        return None if names is None else [entry(name) for name in names]

    return DirectoryReader(next_batch, lambda name: entry(name, exact=False), lambda: None)


def names(entries: Sequence[DirectoryEntry]) -> list[str]:
    return [entry.name for entry in entries]


async def test_a_position_gives_the_rest_of_its_batch() -> None:
    reader = reader_of(["a", "b"], ["c", "d", "e"])

    assert names(await reader.entries_from(0)) == ["a", "b"]
    assert names(await reader.entries_from(1)) == ["b"]
    assert names(await reader.entries_from(3)) == ["d", "e"]
    assert await reader.entries_from(5) == []


async def test_batches_without_entries_are_passed_over() -> None:
    reader = reader_of([], ["a"], [], [], ["b"], [])

    assert names(await reader.entries_from(0)) == ["a"]
    assert names(await reader.entries_from(1)) == ["b"]
    assert await reader.entries_from(2) == []


async def test_an_empty_directory_has_no_entries() -> None:
    assert await reader_of().entries_from(0) == []


async def test_two_batches_are_held_and_of_older_ones_the_names() -> None:
    reader = reader_of(["a", "ü"], ["c"], ["d"], ["e"])
    assert await reader.entries_from(5) == []

    exact = {}
    for position in range(5):
        (first, *_) = await reader.entries_from(position)
        exact[first.name] = first.exact

    assert exact == {"a": False, "ü": False, "c": False, "d": True, "e": True}
