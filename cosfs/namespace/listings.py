"""Directory listings, kept for a while, with what this mount changed in them put in.

Owns by directory prefix ("" or "a/b/"): the last listing, pages of it while it is being read, and
where they ended. A change is applied to the listing that is kept, and to every listing that was
asked for before the change or soon after it. Invariant: no listing handed out contradicts an own
change that is newer than its request. Which change is recent enough, and whether it or a listing
is right, changes.py knows. Sends nothing; no method yields.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Final

import trio
from cachetools import LRUCache

from cosfs.config import AttributeConfig
from cosfs.cos.model import ETag, Key, ListedObject
from cosfs.namespace.changes import Moment, OwnChanges
from cosfs.namespace.entries import ListedEntry, is_valid_name, last_key_of, split_key

MAX_ENTRIES: Final = 50_000  # of whole listings, and again of pages: about 0.5 KB each
MAX_DIRECTORIES: Final = 50_000  # directories whose size class is remembered
_WANTED_AGAIN: Final = 3  # times, of which one or two may be of programs that do not use it
MAX_PAGE_ENDS: Final = 20_000  # of all large directories, some 150 bytes each


@dataclass(slots=True, eq=False)
class Listing:
    """All entries of a directory by name, as they were at *time*, trio's, but for own changes.

    *marker* is the directory's own object; *hidden*: there are keys that no path can express.
    *wanted* times more it is likely to be wanted where those above it are asked for again.
    """

    entries: dict[str, ListedEntry]
    time: float
    marker: ListedObject | None = None
    hidden: bool = False
    wanted: int = 0
    _directories: int | None = None  # None: to be counted

    def __len__(self) -> int:
        return 1 + len(self.entries)

    @property
    def directories(self) -> int:
        """How many of the entries are directories; counted when asked for after a change."""
        if self._directories is None:
            self._directories = sum(entry.is_directory for entry in self.entries.values())
        return self._directories

    def use(self) -> None:
        """Somebody has wanted to know something of it."""
        self.wanted = _WANTED_AGAIN

    def change(self, name: str, entry: ListedEntry | None) -> None:
        """Put *entry* there, or nothing."""
        before = self.entries.get(name)
        _put(self.entries, name, entry)
        if any(each is not None and each.is_directory for each in (before, entry)):
            self._directories = None


@dataclass(slots=True, eq=False, kw_only=True)
class Page:
    """A page of a listing: the names between two markers, None being the end of the directory."""

    entries: dict[str, ListedEntry]
    time: float
    after: str
    upto: str | None

    def covers(self, name: str) -> bool:
        """Whether a name that is not on the page is not in the directory."""
        return self.after < name and (self.upto is None or last_key_of(name) <= self.upto)


class ListingCache:
    """The listings of a mount, the least recently used given up first."""

    def __init__(self, config: AttributeConfig, *, max_entries: int = MAX_ENTRIES) -> None:
        self.ttl_s = config.metadata_ttl_s
        self.negative_ttl_s = config.absence_ttl_s
        self.changes = OwnChanges()
        self.dropped_at = -inf  # when some listing was given up: others may be as old
        self._listings: LRUCache[str, Listing] = LRUCache(max_entries, getsizeof=len)
        self._pages: LRUCache[str, list[Page]] = LRUCache(max_entries, getsizeof=_total)
        self._large: LRUCache[str, bool] = LRUCache(MAX_DIRECTORIES)
        self._page_ends: LRUCache[str, list[str]] = LRUCache(MAX_PAGE_ENDS, getsizeof=len)

    def fresh(self, prefix: str) -> Listing | None:
        """The whole listing, if it may still be trusted."""
        listing = self._listings.get(prefix)
        return listing if listing and trio.current_time() < listing.time + self.ttl_s else None

    def complete(self, prefix: str) -> Listing | None:
        """The whole listing, if it is so new that a name it lacks is taken to be free.

        What others make is looked for sooner than what they change: programs that are told of a
        new file look for it at once.
        """
        listing = self._listings.get(prefix)
        limit = listing.time + self.negative_ttl_s if listing else 0
        return listing if listing and trio.current_time() < limit else None

    def is_absent(self, prefix: str, name: str) -> bool:
        """Whether the last whole listing shows that *name* is not there, and may be trusted."""
        listing = self._listings.get(prefix)
        if listing is None or name in listing.entries:
            return False
        return trio.current_time() < listing.time + self.negative_ttl_s

    def page_of(self, prefix: str, name: str) -> Page | None:
        """The fresh page that shows *name*, or shows that it is not there."""
        page = _holder(self._pages.get(prefix, []), name)
        if page is None:
            return None
        ttl_s = self.ttl_s if name in page.entries else self.negative_ttl_s
        return page if trio.current_time() < page.time + ttl_s else None

    def is_page_end(self, prefix: str, name: str) -> bool:
        """Whether *name* is, or was, the last that a page of the directory shows, however old."""
        page = _holder(self._pages.get(prefix, []), name)
        return page is not None and all(each <= name for each in page.entries)

    def last_entry(self, prefix: str, name: str) -> ListedEntry | None:
        """What was last seen under a name, however old."""
        page = _holder(self._pages.get(prefix, []), name)
        known = self._listings.get(prefix) if page is None else page
        return None if known is None else known.entries.get(name)

    def last_known(self, prefix: str) -> Listing | None:
        """The last whole listing, however old."""
        return self._listings.get(prefix)

    def use(self, prefix: str) -> None:
        """The last whole listing, if there is one, has told something that was wanted."""
        listing = self._listings.get(prefix)
        if listing is not None:
            listing.use()

    def is_large(self, prefix: str) -> bool:
        """Whether the directory took more than one page when it was last listed."""
        return self._large.get(prefix, False)

    def mark_large(self, prefix: str, *, large: bool) -> None:
        self._large[prefix] = large

    def page_ends(self, prefix: str) -> Sequence[str]:
        """The names, or markers, after which the pages of the directory ended when last read."""
        return self._page_ends.get(prefix, ())

    def keep_page_ends(self, prefix: str, ends: list[str]) -> None:
        self._page_ends.pop(prefix, None)
        if 0 < len(ends) <= MAX_PAGE_ENDS:
            self._page_ends[prefix] = ends

    def store(
        self,
        prefix: str,
        entries: dict[str, ListedEntry],
        began: Moment,
        marker: ListedObject | None = None,
    ) -> Listing:
        """Keep a whole listing that was asked for at *began*, with own changes put in."""
        for name, change in self.changes.recent(prefix).items():
            _put(entries, name, change.over(entries.get(name), began))
        listing = Listing(entries, began.time, self.changes.marker(prefix, marker))
        self._keep(prefix, listing)
        self._pages.pop(prefix, None)
        return listing

    def store_page(self, prefix: str, page: Page, began: Moment) -> None:
        """Keep a page that was asked for at *began*, with own changes put in, while it is fresh.

        A name that was added here and that the page should show is added to it.
        """
        for name, change in self.changes.recent(prefix).items():
            if name in page.entries or page.covers(name):
                _put(page.entries, name, change.over(page.entries.get(name), began))
        now = trio.current_time()
        known = self._pages.pop(prefix, [])
        pages = [old for old in known if now < old.time + self.ttl_s]
        while pages and _total([*pages, page]) > self._pages.maxsize:
            del pages[0]
        self._keep_pages(prefix, [*pages, page])

    def pages(self, prefix: str) -> list[Page]:
        """The pages that are kept, oldest first."""
        return self._pages.get(prefix, [])

    def added(self, prefix: str, entry: ListedEntry) -> None:
        """This mount put *entry* there, or changed it; names that no path has are left out."""
        listing = self._listings.get(prefix)
        known = None if listing is None else listing.entries.get(entry.name)
        if known is not None and known.alias and entry.is_directory:
            entry = known  # the other marker is still there
        if is_valid_name(entry.name):
            self.changes.added(prefix, entry)
            self._apply(prefix, entry.name, entry)

    def marked(self, prefix: str, marker: ListedObject) -> None:
        """This mount stored the directory's own object."""
        self.changes.marked(prefix, marker)
        listing = self._listings.get(prefix)
        if listing is not None:
            listing.marker = marker

    def removed(self, prefix: str, name: str, etag: ETag | None = None) -> None:
        """This mount removed the object with *etag*, or the directory."""
        self.changes.removed(prefix, name, etag)
        self._apply(prefix, name, None)

    def left(self, key: Key) -> None:
        """What was leaving is deleted by now."""
        if self.changes.left(key):
            self._apply(*split_key(key), None)

    def stayed(self, key: Key) -> None:
        """What was leaving could not be deleted: its directory is to be listed anew."""
        self.changes.stayed(key)
        self.drop(split_key(key)[0], below=False)

    def drop(self, prefix: str, *, below: bool = True) -> None:
        """Forget the listings of a directory and all *below* it; own changes stay known."""
        self.dropped_at = trio.current_time()
        for known in {*self._listings, *self._pages} if below else {prefix}:
            if known.startswith(prefix):
                self._listings.pop(known, None)
                self._pages.pop(known, None)

    def _apply(self, prefix: str, name: str, entry: ListedEntry | None) -> None:
        listing = self._listings.get(prefix)
        if listing is not None:
            listing.change(name, entry)
            self._keep(prefix, listing)
        pages = self._pages.pop(prefix, None)
        if pages:
            _put((_holder(pages, name) or pages[-1]).entries, name, entry)
            self._keep_pages(prefix, pages)

    def _keep_pages(self, prefix: str, pages: list[Page]) -> None:
        if _total(pages) <= self._pages.maxsize:
            self._pages[prefix] = pages

    def _keep(self, prefix: str, listing: Listing) -> None:
        if len(listing) <= self._listings.maxsize:
            self._listings[prefix] = listing
        else:
            self._listings.pop(prefix, None)


def _put(entries: dict[str, ListedEntry], name: str, entry: ListedEntry | None) -> None:
    if entry is None:
        entries.pop(name, None)
    else:
        entries[name] = entry


def _holder(pages: list[Page], name: str) -> Page | None:
    """The last page that knows whether *name* is there."""
    return next((p for p in reversed(pages) if name in p.entries or p.covers(name)), None)


def _total(pages: list[Page]) -> int:
    return sum(1 + len(page.entries) for page in pages)
