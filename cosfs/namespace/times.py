"""Times that this mount knows better than COS: of directories, mostly.

A directory's times change with every name in it, and storing that would cost a request a name. So
they are kept here by key, for the life of the mount. Invariant: what is shown never goes back to
before a change made here. No method yields.
"""

from dataclasses import dataclass, replace
from typing import Final

from cachetools import LRUCache

from cosfs.namespace.attributes import Attributes

MAX_KEYS: Final = 50_000  # about 0.3 KB each; the least recently used shows what COS has again


@dataclass(frozen=True, slots=True, kw_only=True)
class _Times:
    mtime_ns: int | None
    ctime_ns: int


class RecentTimes:
    """Times by key, a directory's ending with "/", later than those stored under it."""

    def __init__(self) -> None:
        self._times: LRUCache[str, _Times] = LRUCache(MAX_KEYS)

    def changed(self, key: str, now_ns: int) -> None:
        """The inode at *key* was changed, but not its content."""
        known = self._times.get(key)
        mtime_ns = None if known is None else known.mtime_ns
        self._times[key] = _Times(mtime_ns=mtime_ns, ctime_ns=now_ns)

    def entries_changed(self, prefix: str, now_ns: int) -> None:
        """A name was made, removed or moved in the directory *prefix*."""
        self._times[prefix] = _Times(mtime_ns=now_ns, ctime_ns=now_ns)

    def mtime_set(self, key: str) -> None:
        """Somebody chose the mtime of *key*: it is right, however old."""
        if key in self._times:
            self._times[key] = replace(self._times[key], mtime_ns=None)

    def stored(self, key: str, ctime_ns: int) -> None:
        """The object at *key* has the times now that were right at *ctime_ns*."""
        known = self._times.get(key)
        if known is not None and known.ctime_ns <= ctime_ns:
            del self._times[key]

    def removed(self, key: str) -> None:
        """There is nothing at *key* any more, or something else."""
        self._times.pop(key, None)

    def moved(self, source: str, target: str) -> None:
        """A directory is now at *target*, with everything below."""
        for key in [key for key in self._times if key.startswith(source)]:
            self._times[target + key[len(source) :]] = self._times.pop(key)

    def shown(self, key: str, stored: Attributes) -> Attributes:
        """The attributes that are *stored* at *key*, with the times that are later."""
        times = self._times.get(key)
        if times is None:
            return stored
        mtime_ns = stored.mtime_ns
        if times.mtime_ns is not None:
            # An mtime that was chosen may be in the future: it ends with the first change since.
            since = times.mtime_ns > stored.ctime_ns
            mtime_ns = times.mtime_ns if since else max(mtime_ns, times.mtime_ns)
        return replace(stored, mtime_ns=mtime_ns, ctime_ns=max(stored.ctime_ns, times.ctime_ns))
