"""Listings and own changes: names from keys, and what a listing that lags may say."""

from collections.abc import Sequence

import trio
import trio.testing

from cosfs.config import AttributeConfig
from cosfs.cos.model import ETag, Key, ListedObject, ListingPage
from cosfs.namespace import listings
from cosfs.namespace.listings import (
    ListedEntry,
    ListingCache,
    Moment,
    is_valid_name,
    split_key,
)

CONFIG = AttributeConfig(metadata_ttl_s=5.0)


def listed(key: str, *, etag: str = "e", size: int = 1, modified_ns: int = 0) -> ListedObject:
    return ListedObject(
        key=Key(key), size=size, etag=ETag(etag), modified_ns=modified_ns, storage_class="STANDARD"
    )


def page(*keys: str, prefixes: tuple[str, ...] = (), size: int = 1) -> ListingPage:
    return ListingPage(
        objects=[listed(key, size=size) for key in keys], prefixes=prefixes, next_marker=None
    )


def collect(prefix: str, pages: Sequence[ListingPage]) -> dict[str, ListedEntry]:
    entries: dict[str, ListedEntry] = {}
    for each in pages:
        listings.collect_entries(entries, prefix, each)
    return entries


def entry(name: str, *, etag: str = "e", modified_ns: int = 0) -> ListedEntry:
    return ListedEntry(name=name, object=listed(name, etag=etag, modified_ns=modified_ns))


def begin(cache: ListingCache) -> Moment:
    with cache.request() as began:
        return began


def test_split_key_finds_the_directory_that_lists_it() -> None:
    assert split_key("a") == ("", "a")
    assert split_key("a/b/c") == ("a/b/", "c")
    assert split_key("a/b/") == ("a/", "b")


def test_names_that_no_path_has_are_left_out() -> None:
    entries = collect(
        "d/", [page("d/", "d/a", "d/nul\0", "d/" + "x" * 256, prefixes=("d//", "d/./", "d/../"))]
    )

    assert list(entries) == ["a"]


def test_name_of_255_bytes_is_valid_and_of_256_is_not() -> None:
    assert is_valid_name("é" * 127 + "a")
    assert not is_valid_name("é" * 128)


def test_directory_wins_over_the_file_beside_it_on_any_page() -> None:
    entries = collect("", [page("a"), page(prefixes=("a/",)), page("b", prefixes=("b/",))])

    assert [found.is_directory for found in entries.values()] == [True, True]


def test_hadoop_marker_is_a_directory_and_names_its_key() -> None:
    entries = collect("", [page("a_$folder$", prefixes=("b/",), size=0), page("c_$folder$")])

    assert entries["a"] == ListedEntry(name="a", alias=Key("a_$folder$"))
    assert not entries["c_$folder$"].is_directory  # it has content: somebody's file


async def test_listing_expires(mock_clock: trio.testing.MockClock) -> None:
    cache = ListingCache(CONFIG)
    cache.store("", {"a": entry("a")}, begin(cache))

    mock_clock.jump(4.9)
    assert cache.fresh("") is not None

    mock_clock.jump(0.2)
    assert cache.fresh("") is None
    assert cache.last_known("") is not None


async def test_own_changes_show_in_the_listing_at_once() -> None:
    cache = ListingCache(CONFIG)
    listing = cache.store("d/", {"a": entry("a")}, begin(cache))

    cache.added("d/", entry("b"))
    cache.removed("d/", "a", ETag("e"))

    assert list(listing.entries) == ["b"]


async def test_change_during_a_listing_request_wins() -> None:
    cache = ListingCache(CONFIG)
    with cache.request() as began:
        cache.removed("", "a", ETag("old"))
        cache.added("", entry("b"))
        listing = cache.store("", {"a": entry("a", etag="new")}, began)

    assert list(listing.entries) == ["b"]


async def test_change_wins_however_long_the_listing_request_takes(
    mock_clock: trio.testing.MockClock,
) -> None:
    cache = ListingCache(CONFIG)
    with cache.request() as began:
        cache.removed("", "a", ETag("e"))
        mock_clock.jump(1000)
        listing = cache.store("", {"a": entry("a")}, began)

    assert not listing.entries


async def test_listing_may_lag_behind_own_changes_for_a_while(
    mock_clock: trio.testing.MockClock,
) -> None:
    cache = ListingCache(CONFIG)
    cache.added("", entry("made"))
    cache.removed("", "gone", ETag("e"))

    lagging = cache.store("", {"gone": entry("gone")}, begin(cache))
    assert list(lagging.entries) == ["made"]

    mock_clock.jump(60)
    later = cache.store("", {"gone": entry("gone")}, begin(cache))
    assert list(later.entries) == ["gone"]


async def test_listing_that_shows_something_newer_is_believed() -> None:
    cache = ListingCache(CONFIG)
    cache.added("", entry("overwritten", etag="ours", modified_ns=1))
    cache.removed("", "made again", ETag("e"))

    shown = {
        "overwritten": entry("overwritten", etag="theirs", modified_ns=2),
        "made again": entry("made again", etag="theirs"),
    }
    listing = cache.store("", dict(shown), begin(cache))

    assert listing.entries == shown


async def test_changed_since_tells_old_answers_from_new() -> None:
    cache = ListingCache(CONFIG)
    before = begin(cache)
    cache.added("", entry("a"))

    assert cache.changed_since("", "a", before)
    assert not cache.changed_since("", "a", begin(cache))
    assert not cache.changed_since("", "b", before)


async def test_drop_forgets_listings_below_but_not_own_changes() -> None:
    cache = ListingCache(CONFIG)
    for prefix in ("a/", "a/b/", "c/"):
        cache.store(prefix, {}, begin(cache))
    cache.added("a/", entry("x"))

    cache.drop("a/")

    assert [cache.fresh(prefix) is None for prefix in ("a/", "a/b/", "c/")] == [True, True, False]
    assert list(cache.recent("a/")) == ["x"]


async def test_listing_over_the_limit_is_handed_out_and_not_kept() -> None:
    cache = ListingCache(CONFIG, max_entries=3)

    listing = cache.store("", {name: entry(name) for name in "abc"}, begin(cache))

    assert len(listing.entries) == 3
    assert cache.fresh("") is None


async def test_other_marker_of_a_directory_stays_known() -> None:
    cache = ListingCache(CONFIG)
    alias = ListedEntry(name="a", alias=Key("a_$folder$"))
    listing = cache.store("", {"a": alias}, begin(cache))

    cache.added("", ListedEntry(name="a"))

    assert listing.entries["a"] == alias


async def test_directories_are_counted_as_they_come_and_go() -> None:
    cache = ListingCache(CONFIG)
    kept = cache.store("d/", collect("d/", [page("d/f", prefixes=("d/x/",))]), begin(cache))
    assert kept.directories == 1

    cache.added("d/", ListedEntry(name="y"))
    cache.added("d/", entry("g"))
    assert kept.directories == 2
    cache.removed("d/", "x")
    cache.added("d/", entry("y"))
    assert kept.directories == 0
