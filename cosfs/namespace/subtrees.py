"""Trees that are listed with one request: LIST without a delimiter tells of all directories below.

Programs that walk through a tree (find, git status, rsync, a build) ask for each of its
directories, one after the other. Two requests answer for many of them. Where a program did so the
last time, and all of the tree fits a page, LIST of its top is the one: whether it will be used is
seen by what was done with the listings before, and those that nobody uses for a few times are not
asked for again. And where a program goes from one directory to the next, LIST goes on from there,
without an end to each: keys come in the order of the walk. Knows prefixes, no nodes.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio
from cachetools import LRUCache, TTLCache

from cosfs.cos.model import MAX_LIST_KEYS, ListedObject, ListingPage
from cosfs.namespace.changes import Moment
from cosfs.namespace.entries import ListedEntry, collect_entries, is_valid_name, marker_of
from cosfs.namespace.listings import ListingCache
from cosfs.namespace.ranges import AskedPage

_MOST_KNOWN: Final = MAX_LIST_KEYS * 9 // 10  # keys that were listed; there may be more by now
_TOO_LARGE_S: Final = 3600.0  # until a tree that did not fit is tried again
_MOST_REMEMBERED: Final = 10_000  # trees
_WORTH: Final = 4  # directories on a page; fewer are asked for one by one, side by side
_FIRST_AHEAD: Final = 4  # directories, while it is not known how many a page tells of
_LEAST_AHEAD: Final = 2
_LEAST_TTL_S: Final = 0.5  # what is asked for ahead must not be too old when it is wanted

AskTree = Callable[[str, str], Awaitable[AskedPage]]
"""Ask for what is below a prefix, after a marker, without a delimiter."""


@dataclass(slots=True, eq=False)
class _Walk:
    """A request under way that tells of directories whose prefix comes after this marker."""

    after: str
    done: trio.Event = field(default_factory=trio.Event)


class Subtrees:
    """Which trees of a mount are listed whole, and what their listings become."""

    def __init__(self, listings: ListingCache, ask: AskTree) -> None:
        self._listings = listings
        self._ask = ask
        self._too_large: TTLCache[str, bool] = _memory()
        self._too_wide: TTLCache[str, bool] = _memory()  # to be walked through
        self._spans: LRUCache[str, int] = LRUCache(_MOST_REMEMBERED)
        self._walks: dict[str, _Walk] = {}

    async def page(self, prefix: str) -> AskedPage | None:
        """The page of *prefix* itself, the listings of all below being known then as well.

        None if it is better asked for alone.
        """
        if not self._is_wanted(prefix):
            return None
        tree = await self._ask(prefix, "")
        if tree.page.next_marker is not None:
            self._too_large[prefix] = True
            return None
        pages = split_by_directory(prefix, tree.page)
        self._keep(prefix, pages, tree.began)
        return AskedPage(page=pages[prefix], began=tree.began)

    async def walk(self, prefix: str, name: str) -> bool:
        """Ask for the directory *name* in *prefix* and those that follow; whether it is known now.

        Who asks for one that may be among those that were asked for waits for them.
        """
        directory = f"{prefix}{name}/"
        while not self._listings.fresh(directory):
            if prefix in self._too_wide or self._listings.negative_ttl_s < _LEAST_TTL_S:
                return False
            walk = self._walks.get(prefix)
            if walk is None:
                await self._walk_from(prefix, name)
                return self._listings.fresh(directory) is not None
            await walk.done.wait()
        return True

    async def settled(self, directory: str) -> None:
        """Wait for what is under way and may tell of *directory*. Yields only if something is."""
        while (walk := self._walk_of(directory)) and not self._listings.fresh(directory):
            await walk.done.wait()

    def ahead(self, prefix: str) -> int:
        """How many directories who walks through *prefix* should ask for ahead."""
        if prefix in self._too_wide:
            return _FIRST_AHEAD
        return max(self._spans.get(prefix, _FIRST_AHEAD), _LEAST_AHEAD)

    def _is_wanted(self, prefix: str) -> bool:
        """Whether LIST of all below *prefix* is likely to save others."""
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

    async def _walk_from(self, prefix: str, name: str) -> None:
        walk = self._walks[prefix] = _Walk(f"{prefix}{name}")
        try:
            tree = await self._ask(prefix, walk.after)
            pages = split_by_directory(prefix, tree.page)
            upto = tree.page.next_marker
            if upto is not None:
                pages = {each: page for each, page in pages.items() if not upto.startswith(each)}
                self._spans[prefix] = sum("/" not in each[len(prefix) : -1] for each in pages)
                if len(pages) < _WORTH:
                    self._too_wide[prefix] = True
            self._keep(prefix, pages, tree.began)
        finally:
            del self._walks[prefix]
            walk.done.set()

    def _walk_of(self, directory: str) -> _Walk | None:
        for prefix, walk in self._walks.items():
            if directory.startswith(prefix) and walk.after < directory:
                return walk
        return None

    def _keep(self, prefix: str, pages: dict[str, ListingPage], began: Moment) -> None:
        """Let the listings of the directories below *prefix* be known."""
        for directory, page in pages.items():
            if directory != prefix and _has_path(directory[len(prefix) :]):
                self._keep_one(directory, page, began)

    def _keep_one(self, directory: str, page: ListingPage, began: Moment) -> None:
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


def _memory() -> TTLCache[str, bool]:
    return TTLCache(_MOST_REMEMBERED, _TOO_LARGE_S, timer=trio.current_time)
