"""Objects that are deleted as their names are removed, many with one request where a directory is
being emptied.

``rm -r`` removes a name, waits for it, and removes the next; the kernel lets nobody change the
directory meanwhile. A DELETE for each would take a round trip for each. So after PLAIN_FIRST of
them in a row the next are *collected*: the name is gone at once, and its object a moment later,
with those of up to a thousand others. A local disk promises no more before an fsync of the
directory. An error cannot be the call's own then; see ``raise_failure``. What renames leave under
their old names goes in the same way, where one follows the other as in an rsync.

A key is under way from ``remove`` on:

========= ========== ==========================================================================
state     becomes    when
========= ========== ==========================================================================
under way gone       COS has deleted it; a plain removal returns
under way failed     COS has not, asked for all and for it alone. A plain removal raises why. Of
                     one that was collected the name is there again, and *on_failure* hears of it
failed    forgotten  one of its directory's calls, or the end of the mount, has told
========= ========== ==========================================================================

Invariants: what is under way is in no listing; nothing is stored at a key, and nothing below a
directory is listed to be moved or found empty, before ``settled`` says that no removal of it is
under way. Knows keys, no nodes.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import trio
from cachetools import LRUCache

from cosfs.cos.client import CosClient
from cosfs.cos.health import HealthState
from cosfs.cos.model import MAX_DELETE_KEYS, Key
from cosfs.errors import CosError
from cosfs.namespace.entries import split_key
from cosfs.namespace.listings import ListingCache
from cosfs.namespace.parallel import for_each

# Enough that nobody who removes a few files is told that they are gone before they are, and that
# missing rights or an absent service are told by the call itself; 0.6 s of a COS 30 ms away.
PLAIN_FIRST: Final = 20
SOON_S: Final = 1.0  # between two removals in a row: rm needs a millisecond and a round trip
BATCH_DELAY_S: Final = 0.05  # rm removes some hundred names meanwhile
MOST_COLLECTED: Final = 4 * MAX_DELETE_KEYS  # keys; what a kill leaves behind, at most
_PARALLEL_RETRIES: Final = 8  # of the client's 64 METADATA requests
_MOST_FAILURES: Final = 1000  # are kept to be told; all are logged
_MOST_DIRECTORIES: Final = 1000  # that are being emptied

log = logging.getLogger(__name__)

Failures = Mapping[Key, Exception]


class _Row(NamedTuple):
    length: int
    latest: float


class RemovalsInRow:
    """How many names went one soon after the other, by directory prefix. Times are trio's."""

    def __init__(self) -> None:
        self._rows: LRUCache[str, _Row] = LRUCache(_MOST_DIRECTORIES)

    def length(self, prefix: str, now: float) -> int:
        row = self._rows.get(prefix)
        return 0 if row is None or now > row.latest + SOON_S else row.length

    def removed(self, prefix: str, *, began: float, ended: float) -> None:
        """One more is gone; its removal lasted from *began* to *ended*."""
        self._rows[prefix] = _Row(self.length(prefix, began) + 1, ended)

    def broken(self, prefix: str) -> None:
        """Something else has happened in the directory."""
        self._rows.pop(prefix, None)

    def all_broken(self) -> None:
        self._rows.clear()


class Removals:
    """Deletes the objects of removed names."""

    def __init__(self, client: CosClient, listings: ListingCache) -> None:
        self.plain_first = PLAIN_FIRST
        self._client = client
        self._listings = listings
        self._rows = RemovalsInRow()
        self._moves = RemovalsInRow()
        self._under_way: set[Key] = set()
        self._collected: dict[Key, float] = {}  # when; not on their way yet
        self._sending = 0  # how many are
        self._failures: LRUCache[Key, Exception] = LRUCache(_MOST_FAILURES)
        self._nursery: trio.Nursery | None = None
        self._on_failure: Callable[[Failures], None] = lambda _: None
        self._runs = False
        self._due = trio.Event()  # the batch must not wait any longer
        self._ended = trio.Event()  # of any removal; then another event takes its place

    def __repr__(self) -> str:
        counts = f"under_way={len(self._under_way)} collected={len(self._collected)}"
        return f"<Removals {counts} failures={len(self._failures)}>"

    @property
    def count(self) -> int:
        """How many objects are still to be deleted."""
        return len(self._under_way)

    def collect(self, nursery: trio.Nursery, on_failure: Callable[[Failures], None]) -> None:
        """From now on collect, and send the batches in a task of *nursery*."""
        self._nursery = nursery
        self._on_failure = on_failure

    async def remove(self, key: Key, *, plain: bool = False, moved: bool = False) -> None:
        """Delete *key*, soon if it may be collected and is not to be *plain*.

        *moved*: the object has another name by now. What was collected ends without another
        checkpoint: the name goes before its object. Raises, and does nothing else, what an
        earlier removal in its directory failed with.
        """
        prefix, _ = split_key(key)
        rows = self._moves if moved else self._rows
        began = trio.current_time()
        self._under_way.add(key)
        try:
            while not plain and self._may_collect(rows, prefix, began):
                self.raise_failure(prefix)
                if len(self._collected) + self._sending < MOST_COLLECTED:
                    self._put_off(key)
                    break
                await self._ended.wait()
            else:
                self.raise_failure(prefix)
                await self._client.delete_object(key)
                self._end(key)
        except BaseException:
            rows.broken(prefix)
            self._end(key)
            raise
        rows.removed(prefix, began=began, ended=trio.current_time())

    def is_row(self, prefix: str) -> bool:
        """Whether so many names of the directory went that the next will. Does not yield."""
        return self._rows.length(prefix, trio.current_time()) >= self.plain_first

    def interrupted(self, prefix: str) -> None:
        """A name was made in the directory: nobody is just emptying it. Does not yield."""
        self._rows.broken(prefix)

    async def settled(self, *keys: str) -> None:
        """Wait for the removals under way of *keys*, and of all below those that end with "/".

        Of those alone that are under way by now. Yields only if there are any.
        """
        awaited = [key for key in self._under_way if any(_is_at(key, top) for top in keys)]
        while not self._under_way.isdisjoint(awaited):
            self._due.set()
            await self._ended.wait()

    async def finished(self, prefix: str) -> None:
        """``settled``, then ``raise_failure``."""
        await self.settled(prefix)
        self.raise_failure(prefix)

    def raise_failure(self, prefix: str) -> None:
        """Raise what a removal that was collected in the directory failed with, once."""
        failed = [key for key in self._failures if split_key(key)[0] == prefix]
        errors = [self._failures.pop(key) for key in failed]
        if errors:
            raise errors[0]

    def take_failures(self) -> dict[Key, Exception]:
        """All that no call has told; the caller does. Does not yield."""
        failures = dict(self._failures)
        self._failures.clear()
        return failures

    def _may_collect(self, rows: RemovalsInRow, prefix: str, now: float) -> bool:
        return (
            self._nursery is not None
            and rows.length(prefix, now) >= self.plain_first
            and self._client.health.state is HealthState.ANSWERING
        )

    def _put_off(self, key: Key) -> None:
        self._collected[key] = trio.current_time()
        self._listings.changes.leaving(key)
        if len(self._collected) >= MAX_DELETE_KEYS:
            self._due.set()
        if not self._runs:
            assert self._nursery is not None
            self._runs = True
            self._nursery.start_soon(self._send_all)

    async def _send_all(self) -> None:
        """Send batches until nothing is collected any more. The next fills while one is sent."""
        while self._collected:
            if len(self._collected) < MAX_DELETE_KEYS:
                with trio.move_on_at(next(iter(self._collected.values())) + BATCH_DELAY_S):
                    await self._due.wait()
            self._due = trio.Event()
            batch = list(self._collected)[:MAX_DELETE_KEYS]
            for key in batch:
                del self._collected[key]
            self._sending = len(batch)
            failed = await self._delete(batch)
            self._sending = 0
            self._answered(batch, failed)
        self._runs = False

    async def _delete(self, keys: Sequence[Key]) -> Failures:
        """Delete *keys*; those that are still there, and why."""
        failed: dict[Key, Exception] = {}

        async def delete_alone(key: Key) -> None:
            try:
                await self._client.delete_object(key)
            except CosError as error:
                failed[key] = error

        try:
            again = await self._delete_together(keys) if len(keys) > 1 else keys
            await for_each(again, delete_alone, parallel=_PARALLEL_RETRIES)
        except Exception as error:  # a bug must not keep those waiting who wait for the answer
            log.exception("removals broke keys=%d", len(keys))
            return dict.fromkeys(keys, error)
        return failed

    async def _delete_together(self, keys: Sequence[Key]) -> Sequence[Key]:
        """Delete *keys* with one request; those that are to be tried again."""
        try:
            return [failure.key for failure in await self._client.delete_objects(keys)]
        except CosError as error:
            log.info("removals tried one by one keys=%d error=%s", len(keys), error)
            return keys

    def _answered(self, batch: Sequence[Key], failed: Failures) -> None:
        for key in batch:
            if key in failed:
                self._listings.stayed(key)
            else:
                self._listings.left(key)
        if failed:
            self._rows.all_broken()
            self._moves.all_broken()
            key, error = next(iter(failed.items()))
            log.error("removals failed keys=%d first=%s error=%s", len(failed), key, error)
            for key, error in failed.items():
                log.info("object not removed key=%s error=%s", key, error)
                self._failures[key] = error
            self._on_failure(failed)
        for key in batch:
            self._end(key)

    def _end(self, key: Key) -> None:
        self._under_way.discard(key)
        self._ended.set()
        self._ended = trio.Event()


def _is_at(key: Key, top: str) -> bool:
    return key.startswith(top) if top.endswith("/") or not top else key == top
