"""What is under a name, found out with as few requests as it takes.

Owns the policy of a lookup and the memory of past HEADs; knows prefixes and keys, no nodes. What
is remembered from a HEAD counts only while a listing confirms its ETag and Last-Modified.
"""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Final

import trio
from cachetools import LRUCache, TTLCache

from cosfs.cos.client import CosClient
from cosfs.cos.model import MAX_LIST_KEYS, ETag, Key, ListedObject, ListingPage, ObjectInfo
from cosfs.errors import NoSuchBucket, NotFound
from cosfs.namespace.attributes import HADOOP_SUFFIX, NS_PER_S, AttributeCodec, Attributes
from cosfs.namespace.listings import (
    Change,
    ListedEntry,
    Listing,
    ListingCache,
    collect_entries,
)
from cosfs.namespace.parallel import SingleFlight, for_each

# A change of attributes leaves a small object its ETag, and Last-Modified has seconds: what HEAD
# shows of an object this new may be followed by a change that looks the same.
RACY_NS: Final = 2 * NS_PER_S
MAX_REMEMBERED: Final = 20_000  # HEAD answers, about 1.5 KB each


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a name stands for, known at *checked*. Without *info* it is an implicit directory."""

    attributes: Attributes
    checked: float
    info: ObjectInfo | None = None


class Finder:
    """Asks COS about names, through the listings and the remembered HEADs."""

    def __init__(self, client: CosClient, codec: AttributeCodec, listings: ListingCache) -> None:
        self._client = client
        self._codec = codec
        self._listings = listings
        self._heads: SingleFlight[ObjectInfo | None] = SingleFlight()
        self._first_pages: SingleFlight[Listing | None] = SingleFlight()
        self._whole_listings: SingleFlight[Listing] = SingleFlight()
        self._remembered: LRUCache[tuple[Key, ETag, int], ObjectInfo] = LRUCache(MAX_REMEMBERED)
        self._remembered_for_now: TTLCache[tuple[Key, ETag, int], ObjectInfo] = TTLCache(
            MAX_REMEMBERED, listings.ttl_s, timer=trio.current_time
        )

    async def find(self, prefix: str, name: str) -> Found | None:
        """What is under *name*, None for nothing. Listings are trusted for their time to live.

        A directory that fits one page is listed, which answers for all its names; in a larger one
        the name alone is asked for.
        """
        listing = self._trusted(prefix, name)
        if listing is None and not self._listings.is_large(prefix):
            listing = await self._first_pages.share(prefix, lambda: self._list_one_page(prefix))
        change = self._listings.recent(prefix).get(name)
        if listing is not None:
            entry = listing.entries.get(name)
            # An own change is put into any listing: what it shows is not what COS has said.
            seen_at = listing.time if change is None else change.time
            return None if entry is None else await self._load(prefix, entry, seen_at)
        if change is None:
            return await self._probe(prefix, name)
        if change.entry is not None:
            return await self._load(prefix, change.entry, change.time)
        return await self.find_file(Key(prefix + name))

    def _trusted(self, prefix: str, name: str) -> Listing | None:
        """The listing that still tells what is under *name*, or that nothing is."""
        listing = self._listings.fresh(prefix)
        if listing is None or name in listing.entries or name in self._listings.recent(prefix):
            return listing
        return self._listings.complete(prefix)

    def recall(self, prefix: str, entry: ListedEntry) -> ObjectInfo | None:
        """The object that a listing shows, if it is known without asking. Does not yield."""
        if entry.object is None:
            return None
        return self._known(_version(Key(prefix + entry.name), entry.object))

    def remember(self, info: ObjectInfo) -> None:
        """Keep what is known of an object for as long as listings confirm it."""
        self._remembered[_version(info.key, info)] = info

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
        self.remember(info)
        if time.time_ns() - info.modified_ns < RACY_NS:
            version = _version(info.key, info)
            self._remembered_for_now[version] = self._remembered.pop(version)
        return info

    async def info_of(self, listed: ListedObject) -> ObjectInfo | None:
        """The whole truth about a listed object: remembered, or by HEAD; None when it is gone."""
        known = self._known(_version(listed.key, listed))
        return known or await self.head(listed.key)

    def _known(self, version: tuple[Key, ETag, int]) -> ObjectInfo | None:
        return self._remembered.get(version) or self._remembered_for_now.get(version)

    async def list_directory(self, prefix: str) -> Listing:
        """All entries, through as many pages as there are unless they are known."""
        listing = self._listings.complete(prefix)
        if listing is not None:
            return listing
        return await self._whole_listings.share(prefix, lambda: self._list_all_pages(prefix))

    async def keys_below(self, prefix: str) -> list[ListedObject]:
        """Every object under *prefix*, at any depth, as COS lists it now."""
        return [listed async for page in self._pages(prefix, "") for listed in page.objects]

    async def is_empty(self, prefix: str) -> bool:
        """Whether nothing but its own marker is under *prefix*, always asking COS."""
        changes = self._listings.recent(prefix)
        if any(change.entry is not None for change in changes.values()):
            return False
        marker, page_size = "", MAX_LIST_KEYS if changes else 2
        while True:
            page = await self._client.list_objects(
                prefix=prefix, delimiter="/", marker=marker, max_keys=page_size
            )
            if not _all_removed(prefix, page, self._listings.recent(prefix)):
                return False
            if page.next_marker is None:
                return True
            marker = page.next_marker

    async def _list_one_page(self, prefix: str) -> Listing | None:
        entries: dict[str, ListedEntry] = {}
        with self._listings.request() as began:
            page = await self._client.list_objects(
                prefix=prefix, delimiter="/", marker="", max_keys=MAX_LIST_KEYS
            )
            self._listings.mark_large(prefix, large=page.next_marker is not None)
            if page.next_marker is not None:
                return None
            collect_entries(entries, prefix, page)
            return self._listings.store(prefix, entries, began)

    async def _list_all_pages(self, prefix: str) -> Listing:
        entries: dict[str, ListedEntry] = {}
        pages = 0
        with self._listings.request() as began:
            async for page in self._pages(prefix, "/"):
                collect_entries(entries, prefix, page)
                pages += 1
            self._listings.mark_large(prefix, large=pages > 1)
            return self._listings.store(prefix, entries, began)

    async def _pages(self, prefix: str, delimiter: str) -> AsyncIterator[ListingPage]:
        marker: str | None = ""
        while marker is not None:
            page = await self._client.list_objects(
                prefix=prefix, delimiter=delimiter, marker=marker, max_keys=MAX_LIST_KEYS
            )
            yield page
            marker = page.next_marker

    async def _load(self, prefix: str, entry: ListedEntry, listed_at: float) -> Found | None:
        """The attributes of a listed name. None: an object that is gone by now."""
        if entry.object is None:
            info = await self._shared_head(Key(f"{prefix}{entry.name}/"))
            if info is None and entry.alias is not None:
                info = await self._shared_head(entry.alias)
            return self._implicit() if info is None else self._found(info)
        known = self.recall(prefix, entry)
        if known is not None:
            return replace(self._found(known), checked=listed_at)
        return await self.find_file(Key(prefix + entry.name))

    async def _probe(self, prefix: str, name: str) -> Found | None:
        """Ask for the file and the directory of that name at once; the directory wins."""
        key = Key(prefix + name)
        found: dict[str, Found | None] = {}

        async def ask(kind: str) -> None:
            if kind == "file":
                found[kind] = await self.find_file(key)
            else:
                found[kind] = await self._probe_directory(Key(key + "/"))

        await for_each(["file", "directory"], ask, parallel=2)
        alias = Key(key + HADOOP_SUFFIX)
        known = self._listings.last_known(prefix)
        hint = known.entries.get(name) if known else None
        result = found["directory"] or found["file"]
        return await self.find_file(alias) if result is None and hint and hint.alias else result

    async def _probe_directory(self, prefix: Key) -> Found | None:
        page = await self._client.list_objects(prefix=prefix, delimiter="", marker="", max_keys=1)
        if not page.objects:
            return None
        info = await self._shared_head(prefix) if page.objects[0].key == prefix else None
        return self._implicit() if info is None else self._found(info)

    async def _shared_head(self, key: Key) -> ObjectInfo | None:
        # A HEAD from before an own change must not answer for after it.
        generation = self._listings.generation(key)
        return await self._heads.share((key, generation), lambda: self.head(key))

    def _found(self, info: ObjectInfo) -> Found:
        return Found(
            attributes=self._codec.from_object(info), checked=trio.current_time(), info=info
        )

    def _implicit(self) -> Found:
        return Found(attributes=self._codec.implicit_directory(), checked=trio.current_time())


def _version(key: Key, known: ListedObject | ObjectInfo) -> tuple[Key, ETag, int]:
    # To the second, as HEAD and LIST show it; what an upload made may be known more precisely.
    return key, known.etag, known.modified_ns // NS_PER_S


def _all_removed(prefix: str, page: ListingPage, removed: dict[str, Change]) -> bool:
    """Whether a page shows nothing but the marker and what this mount removed just now."""
    names = [below[len(prefix) : -1] for below in page.prefixes]
    names += [listed.key[len(prefix) :] for listed in page.objects if listed.key != prefix]
    return all(name.removesuffix(HADOOP_SUFFIX) in removed for name in names)
