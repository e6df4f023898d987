"""The names of one directory, page after page, the next page on its way while one is read.

Every page is stored with the listings as it comes; when the last one has, and all were kept, they
become a whole listing. Knows prefixes, no nodes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

import trio

from cosfs.cos.model import ListedObject
from cosfs.namespace.listings import (
    ListedEntry,
    ListingCache,
    Moment,
    Page,
    collect_entries,
    marker_of,
    settled_names,
)
from cosfs.namespace.lookups import AskedPage, Finder
from cosfs.namespace.parallel import Begun

BATCH: Final = 1000  # names; what a page of LIST has


class PagedNames:
    """One reading of a directory from its start to its end, which is the only way to go."""

    def __init__(
        self, finder: Finder, listings: ListingCache, nursery: trio.Nursery | None
    ) -> None:
        """Without *nursery* no page is asked for ahead."""
        self._finder = finder
        self._listings = listings
        self._nursery = nursery
        self._began: Moment | None = None
        self._after: str | None = ""
        self._ahead: Begun[AskedPage] | None = None
        self._held: dict[str, ListedEntry] = {}  # of pages so far; the next may show them anew
        self._snapshot: list[ListedEntry] | None = None  # of a listing that was known
        self._pages: list[Page] | None = []  # None: too many to become a whole listing
        self._marker: ListedObject | None = None
        self._hidden = False

    async def next_names(self, prefix: str) -> Sequence[ListedEntry] | None:
        """The entries of the next page, sorted by name, own changes put in; None at the end."""
        if self._began is None:
            self._began = self._listings.moment()
            known = self._listings.complete(prefix)
            if known is not None:
                self._snapshot = sorted(known.entries.values(), key=lambda entry: entry.name)
                self._snapshot.reverse()
        if self._snapshot is not None:
            return self._next_known(prefix)
        return None if self._after is None else await self._next_page(prefix)

    def close(self) -> None:
        """Nobody reads on. Does not yield."""
        if self._ahead is not None:
            self._ahead.cancel()
            self._ahead = None

    def _next_known(self, prefix: str) -> Sequence[ListedEntry] | None:
        assert self._snapshot is not None
        if not self._snapshot:
            return None
        batch = self._snapshot[: -BATCH - 1 : -1]
        del self._snapshot[-BATCH:]
        assert self._began is not None
        return self._listings.merged(prefix, batch, self._began)

    async def _next_page(self, prefix: str) -> Sequence[ListedEntry]:
        after = self._after
        assert after is not None
        ahead, self._ahead = self._ahead, None
        asked = await (self._finder.page(prefix, after) if ahead is None else ahead.answer())
        page, began = asked.page, asked.began
        upto = None if page.next_marker is None else page.next_marker[len(prefix) :]
        self._after = upto
        if upto is not None and self._nursery is not None:
            self._ahead = Begun(self._nursery, partial(self._finder.page, prefix, upto))
        if not after:
            self._marker = marker_of(prefix, page)
            self._listings.mark_large(prefix, large=upto is not None)
        entries = self._held
        self._hidden |= collect_entries(entries, prefix, page)
        shown = settled_names(entries, upto)
        self._held = {name: entries[name] for name in entries.keys() - shown.keys()}
        stored = Page(entries=shown, time=began.time, after=after, upto=upto)
        self._listings.store_page(prefix, stored, began)
        self._join(prefix, stored)
        return sorted(stored.entries.values(), key=lambda entry: entry.name)

    def _join(self, prefix: str, page: Page) -> None:
        """Make a whole listing of all pages once the last is there, if all are still kept."""
        if self._pages is None:
            return
        self._pages.append(page)
        kept = self._listings.pages(prefix)
        if any(page not in kept for page in self._pages):
            self._pages = None
        elif page.upto is None:
            assert self._began is not None
            entries: dict[str, ListedEntry] = {}
            for each in self._pages:
                entries |= each.entries
            whole = self._listings.store(prefix, entries, self._began, self._marker)
            whole.hidden = self._hidden
