"""Pages of a listing, several on their way at once, handed out in the order of their keys.

A listing goes on after any marker, so that whoever knows where pages will begin can ask for them
before those that come first have told. Invariants: every key is on exactly one of the pages that
are handed out; at most ``MOST_AHEAD`` pages are ahead of the reader, none of them older than own
changes are remembered for.
"""

from bisect import insort
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from operator import attrgetter
from typing import Final

import trio

from cosfs.cos.model import MAX_LIST_KEYS, ListingPage
from cosfs.errors import CosfsError, ProtocolError
from cosfs.namespace.changes import LISTING_LAG_S, Moment, OwnChanges
from cosfs.namespace.parallel import Begun

MOST_AHEAD: Final = 8  # pages, of about 0.5 MB; an eighth of the METADATA requests
MOST_PAGES: Final = 2_000  # two million keys; moving so many takes hours


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPage:
    """A page of LIST, and when it was asked for."""

    page: ListingPage
    began: Moment


Ask = Callable[[str], Awaitable[AskedPage]]
"""Ask for the page after a marker."""


class _Ahead:
    """A page after the marker *after*, on its way or waiting to be taken."""

    def __init__(
        self, after: str, nursery: trio.Nursery, get: Callable[["_Ahead"], Awaitable[None]]
    ) -> None:
        self.after = after
        self.asked: AskedPage | None = None
        self.arrived = trio.Event()  # or failed
        self.taken = trio.Event()
        self._begun = Begun(nursery, partial(get, self))
        self.cancel = self._begun.cancel

    @property
    def upto(self) -> str | None:
        """Where the listing goes on after it. None: nowhere, or not known yet."""
        return None if self.asked is None else self.asked.page.next_marker

    async def answer(self) -> AskedPage:
        """The page, once it has arrived, or the error."""
        if self.asked is None:
            await self._begun.answer()
        assert self.asked is not None, "cancelled, and waited for"
        return self.asked


class OrderedPages:
    """One reading of a listing, after the marker *after* to its end.

    A reader that has to wait for its pages has more of them asked for ahead. One that stops
    reading finds none of them again: what was ahead for too long is asked for anew.
    """

    def __init__(
        self,
        ask: Ask,
        changes: OwnChanges,
        nursery: trio.Nursery | None,
        *,
        after: str = "",
        markers: Iterable[str] = (),
        most: float = inf,
    ) -> None:
        """Without *nursery* nothing is asked for ahead. Over *most* pages are an error.

        *markers*, sorted, are where pages may begin. They need not be keys that exist; but one
        inside a common prefix would show it twice.
        """
        self._ask = ask
        self._changes = changes
        self._nursery = nursery
        self._after: str | None = after
        self._markers = deque(marker for marker in markers if marker > after)
        self._most = most
        self._count = 0
        self._ahead: list[_Ahead] = []  # in their order
        self._room = 0 if nursery is None else 1  # for so many
        self._taken_at = -inf

    async def next_page(self) -> AskedPage | None:
        """The page that follows, None after the last. It ends where the next one has begun.

        Raises ProtocolError for a listing that is too long.
        """
        after = self._after
        if after is None:
            return None
        if self._count >= self._most:
            raise ProtocolError(
                f"no end after {self._count} pages, up to {after!r}: take it in smaller pieces",
                operation="GET Bucket",
            )
        asked = await (self._ask(after) if self._is_alone else self._take(after))
        self._taken_at = trio.current_time()
        upto = asked.page.next_marker
        if self._ahead and (upto is None or upto > self._ahead[0].after):
            upto = self._ahead[0].after
        self._after = upto
        self._count += 1
        self._ask_ahead()
        return replace(asked, page=_between(asked.page, after, upto))

    def close(self) -> None:
        """Nobody reads on. Does not yield."""
        for ahead in self._ahead:
            ahead.cancel()
        self._ahead.clear()
        self._after = None

    @property
    def _is_alone(self) -> bool:
        """Whether the page that follows is asked for by itself: the first one always is.

        A task of its own would ask a moment later, when what the caller looked up last may be old.
        """
        return self._nursery is None or self._count == 0

    async def _take(self, after: str) -> AskedPage:
        if not self._ahead or self._ahead[0].after != after:
            self._begin(after)
        first = self._ahead[0]
        if not first.arrived.is_set():
            if trio.current_time() < self._taken_at + LISTING_LAG_S:
                self._room = min(2 * self._room or 1, MOST_AHEAD)
            self._ask_ahead()
            await first.arrived.wait()
        self._ahead.remove(first)
        first.taken.set()
        return await first.answer()

    def _ask_ahead(self) -> None:
        """Ask for the pages that are missing, in order, as far as there is room."""
        while len(self._ahead) < self._room and (marker := self._next_missing()) is not None:
            self._begin(marker)

    def _next_missing(self) -> str | None:
        """Where the first page begins that was not asked for yet, as far as that is known."""
        begins = self._after
        for ahead in self._ahead:
            if begins is not None and begins < ahead.after:
                return begins
            begins = ahead.upto
        last = self._ahead[-1] if self._ahead else None
        if last is None or last.asked is not None:
            return begins
        while self._markers:
            marker = self._markers.popleft()
            if marker > last.after:
                return marker
        return None

    def _begin(self, after: str) -> None:
        assert self._nursery is not None
        ahead = _Ahead(after, self._nursery, self._get)
        insort(self._ahead, ahead, key=attrgetter("after"))

    async def _get(self, ahead: _Ahead) -> None:
        """Have the page ready until it is taken, and own changes since it was asked for known."""
        try:
            ahead.asked = await self._ask(ahead.after)
        finally:
            ahead.arrived.set()
        self._ask_ahead()
        with self._changes.held(ahead.asked.began), trio.move_on_after(LISTING_LAG_S):
            await ahead.taken.wait()
        if not ahead.taken.is_set():
            self._ahead.remove(ahead)
            self._room = 0


async def read_whole(
    ask: Ask, changes: OwnChanges, *, markers: Iterable[str]
) -> list[ListingPage]:
    """All pages of a listing. Raises ProtocolError if it does not end."""
    pages: list[ListingPage] = []
    errors: list[CosfsError] = []
    async with trio.open_nursery() as nursery:
        ordered = OrderedPages(ask, changes, nursery, markers=markers, most=MOST_PAGES)
        try:
            while (asked := await ordered.next_page()) is not None:
                pages.append(asked.page)
        except CosfsError as error:
            errors.append(error)
        ordered.close()
    if errors:
        raise errors[0]
    return pages


class PageEnds:
    """After which names the pages of a directory end that are read one after the other."""

    def __init__(self) -> None:
        self._count = 0
        self._last = ""
        self._ends: list[str] = []

    def add(self, prefix: str, page: ListingPage) -> None:
        """Count what is on the page that follows, of the directory with this *prefix* now."""
        keys = sorted([*(listed.key for listed in page.objects), *page.prefixes])
        ends = keys[MAX_LIST_KEYS - 1 - self._count % MAX_LIST_KEYS :: MAX_LIST_KEYS]
        self._ends += [end[len(prefix) :] for end in ends]
        self._count += len(keys)
        self._last = keys[-1][len(prefix) :] if keys else self._last

    def markers(self) -> list[str]:
        """Those after which another page follows."""
        return [end for end in self._ends if end != self._last]


def _between(page: ListingPage, after: str, upto: str | None) -> ListingPage:
    """What *page* shows after one key and up to another."""

    def is_between(key: str) -> bool:
        return after < key and (upto is None or key <= upto)

    return ListingPage(
        objects=[listed for listed in page.objects if is_between(listed.key)],
        prefixes=[below for below in page.prefixes if is_between(below)],
        next_marker=upto,
    )
