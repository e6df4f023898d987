"""Listings that are kept: what own changes do to them, and what one that lags may say."""

import trio
import trio.testing

from cosfs.config import AttributeConfig
from cosfs.cos.model import ETag, Key
from cosfs.namespace.entries import ListedEntry
from cosfs.namespace.listings import ListingCache
from tests.namespace.listed import entry

CONFIG = AttributeConfig(metadata_ttl_s=5.0)


async def test_listing_expires(mock_clock: trio.testing.MockClock) -> None:
    cache = ListingCache(CONFIG)
    cache.store("", {"a": entry("a")}, cache.changes.moment())

    mock_clock.jump(4.9)
    assert cache.fresh("") is not None

    mock_clock.jump(0.2)
    assert cache.fresh("") is None
    assert cache.last_known("") is not None


async def test_own_changes_show_in_the_listing_at_once() -> None:
    cache = ListingCache(CONFIG)
    listing = cache.store("d/", {"a": entry("a")}, cache.changes.moment())

    cache.added("d/", entry("b"))
    cache.removed("d/", "a", ETag("e"))

    assert list(listing.entries) == ["b"]


async def test_change_during_a_listing_request_wins() -> None:
    cache = ListingCache(CONFIG)
    with cache.changes.request() as began:
        cache.removed("", "a", ETag("old"))
        cache.added("", entry("b"))
        listing = cache.store("", {"a": entry("a", etag="new")}, began)

    assert list(listing.entries) == ["b"]


async def test_change_wins_however_long_the_listing_request_takes(
    mock_clock: trio.testing.MockClock,
) -> None:
    cache = ListingCache(CONFIG)
    with cache.changes.request() as began:
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

    lagging = cache.store("", {"gone": entry("gone")}, cache.changes.moment())
    assert list(lagging.entries) == ["made"]

    mock_clock.jump(60)
    later = cache.store("", {"gone": entry("gone")}, cache.changes.moment())
    assert list(later.entries) == ["gone"]


async def test_listing_that_shows_something_newer_is_believed() -> None:
    cache = ListingCache(CONFIG)
    cache.added("", entry("overwritten", etag="ours", modified_ns=1))
    cache.removed("", "made again", ETag("e"))

    shown = {
        "overwritten": entry("overwritten", etag="theirs", modified_ns=2),
        "made again": entry("made again", etag="theirs"),
    }
    listing = cache.store("", dict(shown), cache.changes.moment())

    assert listing.entries == shown


async def test_drop_forgets_listings_below_but_not_own_changes() -> None:
    cache = ListingCache(CONFIG)
    for prefix in ("a/", "a/b/", "c/"):
        cache.store(prefix, {}, cache.changes.moment())
    cache.added("a/", entry("x"))

    cache.drop("a/")

    assert [cache.fresh(prefix) is None for prefix in ("a/", "a/b/", "c/")] == [True, True, False]
    assert list(cache.changes.recent("a/")) == ["x"]


async def test_listing_over_the_limit_is_handed_out_and_not_kept() -> None:
    cache = ListingCache(CONFIG, max_entries=3)

    listing = cache.store("", {name: entry(name) for name in "abc"}, cache.changes.moment())

    assert len(listing.entries) == 3
    assert cache.fresh("") is None


async def test_other_marker_of_a_directory_stays_known() -> None:
    cache = ListingCache(CONFIG)
    alias = ListedEntry(name="a", alias=Key("a_$folder$"))
    listing = cache.store("", {"a": alias}, cache.changes.moment())

    cache.added("", ListedEntry(name="a"))

    assert listing.entries["a"] == alias


async def test_directories_are_counted_as_they_come_and_go() -> None:
    cache = ListingCache(CONFIG)
    kept = cache.store("d/", {"f": entry("f"), "x": ListedEntry(name="x")}, cache.changes.moment())
    assert kept.directories == 1

    cache.added("d/", ListedEntry(name="y"))
    cache.added("d/", entry("g"))
    assert kept.directories == 2
    cache.removed("d/", "x")
    cache.added("d/", entry("y"))
    assert kept.directories == 0
