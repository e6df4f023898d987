"""The names of one directory, page after page, others on their way while one is read.

Where the pages of the last whole reading ended, others may begin: so many are asked for at once.
Every page is stored with the listings as it comes; when the last one has, and all were kept, they
become a whole listing. Knows prefixes, no nodes.
"""

from collections.abc import Sequence
from typing import Final

import trio

from cosfs.cos.model import ListedObject
from cosfs.namespace.changes import Moment
from cosfs.namespace.entries import ListedEntry, collect_entries, marker_of, settled_names
from cosfs.namespace.listings import ListingCache, Page
from cosfs.namespace.lookups import Finder
from cosfs.namespace.ranges import OrderedPages, PageEnds

BATCH: Final = 1000  # names; what a page of LIST has


class PagedNames:
    """One reading of a directory from its start to its end, which is the only way to go."""

    def __init__(
        self, finder: Finder, listings: ListingCache, nursery: trio.Nursery | None
    ) -> None:
        """Without *nursery* no page is asked for ahead."""
        self._finder = finder
        self._listings = listings
        self._changes = listings.changes
        self._nursery = nursery
        self.asked_at = trio.current_time()  # for the names that came last
        self._began: Moment | None = None
        self._after: str | None = ""
        self._prefix = ""
        self._pages: OrderedPages | None = None  # of that prefix
        self._ends = PageEnds()
        self._held: dict[str, ListedEntry] = {}  # of pages so far; the next may show them anew
        self._snapshot: list[ListedEntry] | None = None  # of a listing that was known
        self._shown: list[Page] | None = []  # None: too many to become a whole listing
        self._marker: ListedObject | None = None
        self._hidden = False

    async def next_names(self, prefix: str) -> Sequence[ListedEntry] | None:
        """The entries of the next page, sorted by name, own changes put in; None at the end."""
        if self._began is None:
            await self._finder.subtrees.settled(prefix)
            self._began = self._changes.moment()
            known = self._listings.complete(prefix)
            if known is not None:
                self._snapshot = sorted(known.entries.values(), key=lambda entry: entry.name)
                self._snapshot.reverse()
                self.asked_at = known.time
                known.use()
        if self._snapshot is not None:
            return self._next_known(prefix)
        return None if self._after is None else await self._next_page(prefix)

    def close(self) -> None:
        """Nobody reads on. Does not yield."""
        if self._pages is not None:
            self._pages.close()
            self._pages = None

    def _next_known(self, prefix: str) -> Sequence[ListedEntry] | None:
        assert self._snapshot is not None
        if not self._snapshot:
            return None
        batch = self._snapshot[: -BATCH - 1 : -1]
        del self._snapshot[-BATCH:]
        assert self._began is not None
        return self._changes.merged(prefix, batch, self._began)

    async def _next_page(self, prefix: str) -> Sequence[ListedEntry]:
        after = self._after
        assert after is not None
        asked = await self._pages_of(prefix, after).next_page()
        assert asked is not None, "read past the end"
        page = asked.page
        self._after = upto = None if page.next_marker is None else page.next_marker[len(prefix) :]
        if not after:
            self._marker = marker_of(prefix, page)
            self._listings.mark_large(prefix, large=upto is not None)
        self._ends.add(prefix, page)
        if upto is None:
            self._listings.keep_page_ends(prefix, self._ends.markers())
        entries = self._held
        self._hidden |= collect_entries(entries, prefix, page)
        shown = settled_names(entries, upto)
        self._held = {name: entries[name] for name in entries.keys() - shown.keys()}
        stored = Page(entries=shown, time=asked.began.time, after=after, upto=upto)
        with self._changes.held(asked.began):  # the answer may have taken longer than the lag
            self._listings.store_page(prefix, stored, asked.began)
        self._join(prefix, stored)
        self.asked_at = stored.time
        return sorted(stored.entries.values(), key=lambda entry: entry.name)

    def _pages_of(self, prefix: str, after: str) -> OrderedPages:
        """What is left to read. The directory may have been moved since the last page."""
        if self._pages is None or self._prefix != prefix:
            self.close()
            self._prefix = prefix
            self._pages = OrderedPages(
                lambda marker: self._finder.page(prefix, marker[len(prefix) :]),
                self._changes,
                self._nursery,
                after=prefix + after if after else "",
                markers=[prefix + end for end in self._listings.page_ends(prefix)],
            )
        return self._pages

    def _join(self, prefix: str, page: Page) -> None:
        """Make a whole listing of all pages once the last is there, if all are still kept."""
        if self._shown is None:
            return
        self._shown.append(page)
        kept = self._listings.pages(prefix)
        if any(page not in kept for page in self._shown):
            self._shown = None
        elif page.upto is None:
            assert self._began is not None
            entries: dict[str, ListedEntry] = {}
            for each in self._shown:
                entries |= each.entries
            whole = self._listings.store(prefix, entries, self._began, self._marker)
            whole.hidden = self._hidden
            whole.use()
