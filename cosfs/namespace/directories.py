"""What one opendir or rewinddir sees of a directory, by position.

Invariants: a position stands for the same name as long as it can be asked for; no name has two.
Whatever the directory's size, two pages are held, and of those before them the names alone.
"""

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from cosfs.namespace.attributes import Attributes
from cosfs.namespace.changes import Moment
from cosfs.namespace.lookups import Found

_HELD_BATCHES: Final = 2  # the kernel reads on, or again what it had no room for


@dataclass(frozen=True, slots=True)
class Origin:
    """What entries tell of: what COS was asked for at *asked_at*, trio's time, with own changes
    until *made*.
    """

    asked_at: float
    made: Moment


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryEntry:
    """A name in a directory. Not *exact*: attributes as far as a listing shows them.

    *found* is what the name stands for; None if that is not known, or if its inode knows better.
    """

    name: str
    attributes: Attributes
    exact: bool
    found: Found | None = None
    origin: Origin | None = None


NextBatch = Callable[[], Awaitable[Sequence[DirectoryEntry] | None]]
"""The entries that follow, None after the last; no name twice."""


class DirectoryReader:
    """The entries of one reading, in batches as they come."""

    def __init__(
        self,
        next_batch: NextBatch,
        recall: Callable[[str], DirectoryEntry],
        close: Callable[[], None],
    ) -> None:
        """*recall* makes an entry of a name that was shown before; *close* ends what runs."""
        self.close = close
        self._next_batch = next_batch
        self._recall = recall
        self._starts: list[int] = []  # of each batch
        self._batches: list[Sequence[DirectoryEntry] | bytes] = []  # or names, NUL between them
        self._count = 0
        self._ended = False

    async def entries_from(self, position: int) -> Sequence[DirectoryEntry]:
        """The entries from *position* on that are at hand; none at the end. Yields."""
        while position >= self._count and not self._ended:
            await self._read_on()
        number = bisect_right(self._starts, position) - 1
        if number < 0 or position >= self._count:
            return []
        batch = self._batches[number]
        if isinstance(batch, bytes):
            batch = [self._recall(name.decode()) for name in batch.split(b"\0")]
        return batch[position - self._starts[number] :]

    async def _read_on(self) -> None:
        batch = await self._next_batch()
        if batch is None:
            self._ended = True
            return
        if not batch:
            return
        self._starts.append(self._count)
        self._batches.append(batch)
        self._count += len(batch)
        if len(self._batches) > _HELD_BATCHES:
            old = self._batches[-_HELD_BATCHES - 1]
            if not isinstance(old, bytes):
                names = b"\0".join(entry.name.encode() for entry in old)
                self._batches[-_HELD_BATCHES - 1] = names
