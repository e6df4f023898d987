"""What is under a name, found out with as few requests as it takes.

Owns the policy of a lookup and the memory of past HEADs; knows prefixes and keys, no nodes. What
is remembered from a HEAD counts only while a listing confirms its ETag and Last-Modified.
"""

from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from typing import Final, NamedTuple

import trio
from cachetools import LRUCache, TTLCache

from cosfs.cos.client import CosClient
from cosfs.cos.model import MAX_LIST_KEYS, Key, ListedObject, ListingPage, ObjectInfo
from cosfs.errors import NoSuchBucket, NotFound
from cosfs.namespace.attributes import HADOOP_SUFFIX, PATH_MAX, AttributeCodec, Attributes
from cosfs.namespace.changes import Change
from cosfs.namespace.entries import ListedEntry, collect_entries, marker_of, settled_names
from cosfs.namespace.inodes import NEVER
from cosfs.namespace.known import KnownObjects
from cosfs.namespace.listings import MAX_DIRECTORIES, Listing, ListingCache, Page
from cosfs.namespace.parallel import SingleFlight, for_each
from cosfs.namespace.ranges import MOST_PAGES, AskedPage, OrderedPages, read_whole
from cosfs.namespace.subtrees import Subtrees

# A listing is wanted when it is read, when it is shown, and when it is read again. 0.4 KB each.
_MAX_DECODED: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a name stands for, known at *checked*. Without *info* it is an implicit directory."""

    attributes: Attributes
    checked: float
    info: ObjectInfo | None = None


class _Seen(NamedTuple):
    """What a listing of that time tells of a name; without *entry* that nothing is there."""

    entry: ListedEntry | None
    time: float


class Finder:
    """Asks COS about names, through the listings and the remembered HEADs."""

    def __init__(
        self,
        client: CosClient,
        codec: AttributeCodec,
        listings: ListingCache,
        known: KnownObjects,
        *,
        listings_only: bool = False,
    ) -> None:
        """*listings_only*: what a listing does not know is not asked for."""
        self._client = client
        self._codec = codec
        self._listings = listings
        self._changes = listings.changes
        self.known = known
        self._listings_only = listings_only
        self.subtrees = Subtrees(listings, self._ask_and_load)
        self._heads: SingleFlight[ObjectInfo | None] = SingleFlight()
        self._asked: SingleFlight[AskedPage] = SingleFlight()
        # Markers, which the listing of their directory's parent does not show.
        self._markers: TTLCache[tuple[Key, int], Found] = TTLCache(
            MAX_DIRECTORIES, listings.ttl_s, timer=trio.current_time
        )
        self._last_asked: LRUCache[str, str] = LRUCache(MAX_DIRECTORIES)  # in large directories
        # By the identity of the objects, which stay alive here.
        self._decoded: LRUCache[int, tuple[ObjectInfo, Attributes]] = LRUCache(_MAX_DECODED)

    async def find(self, prefix: str, name: str, *, to_remove: bool = False) -> Found | None:
        """What is under *name*, None for nothing. Listings are trusted for their time to live.

        *to_remove*: what a listing shows to be a file needs no attributes, and was never checked.

        A directory that fits one page is listed, which answers for all its names; in a larger one
        the name alone is asked for, or a page from it on when its neighbour was asked for before.
        """
        if self._changes.is_leaving(prefix, name):
            return None
        seen = self._seen(prefix, name) or await self._list_for(prefix, name)
        if self._listings.is_large(prefix):
            self._last_asked[prefix] = name
        change = self._changes.recent(prefix).get(name)
        if seen is not None:
            # An own change is put into any listing: what it shows is not what COS has said.
            seen_at = seen.time if change is None else change.time
            if seen.entry is None:
                return None
            return await self._load(prefix, seen.entry, seen_at, to_remove=to_remove)
        if change is None:
            return await self._probe(prefix, name)
        if change.entry is not None:
            return await self._load(prefix, change.entry, change.time, to_remove=to_remove)
        return await self.find_file(Key(prefix + name))

    def recall_entry(
        self, prefix: str, entry: ListedEntry, *, to_remove: bool = False
    ) -> Found | None:
        """What a listed entry stands for, if it is known without asking. Does not yield.

        *to_remove*: see ``find``.
        """
        if entry.object is None:
            return self._recall_directory(Key(f"{prefix}{entry.name}/"), entry)
        info = self.known.get(entry.object)
        if info is not None:
            return self._found(info)
        if self._listings_only or (to_remove and entry.object.size > PATH_MAX):
            attributes = self._codec.from_listing(entry.object)
            checked = trio.current_time() if self._listings_only else NEVER
            return Found(attributes=attributes, checked=checked)
        return None

    def _recall_directory(self, key: Key, entry: ListedEntry) -> Found | None:
        """By its own listing, which tells which marker it has, if it has one."""
        listing = self._listings.fresh(key)
        if listing is not None and entry.alias is None:
            known = None if listing.marker is None else self.known.get(listing.marker)
            if known is not None:
                return replace(self._found(known), checked=listing.time)
            if listing.marker is None:
                return replace(self._implicit(), checked=listing.time)
        asked = self._markers.get((key, self._changes.generation(key)))
        if asked is not None and (asked.info is not None or entry.alias is None):
            return asked
        return self._implicit() if self._listings_only else None

    def stored(self, info: ObjectInfo) -> None:
        """Keep what this mount has made for as long as listings confirm it."""
        self.known.stored(info)

    async def ask_ahead(self, prefix: str, entry: ListedEntry, *, walked: bool) -> None:
        """Ask for what a lookup of *entry* will want; of a directory to be *walked*, its names."""
        key = Key(f"{prefix}{entry.name}/" if entry.is_directory else prefix + entry.name)
        if self.recall_entry(prefix, entry) is not None:
            return
        if entry.is_directory and (walked or self._is_walked(key)):
            is_known = walked and await self.subtrees.walk(prefix, entry.name)
            if not is_known:
                await self._list_page(key, "")
        if self.recall_entry(prefix, entry) is None:
            await self._shared_head(key)

    def forget(self, key: str) -> None:
        """Ask anew for the object *key*, and for those below if it is a directory's."""
        self.known.forget(key)
        self._markers.clear()

    def absent_for(self, prefix: str, name: str) -> float:
        """For how many seconds listings will answer that *name* is not there."""
        seen = self._seen(prefix, name)
        if seen is None or seen.entry is not None:
            return 0.0
        return max(0.0, seen.time + self._listings.negative_ttl_s - trio.current_time())

    def was_listed(self, prefix: str) -> bool:
        return self._listings.last_known(prefix) is not None

    def neighbours(self, prefix: str, name: str) -> list[ListedEntry]:
        """The fresh part of a listing that shows *name*, sorted by name. Does not yield."""
        known = self._listings.fresh(prefix) or self._listings.page_of(prefix, name)
        if known is None or name not in known.entries:
            return []
        return sorted(known.entries.values(), key=lambda entry: entry.name)

    async def find_file(self, key: Key, *, shared: bool = True) -> Found | None:
        """The object itself. Not *shared*: as it is now, not as a request under way shows it."""
        info = await (self._shared_head(key) if shared else self.head(key))
        return None if info is None else self._found(info)

    async def find_directory(self, prefix: str, *, marker: Key | None = None) -> Found | None:
        """The directory of all keys under *prefix*; *marker* is another key to look for first."""
        for key in dict.fromkeys([marker or Key(prefix), Key(prefix)]):
            found = await self.find_file(key)
            if found is not None:
                return found
        page = await self._client.list_objects(prefix=prefix, delimiter="", max_keys=1)
        return self._implicit() if page.objects else None

    async def head(self, key: Key) -> ObjectInfo | None:
        try:
            info = await self._client.head_object(key)
        except NoSuchBucket:
            raise
        except NotFound:
            return None
        self.known.seen(info)
        return info

    async def info_of(self, listed: ListedObject) -> ObjectInfo | None:
        """The whole truth about a listed object: remembered, or by HEAD; None when it is gone."""
        return self.known.get(listed) or await self.head(listed.key)

    async def keys_below(self, prefix: str) -> list[ListedObject]:
        """Every object under *prefix*, at any depth, as COS lists it now."""
        markers = [prefix + end for end in self._listings.page_ends(prefix)]
        ask = partial(self._ask, prefix, "", MAX_LIST_KEYS)
        pages = await read_whole(ask, self._changes, markers=markers)
        return [listed for page in pages for listed in page.objects]

    async def is_empty(self, prefix: str) -> bool:
        """Whether nothing but its own marker is under *prefix*."""
        listing = self._listings.fresh(prefix)
        if listing is not None and not listing.entries and not listing.hidden:
            return True
        changes = self._changes.recent(prefix)
        if any(change.entry is not None for change in changes.values()):
            return False
        ask = partial(self._ask, prefix, "/", MAX_LIST_KEYS if changes else 2)
        pages = OrderedPages(ask, self._changes, None, most=MOST_PAGES)
        while (asked := await pages.next_page()) is not None:
            if not _all_removed(prefix, asked.page, self._changes.recent(prefix)):
                return False
        return True

    def _seen(self, prefix: str, name: str) -> _Seen | None:
        """What is trusted of the listings about a name."""
        listing = self._listings.fresh(prefix)
        if listing is not None:
            listing.use()
        if listing is not None and name in listing.entries:
            return _Seen(listing.entries[name], listing.time)
        if listing is not None and name in self._changes.recent(prefix):
            return _Seen(None, trio.current_time())  # this mount has removed it
        last = self._listings.last_known(prefix)
        if last is not None and self._listings.is_absent(prefix, name):
            last.use()
            return _Seen(None, last.time)
        page = self._listings.page_of(prefix, name)
        return None if page is None else _Seen(page.entries.get(name), page.time)

    async def _list_for(self, prefix: str, name: str) -> _Seen | None:
        """Ask for the page of a listing that will tell of *name*, if it is worth that."""
        after = ""
        if self._listings.is_large(prefix):
            before = self._last_asked.get(prefix, "")
            ended = before < name and self._listings.is_page_end(prefix, before)
            if not ended and not _are_neighbours(before, name):
                return None
            after = _marker_before(name)
        page = await self._list_page(prefix, after)
        if isinstance(page, Page) and name not in page.entries and not page.covers(name):
            return None
        if isinstance(page, Listing):
            page.use()
        return _Seen(page.entries.get(name), page.time)

    async def _list_page(self, prefix: str, after: str) -> Listing | Page:
        asked = await self.page(prefix, after)
        page, began = asked.page, asked.began
        entries: dict[str, ListedEntry] = {}
        hidden = collect_entries(entries, prefix, page)
        if not after:
            self._listings.mark_large(prefix, large=page.next_marker is not None)
            if page.next_marker is None:
                listing = self._listings.store(prefix, entries, began, marker_of(prefix, page))
                listing.hidden = hidden
                return listing
        upto = None if page.next_marker is None else page.next_marker[len(prefix) :]
        shown = settled_names(entries, upto)
        found = Page(entries=shown, time=began.time, after=after, upto=upto)
        self._listings.store_page(prefix, found, began)
        return found

    async def page(self, prefix: str, after: str) -> AskedPage:
        """The page of a directory that begins after the name or marker *after*."""
        return await self._asked.share((prefix, after), lambda: self._ask_page(prefix, after))

    async def _ask_page(self, prefix: str, after: str) -> AskedPage:
        tree = None if after else await self.subtrees.page(prefix)
        return tree or await self._ask_and_load(prefix, prefix + after if after else "", "/")

    async def _ask_and_load(self, prefix: str, marker: str, delimiter: str = "") -> AskedPage:
        asked = await self._ask(prefix, delimiter, MAX_LIST_KEYS, marker)
        with self._changes.held(asked.began):
            await self.known.load(asked.page.objects)
        return asked

    async def _ask(self, prefix: str, delimiter: str, max_keys: int, marker: str) -> AskedPage:
        with self._changes.request() as began:
            page = await self._client.list_objects(
                prefix=prefix, delimiter=delimiter, marker=marker, max_keys=max_keys
            )
        return AskedPage(page=page, began=began)

    async def _load(
        self, prefix: str, entry: ListedEntry, listed_at: float, *, to_remove: bool
    ) -> Found | None:
        """The attributes of a listed name. None: an object that is gone by now."""
        if entry.is_directory:
            await self.subtrees.settled(f"{prefix}{entry.name}/")
        known = self.recall_entry(prefix, entry, to_remove=to_remove)
        if known is not None and entry.is_directory:
            self._listings.use(f"{prefix}{entry.name}/")
            return known
        if known is not None:
            return replace(known, checked=min(known.checked, listed_at))
        if entry.object is not None:
            return await self.find_file(Key(prefix + entry.name))
        key = Key(f"{prefix}{entry.name}/")
        known = await self._find_walked(key, entry)
        if known is not None:
            return known
        info = await self._shared_head(key)
        if info is None and entry.alias is not None:
            info = await self._shared_head(entry.alias)
        return self._implicit() if info is None else self._found(info)

    async def find_top(self, prefix: Key) -> Found | None:
        """The marker of the mount's own directory; None if there is none."""
        entry = ListedEntry(name="")
        found = self._recall_directory(prefix, entry) or await self._find_walked(prefix, entry)
        if found is None:
            return await self.find_file(prefix)
        return found if found.info is not None else None

    async def _find_walked(self, key: Key, entry: ListedEntry) -> Found | None:
        """A directory by its listing, if that is likely to be wanted as well."""
        if entry.alias is not None or not self._is_walked(key):
            return None
        page = await self._list_page(key, "")
        if isinstance(page, Listing):
            page.use()
        return self._recall_directory(key, entry)

    def _is_walked(self, prefix: str) -> bool:
        """Whether the directory is small and was listed too long ago: its listing tells of its
        marker what HEAD would, and serves whoever walks through the tree again.
        """
        if self._listings.fresh(prefix) is not None or self._listings.is_large(prefix):
            return False
        return self._listings.last_known(prefix) is not None

    async def _probe(self, prefix: str, name: str) -> Found | None:
        """Ask for the file and the directory of that name at once; the directory wins."""
        key = Key(prefix + name)
        last = self._listings.last_entry(prefix, name)
        if last is not None and not last.is_directory:
            known = await self.find_file(key)
            if known is not None:
                return known
        found: dict[str, Found | None] = {}

        async def ask(kind: str) -> None:
            if kind == "file":
                found[kind] = await self.find_file(key)
            else:
                found[kind] = await self._probe_directory(Key(key + "/"))

        await for_each(["file", "directory"], ask, parallel=2)
        result = found["directory"] or found["file"]
        if result is None and last is not None and last.alias is not None:
            return await self.find_file(Key(key + HADOOP_SUFFIX))
        return result

    async def _probe_directory(self, prefix: Key) -> Found | None:
        page = await self._client.list_objects(prefix=prefix, delimiter="", marker="", max_keys=1)
        if not page.objects:
            return None
        info = await self._shared_head(prefix) if page.objects[0].key == prefix else None
        return self._implicit() if info is None else self._found(info)

    async def _shared_head(self, key: Key) -> ObjectInfo | None:
        # A HEAD from before an own change must not answer for after it.
        version = (key, self._changes.generation(key))
        began = trio.current_time()
        info = await self._heads.share(version, lambda: self.head(key))
        if key.endswith("/"):
            found = self._implicit() if info is None else self._found(info)
            self._markers[version] = replace(found, checked=began)
        return info

    def _found(self, info: ObjectInfo) -> Found:
        decoded = self._decoded.get(id(info))
        if decoded is None:
            decoded = self._decoded[id(info)] = (info, self._codec.from_object(info))
        return Found(attributes=decoded[1], checked=trio.current_time(), info=info)

    def _implicit(self) -> Found:
        return Found(attributes=self._codec.implicit_directory(), checked=trio.current_time())


def _are_neighbours(first: str, second: str) -> bool:
    """Whether names look as if who asked for one will ask for those that follow the other."""
    pairs = zip(first, second, strict=False)
    common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return 2 * common >= max(len(first), len(second), 1)


def _marker_before(name: str) -> str:
    """A marker that leaves next to nothing between itself and *name*."""
    last = ord(name[-1]) - 1
    if last < ord(" "):
        return name[:-1]
    if 0xD800 <= last <= 0xDFFF:
        last = 0xD7FF  # no text holds a surrogate
    return f"{name[:-1]}{chr(last)}\U0010fffd"


def _all_removed(prefix: str, page: ListingPage, removed: dict[str, Change]) -> bool:
    """Whether a page shows nothing but the marker and what this mount removed just now."""
    names = [below[len(prefix) : -1] for below in page.prefixes]
    names += [listed.key[len(prefix) :] for listed in page.objects if listed.key != prefix]
    return all(name.removesuffix(HADOOP_SUFFIX) in removed for name in names)
