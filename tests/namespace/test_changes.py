"""Own changes: which are known, for how long, and against which answers."""

import trio.testing

from cosfs.cos.model import ETag, Key
from cosfs.namespace.changes import LISTING_LAG_S, OwnChanges
from tests.namespace.listed import entry

PAST_LAG_S = LISTING_LAG_S + 0.1


async def test_changed_since_tells_old_answers_from_new() -> None:
    changes = OwnChanges()
    before = changes.moment()
    changes.added("", entry("a"))

    assert changes.changed_since("", "a", before)
    assert not changes.changed_since("", "a", changes.moment())
    assert not changes.changed_since("", "b", before)


async def test_change_is_forgotten_when_no_listing_can_lag_behind_it(
    mock_clock: trio.testing.MockClock,
) -> None:
    changes = OwnChanges()
    with changes.request():
        changes.added("d/", entry("a"))
        mock_clock.jump(PAST_LAG_S)
        assert list(changes.recent("d/")) == ["a"]

    assert not changes.recent("d/")


async def test_removal_is_known_until_what_is_leaving_has_left(
    mock_clock: trio.testing.MockClock,
) -> None:
    changes = OwnChanges()
    changes.removed("d/", "a", ETag("e"))
    changes.leaving(Key("d/a"))
    mock_clock.jump(10 * PAST_LAG_S)
    assert list(changes.recent("d/")) == ["a"]

    assert changes.left(Key("d/a"))
    assert list(changes.recent("d/")) == ["a"]  # from now on as any other
    mock_clock.jump(PAST_LAG_S)
    assert not changes.recent("d/")


async def test_removal_is_undone_when_what_was_leaving_stays() -> None:
    changes = OwnChanges()
    changes.removed("d/", "a", ETag("e"))
    changes.leaving(Key("d/a"))

    changes.stayed(Key("d/a"))

    assert not changes.is_leaving("d/", "a")
    assert not changes.recent("d/")


async def test_what_is_stored_over_a_leaving_object_outlives_it() -> None:
    changes = OwnChanges()
    changes.removed("d/", "a", ETag("e"))
    changes.leaving(Key("d/a"))
    changes.added("d/", entry("a", etag="new"))

    assert not changes.left(Key("d/a"))

    assert changes.recent("d/")["a"].entry == entry("a", etag="new")
