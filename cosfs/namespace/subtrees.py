"""Trees that are listed with one request: LIST without a delimiter tells of all directories below.

Programs that walk through a tree (find, git status, rsync, a build) ask for each of its
directories, one after the other. Where they did so the last time, and all of it fits a page, the
next LIST of its top answers for the others too. Whether they will is seen by what was done with
the listings: those that nobody uses for a few times are not asked for again.
"""

from typing import Final

import trio
from cachetools import TTLCache

from cosfs.cos.model import MAX_LIST_KEYS, ListedObject, ListingPage
from cosfs.namespace.changes import Moment
from cosfs.namespace.entries import ListedEntry, collect_entries, is_valid_name, marker_of
from cosfs.namespace.listings import ListingCache

_MOST_KNOWN: Final = MAX_LIST_KEYS * 9 // 10  # keys that were listed; there may be more by now
_TOO_LARGE_S: Final = 3600.0  # until a tree that did not fit is tried again
_MOST_REMEMBERED: Final = 10_000  # trees


class Subtrees:
    """Which trees of a mount are listed whole, and what their listings become."""

    def __init__(self, listings: ListingCache) -> None:
        self._listings = listings
        self._too_large: TTLCache[str, bool] = TTLCache(
            _MOST_REMEMBERED, _TOO_LARGE_S, timer=trio.current_time
        )

    def is_wanted(self, prefix: str) -> bool:
        """Whether LIST of all below *prefix* is likely to save others. Does not yield."""
        if prefix in self._too_large:
            return False
        keys, saves, waiting = 0, False, [prefix]
        while waiting:
            directory = waiting.pop()
            listing = self._listings.last_known(directory)
            if listing is None:
                if directory == prefix or self._listings.is_large(directory):
                    return False
                continue  # never asked for: perhaps it fits
            keys += len(listing)
            if keys > _MOST_KNOWN:
                return False
            saves |= listing.wanted > 0 and directory != prefix
            waiting += [
                f"{directory}{name}/"
                for name, entry in listing.entries.items()
                if entry.is_directory
            ]
        return saves

    def take(self, prefix: str, tree: ListingPage, began: Moment) -> ListingPage | None:
        """The page of *prefix* itself; those of all directories below are kept. Does not yield.

        None if this is not the whole of it.
        """
        if tree.next_marker is not None:
            self._too_large[prefix] = True
            return None
        pages = split_by_directory(prefix, tree)
        for directory, page in pages.items():
            if directory != prefix and _has_path(directory[len(prefix) :]):
                self._keep(directory, page, began)
        return pages[prefix]

    def _keep(self, directory: str, page: ListingPage, began: Moment) -> None:
        known = self._listings.last_known(directory)
        newest = self._listings.dropped_at if known is None else known.time
        if newest >= began.time:
            return
        entries: dict[str, ListedEntry] = {}
        hidden = collect_entries(entries, directory, page)
        self._listings.mark_large(directory, large=False)
        listing = self._listings.store(directory, entries, began, marker_of(directory, page))
        listing.hidden = hidden
        listing.wanted = 0 if known is None else max(0, known.wanted - 1)


def split_by_directory(prefix: str, tree: ListingPage) -> dict[str, ListingPage]:
    """What LIST with a delimiter shows of *prefix*, and of each directory below, by their keys."""
    objects: dict[str, list[ListedObject]] = {prefix: []}
    prefixes: dict[str, dict[str, None]] = {prefix: {}}
    for listed in tree.objects:
        directory = prefix
        *above, _ = listed.key[len(prefix) :].split("/")
        for name in above:
            below = f"{directory}{name}/"
            if below not in objects:
                objects[below], prefixes[below] = [], {}
            prefixes[directory][below] = None
            directory = below
        objects[directory].append(listed)
    return {
        directory: ListingPage(
            objects=objects[directory], prefixes=list(prefixes[directory]), next_marker=None
        )
        for directory in objects
    }


def _has_path(below: str) -> bool:
    return all(is_valid_name(name) for name in below.removesuffix("/").split("/"))
