"""What this mount itself changed in directories a moment ago, which listings may not show yet.

COS says that a listing may lag behind, so an own change is kept for ``LISTING_LAG_S``, for as long
as a request that began before it is under way, and until what was removed here is deleted on COS.
Owns the order of own changes and requests, and who is right where a listing and a change differ.
Invariant: a name has at most one change, its last. Knows of no listing that is kept: listings.py
applies changes to those. Sends nothing; no method yields.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import trio
from cachetools import TTLCache

from cosfs.cos.model import ETag, Key, ListedObject
from cosfs.namespace.entries import ListedEntry, split_key

LISTING_LAG_S: Final = (
    10.0  # COS documents that listings lag, without a bound; usually none is seen
)
MAX_MARKERS: Final = 50_000  # of directories made within that time


@dataclass(frozen=True, slots=True)
class Moment:
    """When a request began: after which own change, and at which of trio's times."""

    sequence: int
    time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What this mount did to a name: *entry* is there now, or nothing is.

    *removed* is the ETag of the object that was removed, None for a directory.
    """

    sequence: int
    time: float
    entry: ListedEntry | None
    removed: ETag | None = None

    def over(self, listed: ListedEntry | None, began: Moment) -> ListedEntry | None:
        """What is under the name that a listing asked for at *began* shows as *listed*.

        The listing may lag behind, and must where it was asked for before the change.
        """
        ours = self.entry
        if self.sequence > began.sequence or listed is None:
            return ours
        if ours is None:
            return listed if self._is_another(listed) else None
        if listed.object is None or ours.object is None:
            return listed if listed.is_directory == ours.is_directory else ours
        return listed if listed.object.modified_ns > ours.object.modified_ns else ours

    def _is_another(self, listed: ListedEntry) -> bool:
        """Whether the listing shows something else than what was removed."""
        return listed.object is not None and listed.object.etag != self.removed


class OwnChanges:
    """The recent changes of a mount, by directory and name. ListingCache records them."""

    def __init__(self) -> None:
        self._changes: dict[str, dict[str, Change]] = {}
        self._markers: TTLCache[str, ListedObject] = TTLCache(
            MAX_MARKERS, LISTING_LAG_S, timer=trio.current_time
        )
        self._leaving: set[Key] = set()  # removed here, and not deleted on COS yet
        self._expiring: deque[tuple[Change, str, str]] = deque()
        self._sequence = 0
        self._requests: list[float] = []  # start times of those under way, or not taken yet

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
        change = self._last(prefix, name)
        return change is not None and change.sequence > began.sequence

    def generation(self, key: Key) -> int:
        """The number of the last own change to *key*. Two equal answers: none in between."""
        change = self._last(*split_key(key))
        return 0 if change is None else change.sequence

    def recent(self, prefix: str) -> dict[str, Change]:
        """The own changes in a directory that a listing may not show yet, by name."""
        self._forget_old()
        return self._changes.get(prefix, {})

    def recent_keys(self, prefix: str) -> Iterator[Key]:
        """The keys that this mount stored under *prefix*, at any depth, a moment ago."""
        self._forget_old()
        for directory, changes in self._changes.items():
            if directory.startswith(prefix):
                yield from (
                    change.entry.object.key
                    for change in changes.values()
                    if change.entry is not None and change.entry.object is not None
                )
        yield from (
            m.key for directory, m in self._markers.items() if directory.startswith(prefix)
        )

    def merged(self, prefix: str, batch: list[ListedEntry], began: Moment) -> list[ListedEntry]:
        """Entries that were right at *began*, with what was changed here since."""
        changes = self.recent(prefix)
        now = [
            changes[entry.name].over(entry, began) if entry.name in changes else entry
            for entry in batch
        ]
        return [entry for entry in now if entry is not None]

    def marker(self, prefix: str, listed: ListedObject | None) -> ListedObject | None:
        """The directory's own object, where a listing shows *listed*."""
        ours = self._markers.get(prefix)
        if ours is not None and (listed is None or listed.modified_ns <= ours.modified_ns):
            return ours
        return listed

    def added(self, prefix: str, entry: ListedEntry) -> None:
        """This mount put *entry* there, or changed it."""
        self._record(prefix, entry.name, entry)

    def removed(self, prefix: str, name: str, etag: ETag | None) -> None:
        """This mount removed the object with *etag*, or the directory."""
        self._markers.pop(f"{prefix}{name}/", None)
        self._record(prefix, name, None, etag)

    def marked(self, prefix: str, marker: ListedObject) -> None:
        """This mount stored the directory's own object."""
        self._markers[prefix] = marker

    def leaving(self, key: Key) -> None:
        """The object of a name that is removed here will be deleted on COS later.

        Until ``left`` or ``stayed`` listings that show it lag behind, however long that takes.
        """
        self._leaving.add(key)

    def left(self, key: Key) -> bool:
        """The object is deleted by now; a listing may show it for a while.

        False where something was stored under the name since.
        """
        change = self._end_of_leaving(key)
        if change is not None:
            self._record(*split_key(key), None, change.removed)
        return change is not None

    def stayed(self, key: Key) -> None:
        """The object could not be deleted: what shows it is right."""
        if self._end_of_leaving(key) is not None:
            self._forget(*split_key(key))

    def is_leaving(self, prefix: str, name: str) -> bool:
        """Whether COS shows an object under a name that is removed here."""
        return bool(self._leaving) and prefix + name in self._leaving

    def _last(self, prefix: str, name: str) -> Change | None:
        return self._changes.get(prefix, {}).get(name)

    def _record(
        self, prefix: str, name: str, entry: ListedEntry | None, etag: ETag | None = None
    ) -> None:
        self._sequence += 1
        change = Change(
            sequence=self._sequence, time=trio.current_time(), entry=entry, removed=etag
        )
        self._changes.setdefault(prefix, {})[name] = change
        self._expiring.append((change, prefix, name))
        self._forget_old()

    def _end_of_leaving(self, key: Key) -> Change | None:
        """The removal, unless something was stored under the name since."""
        self._leaving.discard(key)
        change = self._last(*split_key(key))
        return change if change is not None and change.entry is None else None

    def _forget_old(self) -> None:
        # A request under way may show the state before a change, however long it takes.
        horizon = min([trio.current_time() - LISTING_LAG_S, *self._requests])
        while self._expiring and self._expiring[0][0].time < horizon:
            change, prefix, name = self._expiring[0]
            if self._last(prefix, name) is change:
                if self.is_leaving(prefix, name):
                    return  # a batch ends before long, and with it this
                self._forget(prefix, name)
            self._expiring.popleft()

    def _forget(self, prefix: str, name: str) -> None:
        changes = self._changes[prefix]
        del changes[name]
        if not changes:
            del self._changes[prefix]
