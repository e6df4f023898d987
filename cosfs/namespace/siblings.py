"""Attributes asked for before somebody wants them, as ``ls -l`` will: of the names that follow
once two in a row of a listed directory were looked up. Of directories that are walked through one
after the other, as ``find`` does, the names as well.

What is begun stays within a window after the latest lookup, so it ends when the asking does.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import trio
from cachetools import LRUCache

from cosfs.namespace.entries import ListedEntry
from cosfs.namespace.lookups import Finder
from cosfs.namespace.parallel import in_background

MOST_AHEAD: Final = 64  # names; few more than what is asked for at once
_PARALLEL: Final = 56  # of the client's 64 METADATA requests: others must not wait
_FIRST_AHEAD: Final = 4  # names; each step in order doubles it
_STEP: Final = 3  # names that may be left out: programs pass over what they know
_MOST_NAMES: Final = 16_000  # of all directories that are walked through, one in another


@dataclass(slots=True, eq=False)
class _Walk:
    """A way through the sorted *entries* of a listing.

    *last* is the place of the last name asked for, *begun* that of the first not begun.
    """

    entries: Sequence[ListedEntry]
    names: Sequence[str]
    last: int
    window: int = 0
    begun: int = 0


class Siblings:
    """Follows the lookups in each directory."""

    def __init__(self, finder: Finder, nursery: trio.Nursery) -> None:
        self._finder = finder
        self._nursery = nursery
        self._waiting: deque[tuple[str, ListedEntry, bool]] = deque()  # see Finder.ask_ahead
        self._working = 0
        self._walks: LRUCache[str, _Walk] = LRUCache(_MOST_NAMES, getsizeof=_weight)

    def asked(self, prefix: str, name: str, *, to_remove: bool) -> None:
        """*name* is being looked up; see Finder.find. Does not yield."""
        walk = self._walks.get(prefix)
        place = -1 if walk is None else bisect_right(walk.names, name) - 1
        if walk is None or place < 0 or walk.names[place] != name:
            self._begin(prefix, name)
            return
        if place == walk.last:
            return
        in_order = 0 < place - walk.last <= _STEP
        before, walk.last = walk.entries[walk.last], place
        if not in_order:
            walk.window = 0
            walk.begun = place + 1
            return
        walked = before.is_directory and self._finder.was_listed(f"{prefix}{before.name}/")
        walk.window = min(MOST_AHEAD, 2 * walk.window or _FIRST_AHEAD)
        window = min(walk.window, self._finder.subtrees.ahead(prefix)) if walked else walk.window
        for entry in walk.entries[max(walk.begun, place + 1) : place + 1 + window]:
            if self._finder.recall_entry(prefix, entry, to_remove=to_remove) is None:
                self._begin_to_ask(prefix, entry, walked=walked)
        walk.begun = max(walk.begun, place + 1 + window)

    def _begin(self, prefix: str, name: str) -> None:
        """A walk through the fresh names around *name*, from where it is."""
        entries = self._finder.neighbours(prefix, name)
        names = [entry.name for entry in entries]
        if names:
            place = bisect_right(names, name) - 1
            self._walks[prefix] = _Walk(entries, names, place, begun=place + 1)

    def _begin_to_ask(self, prefix: str, entry: ListedEntry, *, walked: bool) -> None:
        self._waiting.append((prefix, entry, walked))
        if self._working < _PARALLEL:
            self._working += 1
            self._nursery.start_soon(self._work)

    async def _work(self) -> None:
        """Ask for what waits, until nothing does: a task for each name would cost as much as all
        else that is done for it here.
        """
        while self._waiting:
            prefix, entry, walked = self._waiting.popleft()
            await in_background(partial(self._finder.ask_ahead, prefix, entry, walked=walked))
        self._working -= 1


def _weight(walk: _Walk) -> int:
    """A directory of many names, which are known anyway, leaves room for those above it."""
    return min(1 + len(walk.names), _MOST_NAMES // 4)
