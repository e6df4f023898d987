"""Times that the mount keeps itself."""

from dataclasses import replace

from cosfs.namespace.attributes import Attributes
from cosfs.namespace.times import RecentTimes

STORED = Attributes(mode=0o40755, uid=0, gid=0, size=0, mtime_ns=100, ctime_ns=200, atime_ns=100)


def test_times_of_an_unknown_key_are_those_stored() -> None:
    assert RecentTimes().shown("a/", STORED) is STORED


def test_times_of_a_directory_are_those_of_the_last_change_in_it() -> None:
    times = RecentTimes()

    times.entries_changed("a/", 300)
    times.changed("a/", 400)

    assert times.shown("a/", STORED) == replace(STORED, mtime_ns=300, ctime_ns=400)


def test_times_never_go_back_before_those_stored() -> None:
    times = RecentTimes()

    times.entries_changed("a/", 150)

    assert times.shown("a/", STORED) == replace(STORED, mtime_ns=150)


def test_an_mtime_in_the_future_ends_with_the_next_change() -> None:
    times = RecentTimes()
    future = replace(STORED, mtime_ns=900)

    times.entries_changed("a/", 300)
    times.entries_changed("b/", 150)

    assert times.shown("a/", future).mtime_ns == 300
    assert times.shown("b/", future).mtime_ns == 900  # chosen at 200


def test_times_that_somebody_chose_are_right_however_old() -> None:
    times = RecentTimes()
    times.entries_changed("a/", 300)

    times.mtime_set("a/")
    times.mtime_set("b/")

    assert times.shown("a/", STORED) == replace(STORED, ctime_ns=300)
    assert times.shown("b/", STORED) is STORED


def test_times_that_are_stored_are_forgotten() -> None:
    times = RecentTimes()
    times.entries_changed("a/", 300)

    times.stored("a/", 300)
    times.stored("a/", 300)

    assert times.shown("a/", STORED) is STORED


def test_times_later_than_those_stored_are_kept() -> None:
    times = RecentTimes()
    times.entries_changed("a/", 300)

    times.stored("a/", 299)

    assert times.shown("a/", STORED).mtime_ns == 300


def test_times_of_what_is_removed_are_forgotten() -> None:
    times = RecentTimes()
    times.entries_changed("a/", 300)

    times.removed("a/")

    assert times.shown("a/", STORED) is STORED


def test_times_move_with_a_directory() -> None:
    times = RecentTimes()
    times.entries_changed("a/b/", 300)
    times.entries_changed("ab/", 400)

    times.moved("a/", "z/y/")

    assert times.shown("z/y/b/", STORED).mtime_ns == 300
    assert times.shown("a/b/", STORED) is STORED
    assert times.shown("ab/", STORED).mtime_ns == 400
