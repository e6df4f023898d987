"""What is in a directory, from the keys of a listing: the names that paths can express.

Invariant: a name is of one entry, a directory if any key says so. Pure; knows of no cache.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cosfs.cos.model import Key, ListedObject, ListingPage
from cosfs.namespace.attributes import HADOOP_SUFFIX

MAX_NAME_BYTES: Final = 255  # NAME_MAX of Linux; COS has no limit of its own for a component


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedEntry:
    """A name in a directory. Without an *object* it is a directory.

    *alias* is the Hadoop style marker of a directory, if there is one.
    """

    name: str
    object: ListedObject | None = None
    alias: Key | None = None

    @property
    def is_directory(self) -> bool:
        return self.object is None


def split_key(key: str) -> tuple[str, str]:
    """The directory prefix that lists *key*, and its name there."""
    prefix, slash, name = key.removesuffix("/").rpartition("/")
    return prefix + slash, name


def last_key_of(name: str) -> str:
    """The last in order of the keys that put *name* into its directory: NAME, NAME/ and this."""
    return name + HADOOP_SUFFIX


def is_valid_name(name: str) -> bool:
    """Whether a path can have *name* as a component."""
    return (
        name not in ("", ".", "..")
        and "\0" not in name
        and "/" not in name
        and len(name.encode()) <= MAX_NAME_BYTES
    )


def collect_entries(entries: dict[str, ListedEntry], prefix: str, page: ListingPage) -> bool:
    """Add a page's entries that a path can express; whether there are others.

    A directory wins over a file beside it.
    """
    hidden = False
    for entry in _page_entries(prefix, page):
        if is_valid_name(entry.name):
            entries[entry.name] = _stronger(entries.get(entry.name), entry)
        else:
            hidden |= entry.object is None or entry.object.key != prefix
    return hidden


def marker_of(prefix: str, page: ListingPage) -> ListedObject | None:
    """The directory's own object, which its first page begins with."""
    return page.objects[0] if page.objects and page.objects[0].key == prefix else None


def settled_names(entries: dict[str, ListedEntry], upto: str | None) -> dict[str, ListedEntry]:
    """Those of which the pages up to the marker *upto* have shown all: a directory may follow."""
    if upto is None:
        return dict(entries)
    return {name: entry for name, entry in entries.items() if last_key_of(name) <= upto}


def _page_entries(prefix: str, page: ListingPage) -> Iterator[ListedEntry]:
    for below in page.prefixes:
        yield ListedEntry(name=below[len(prefix) : -1])
    for listed in page.objects:
        name = listed.key[len(prefix) :]
        if name.endswith(HADOOP_SUFFIX) and listed.size == 0:
            yield ListedEntry(name=name.removesuffix(HADOOP_SUFFIX), alias=listed.key)
        else:
            yield ListedEntry(name=name, object=listed)


def _stronger(first: ListedEntry | None, second: ListedEntry) -> ListedEntry:
    if first is None or not first.is_directory:
        return second
    return second if second.alias is not None else first
