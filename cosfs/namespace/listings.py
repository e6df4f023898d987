"""Directory listings, kept for a while, and what this mount changed in them.

Owns by directory prefix ("" or "a/b/"): the last listing, pages of it while it is being read,
where they ended, and the mount's own recent changes. A change is applied to the listing that is
kept, and to every listing that was asked for before the change or soon after it, as COS says that
a listing may lag behind. Invariant: no listing handed out contradicts an own change that is newer
than its request.
Sends nothing; no method yields.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import trio
from cachetools import LRUCache, TTLCache

from cosfs.config import AttributeConfig
from cosfs.cos.model import ETag, Key, ListedObject, ListingPage
from cosfs.namespace.attributes import HADOOP_SUFFIX

MAX_NAME_BYTES: Final = 255  # NAME_MAX of Linux; COS has no limit of its own for a component
MAX_ENTRIES: Final = 50_000  # of whole listings, and again of pages: about 0.5 KB each
MAX_DIRECTORIES: Final = 50_000  # directories whose size class is remembered
MAX_PAGE_ENDS: Final = 20_000  # of all large directories, some 150 bytes each
LISTING_LAG_S: Final = (
    10.0  # COS documents that listings lag, without a bound; usually none is seen
)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What this mount did to a name: *entry* is there now, or nothing is.

    *removed* is the ETag of the object that was removed, None for a directory.
    """

    sequence: int
    time: float
    entry: ListedEntry | None
    removed: ETag | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """When a request began: after which own change, and at which of trio's times."""

    sequence: int
    time: float


@dataclass(slots=True, eq=False)
class Listing:
    """All entries of a directory by name, as they were at *time*, trio's, but for own changes.

    *marker* is the directory's own object; *hidden*: there are keys that no path can express.
    """

    entries: dict[str, ListedEntry]
    time: float
    marker: ListedObject | None = None
    hidden: bool = False
    _directories: int | None = None  # None: to be counted

    def __len__(self) -> int:
        return 1 + len(self.entries)

    @property
    def directories(self) -> int:
        """How many of the entries are directories; counted when asked for after a change."""
        if self._directories is None:
            self._directories = sum(entry.is_directory for entry in self.entries.values())
        return self._directories

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


class ListingCache:
    """The listings of a mount, the least recently used given up first."""

    def __init__(self, config: AttributeConfig, *, max_entries: int = MAX_ENTRIES) -> None:
        self.ttl_s = config.metadata_ttl_s
        self.negative_ttl_s = config.absence_ttl_s
        self._listings: LRUCache[str, Listing] = LRUCache(max_entries, getsizeof=len)
        self._pages: LRUCache[str, list[Page]] = LRUCache(max_entries, getsizeof=_total)
        self._large: LRUCache[str, bool] = LRUCache(MAX_DIRECTORIES)
        self._markers: TTLCache[str, ListedObject] = TTLCache(
            MAX_DIRECTORIES, LISTING_LAG_S, timer=trio.current_time
        )  # own ones, which a listing may not show yet
        self._changes: dict[str, dict[str, Change]] = {}
        self._leaving: set[Key] = set()  # removed here, and not deleted on COS yet
        self._expiring: deque[tuple[Change, str, str]] = deque()
        self._sequence = 0
        self._requests: list[float] = []  # start times of those under way, or not taken yet
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

    def last_entry(self, prefix: str, name: str) -> ListedEntry | None:
        """What was last seen under a name, however old."""
        page = _holder(self._pages.get(prefix, []), name)
        known = self._listings.get(prefix) if page is None else page
        return None if known is None else known.entries.get(name)

    def last_known(self, prefix: str) -> Listing | None:
        """The last whole listing, however old."""
        return self._listings.get(prefix)

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

    @contextmanager
    def request(self) -> Iterator[Moment]:
        """Around a request; own changes are compared with its beginning afterwards."""
        began = self.moment()
        with self.held(began):
            yield began

    @contextmanager
    def held(self, began: Moment) -> Iterator[None]:
        """Own changes since *began* stay known meanwhile."""
        self._requests.append(began.time)
        try:
            yield
        finally:
            self._requests.remove(began.time)

    def moment(self) -> Moment:
        return Moment(self._sequence, trio.current_time())

    def changed_since(self, prefix: str, name: str, began: Moment) -> bool:
        change = self._changes.get(prefix, {}).get(name)
        return change is not None and change.sequence > began.sequence

    def generation(self, key: Key) -> int:
        """The number of the last own change to *key*. Two equal answers: none in between."""
        prefix, name = split_key(key)
        change = self._changes.get(prefix, {}).get(name)
        return 0 if change is None else change.sequence

    def recent(self, prefix: str) -> dict[str, Change]:
        """The own changes in a directory that a listing may not show yet, by name."""
        self._forget_old_changes()
        return self._changes.get(prefix, {})

    def recent_keys(self, prefix: str) -> Iterator[Key]:
        """The keys that this mount stored under *prefix*, at any depth, a moment ago."""
        self._forget_old_changes()
        for directory, changes in self._changes.items():
            if directory.startswith(prefix):
                yield from (
                    change.entry.object.key
                    for change in changes.values()
                    if change.entry is not None and change.entry.object is not None
                )

    def merged(self, prefix: str, batch: list[ListedEntry], began: Moment) -> list[ListedEntry]:
        """Entries that were right at *began*, with what was changed here since."""
        changes = self.recent(prefix)
        now = [
            _merge(entry, changes[entry.name], began) if entry.name in changes else entry
            for entry in batch
        ]
        return [entry for entry in now if entry is not None]

    def store(
        self,
        prefix: str,
        entries: dict[str, ListedEntry],
        began: Moment,
        marker: ListedObject | None = None,
    ) -> Listing:
        """Keep a whole listing that was asked for at *began*, with own changes put in."""
        for name, change in self.recent(prefix).items():
            _put(entries, name, _merge(entries.get(name), change, began))
        ours = self._markers.get(prefix)
        if ours is not None and (marker is None or marker.modified_ns <= ours.modified_ns):
            marker = ours
        listing = Listing(entries, began.time, marker)
        self._keep(prefix, listing)
        self._pages.pop(prefix, None)
        return listing

    def store_page(self, prefix: str, page: Page, began: Moment) -> None:
        """Keep a page that was asked for at *began*, with own changes put in, while it is fresh.

        A name that was added here and that the page should show is added to it.
        """
        for name, change in self.recent(prefix).items():
            if name in page.entries or page.covers(name):
                _put(page.entries, name, _merge(page.entries.get(name), change, began))
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
            self._record(prefix, entry.name, entry, None)

    def marked(self, prefix: str, marker: ListedObject) -> None:
        """This mount stored the directory's own object."""
        self._markers[prefix] = marker
        listing = self._listings.get(prefix)
        if listing is not None:
            listing.marker = marker

    def removed(self, prefix: str, name: str, etag: ETag | None = None) -> None:
        """This mount removed the object with *etag*, or the directory."""
        self._markers.pop(f"{prefix}{name}/", None)
        self._record(prefix, name, None, etag)

    def leaving(self, key: Key) -> None:
        """The object of a name that is removed here will be deleted on COS later.

        Until ``left`` or ``stayed`` listings that show it lag behind, however long that takes.
        """
        self._leaving.add(key)

    def left(self, key: Key) -> None:
        """The object is deleted by now; a listing may show it for a while."""
        change = self._end_of_leaving(key)
        if change is not None:
            self._record(*split_key(key), None, change.removed)

    def stayed(self, key: Key) -> None:
        """The object could not be deleted: what shows it is right."""
        prefix, name = split_key(key)
        if self._end_of_leaving(key) is not None:
            self._forget_change(prefix, name)
        self.drop(prefix, below=False)

    def is_leaving(self, prefix: str, name: str) -> bool:
        """Whether COS shows an object under a name that is removed here."""
        return bool(self._leaving) and prefix + name in self._leaving

    def drop(self, prefix: str, *, below: bool = True) -> None:
        """Forget the listings of a directory and all *below* it; own changes stay known."""
        for known in {*self._listings, *self._pages} if below else {prefix}:
            if known.startswith(prefix):
                self._listings.pop(known, None)
                self._pages.pop(known, None)

    def _record(
        self, prefix: str, name: str, entry: ListedEntry | None, etag: ETag | None
    ) -> None:
        self._sequence += 1
        change = Change(
            sequence=self._sequence, time=trio.current_time(), entry=entry, removed=etag
        )
        self._changes.setdefault(prefix, {})[name] = change
        self._expiring.append((change, prefix, name))
        listing = self._listings.get(prefix)
        if listing is not None:
            listing.change(name, entry)
            self._keep(prefix, listing)
        pages = self._pages.pop(prefix, None)
        if pages:
            _put((_holder(pages, name) or pages[-1]).entries, name, entry)
            self._keep_pages(prefix, pages)
        self._forget_old_changes()

    def _end_of_leaving(self, key: Key) -> Change | None:
        """The removal, unless something was stored under the name since."""
        self._leaving.discard(key)
        prefix, name = split_key(key)
        change = self._changes.get(prefix, {}).get(name)
        return change if change is not None and change.entry is None else None

    def _keep_pages(self, prefix: str, pages: list[Page]) -> None:
        if _total(pages) <= self._pages.maxsize:
            self._pages[prefix] = pages

    def _keep(self, prefix: str, listing: Listing) -> None:
        if len(listing) <= self._listings.maxsize:
            self._listings[prefix] = listing
        else:
            self._listings.pop(prefix, None)

    def _forget_old_changes(self) -> None:
        # A request under way may show the state before a change, however long it takes.
        horizon = min([trio.current_time() - LISTING_LAG_S, *self._requests])
        while self._expiring and self._expiring[0][0].time < horizon:
            change, prefix, name = self._expiring[0]
            if self._changes.get(prefix, {}).get(name) is change:
                if self.is_leaving(prefix, name):
                    return  # a batch ends before long, and with it this
                self._forget_change(prefix, name)
            self._expiring.popleft()

    def _forget_change(self, prefix: str, name: str) -> None:
        changes = self._changes[prefix]
        del changes[name]
        if not changes:
            del self._changes[prefix]


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


def _merge(listed: ListedEntry | None, change: Change, began: Moment) -> ListedEntry | None:
    """What is under a name, from a listing asked for at *began*, which may or must lag behind."""
    ours = change.entry
    if change.sequence > began.sequence or listed is None:
        return ours
    if ours is None:
        return listed if _is_another(listed, change) else None
    if listed.object is None or ours.object is None:
        return listed if listed.is_directory == ours.is_directory else ours
    return listed if listed.object.modified_ns > ours.object.modified_ns else ours


def _is_another(listed: ListedEntry, change: Change) -> bool:
    """Whether the listing shows something else than what was removed."""
    return listed.object is not None and listed.object.etag != change.removed
