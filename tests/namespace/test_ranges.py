"""Pages on their way side by side: what they show is what one after the other would."""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosfs.cos.model import MAX_LIST_KEYS, ETag, Key, ListedObject, ListingPage
from cosfs.emulator.listing import Window, read_page
from cosfs.errors import ProtocolError, ServiceBusy
from cosfs.namespace import ranges
from cosfs.namespace.changes import OwnChanges
from cosfs.namespace.ranges import AskedPage, OrderedPages, PageEnds, read_whole
from tests.support.jumping import run_jumping

jumping = pytest.mark.trio(run=run_jumping)

DELAY_S = 0.03
PAGE = 3  # keys

parts = st.text(st.sampled_from("ab_é\U0010ffff"), min_size=1, max_size=2)
keys = st.builds(
    lambda name, more: name + more,
    parts,
    st.sampled_from(["", "", "/", "/x", "/y", "_$folder$", "-0", "-1", "-2"]),
)
buckets = st.sets(keys, max_size=40)


@dataclass
class Server:
    """A bucket whose pages are short, and which counts what it is asked."""

    keys: Iterable[str]
    page: int = PAGE
    delimiter: str = "/"
    delays_s: Sequence[float] = (DELAY_S,)
    asked: list[str] = field(default_factory=list)
    most_at_once: int = 0
    changes: OwnChanges = field(default_factory=OwnChanges)
    _at_once: int = 0

    async def ask(self, marker: str) -> AskedPage:
        """The page after *marker* as it is now, a while later."""
        self.asked.append(marker)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            with self.changes.request() as began:
                page = self._page_after(marker)
                await trio.sleep(self.delays_s[len(self.asked) % len(self.delays_s)])
            return AskedPage(page=page, began=began)
        finally:
            self._at_once -= 1

    def _page_after(self, marker: str) -> ListingPage:
        ordered = sorted(self.keys)

        def seek(start: bytes) -> Iterator[ListedObject]:
            return (listed(key) for key in ordered if key.encode() >= start)

        page = read_page(seek, Window(delimiter=self.delimiter, after=marker, limit=self.page))
        return ListingPage(
            objects=page.entries,
            prefixes=page.groups,
            next_marker=page.last if page.truncated else None,
        )

    def pages(self, nursery: trio.Nursery | None, markers: Sequence[str] = ()) -> OrderedPages:
        return OrderedPages(self.ask, self.changes, nursery, markers=markers)


def listed(key: str) -> ListedObject:
    return ListedObject(
        key=Key(key), size=0, etag=ETag("e"), modified_ns=0, storage_class="STANDARD"
    )


def numbered(count: int) -> list[str]:
    return [f"{number:05}" for number in range(count)]


def shown(page: ListingPage) -> list[str]:
    return [*page.prefixes, *(each.key for each in page.objects)]


async def rest(pages: OrderedPages) -> list[str]:
    """All that is left, in the order of the pages."""
    found: list[str] = []
    while (asked := await pages.next_page()) is not None:
        found += sorted(shown(asked.page))
    return found


@pytest.fixture
async def nursery() -> AsyncIterator[trio.Nursery]:
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


def ends_of(keys: Sequence[str]) -> list[str]:
    """Where pages of PAGE keys end."""
    return list(keys[PAGE - 1 : -1 : PAGE])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    before=buckets,
    after=buckets,
    unseen=st.lists(parts),
    delays=st.lists(st.sampled_from([DELAY_S, 2 * DELAY_S]), min_size=1),
)
def test_side_by_side_shows_what_one_after_the_other_does(
    before: set[str], after: set[str], unseen: list[str], delays: list[float]
) -> None:
    """Whatever was there when the markers were learnt, and whatever they are."""

    async def read() -> None:
        serial = await rest(Server(before).pages(None))
        markers = sorted({*ends_of(serial), *unseen})
        for now in (before, after):
            alone, together = Server(now), Server(now, delays_s=delays)
            expected = await rest(alone.pages(None))
            async with trio.open_nursery() as nursery:
                found = await rest(together.pages(nursery, markers))
                nursery.cancel_scope.cancel()
            assert found == expected
            assert len(together.asked) <= len(alone.asked) + len(markers)
        async with trio.open_nursery() as nursery:
            known = Server(before)
            assert await rest(known.pages(nursery, ends_of(serial))) == serial
            assert sorted(known.asked) == ["", *ends_of(serial)]
            nursery.cancel_scope.cancel()

    run_jumping(read)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 2 * MAX_LIST_KEYS), max_size=5))
def test_ends_are_those_of_full_pages(sizes: list[int]) -> None:
    names = numbered(sum(sizes))
    ends = PageEnds()
    start = 0
    for size in sizes:
        found = [listed(f"d/{name}") for name in names[start : start + size]]
        ends.add("d/", ListingPage(objects=found, prefixes=(), next_marker=None))
        start += size

    assert ends.markers() == names[MAX_LIST_KEYS - 1 : -1 : MAX_LIST_KEYS]


@jumping
async def test_reader_that_waits_has_ever_more_pages_on_their_way(nursery: trio.Nursery) -> None:
    names = numbered(40 * PAGE)
    server = Server(names)
    began = trio.current_time()

    assert await rest(server.pages(nursery, ends_of(names))) == names

    assert len(server.asked) == 40
    assert server.most_at_once == ranges.MOST_AHEAD
    assert trio.current_time() - began < 40 * DELAY_S / 2


@jumping
async def test_first_page_is_asked_for_alone(nursery: trio.Nursery) -> None:
    names = numbered(40 * PAGE)
    server = Server(names)
    pages = server.pages(nursery, ends_of(names))

    nursery.start_soon(pages.next_page)
    await trio.testing.wait_all_tasks_blocked()

    assert server.asked == [""]


@jumping
async def test_reader_that_is_slower_than_the_pages_has_one_ahead(nursery: trio.Nursery) -> None:
    names = numbered(20 * PAGE)
    server = Server(names)
    pages = server.pages(nursery, ends_of(names))

    for page in range(10):
        assert await pages.next_page() is not None
        await trio.sleep(1)
        assert len(server.asked) == page + 2


@jumping
async def test_reader_that_stops_has_few_pages_ahead_and_none_for_long(
    nursery: trio.Nursery,
) -> None:
    names = numbered(100 * PAGE)
    server = Server(names)
    pages = server.pages(nursery, ends_of(names))
    for _ in range(20):
        await pages.next_page()

    await trio.sleep(3600)
    assert len(server.asked) <= 20 + ranges.MOST_AHEAD
    assert nursery.child_tasks == frozenset()
    server.keys = [name for name in names if name != names[21 * PAGE]]

    assert await rest(pages) == sorted(server.keys)[20 * PAGE :]


@jumping
async def test_reader_that_takes_long_over_each_page_costs_hardly_more(
    nursery: trio.Nursery,
) -> None:
    names = numbered(50 * PAGE)
    server = Server(names)
    pages = server.pages(nursery, ends_of(names))

    for _ in range(50):
        assert await pages.next_page() is not None
        await trio.sleep(60)

    assert len(server.asked) <= 50 + 2


@jumping
async def test_range_that_grew_goes_on_while_others_are_read(nursery: trio.Nursery) -> None:
    names = numbered(40 * PAGE)
    more = sorted([*names, *(f"{name}+" for name in names)])
    server = Server(more)
    began = trio.current_time()

    assert await rest(server.pages(nursery, ends_of(names))) == more

    assert len(server.asked) <= 80 + 1
    assert trio.current_time() - began < 80 * DELAY_S / 2


@jumping
async def test_error_is_told_in_its_turn_and_the_page_asked_for_again(
    nursery: trio.Nursery,
) -> None:
    names = numbered(9 * PAGE)
    server = Server(names)
    failing = {ends_of(names)[4]}

    async def ask(marker: str) -> AskedPage:
        if marker in failing:
            failing.remove(marker)
            raise ServiceBusy("x", operation="GET Bucket", status=503, code="x")
        return await server.ask(marker)

    pages = OrderedPages(ask, server.changes, nursery, markers=ends_of(names))
    for _ in range(5):
        assert await pages.next_page() is not None
    with pytest.raises(ServiceBusy):
        await pages.next_page()

    assert await rest(pages) == names[5 * PAGE :]


@jumping
async def test_reading_that_ends_early_ends_what_is_on_its_way(nursery: trio.Nursery) -> None:
    names = numbered(40 * PAGE)
    server = Server(names)
    pages = server.pages(nursery, ends_of(names))
    for _ in range(5):
        await pages.next_page()
    assert nursery.child_tasks

    pages.close()
    await trio.testing.wait_all_tasks_blocked()

    assert nursery.child_tasks == frozenset()
    assert await pages.next_page() is None


@jumping
async def test_whole_listing_is_read_side_by_side() -> None:
    names = numbered(40 * PAGE)
    server = Server(names, delimiter="")

    pages = await read_whole(server.ask, server.changes, markers=ends_of(names))

    assert [key for page in pages for key in shown(page)] == names
    assert server.most_at_once == ranges.MOST_AHEAD
    assert len(server.asked) == 40


@jumping
async def test_whole_listing_that_has_no_end_is_given_up() -> None:
    server = Server([])

    async def ask(marker: str) -> AskedPage:
        page = ListingPage(objects=(), prefixes=(), next_marker=f"{int(marker or 0) + 1:09}")
        return AskedPage(page=page, began=server.changes.moment())

    with pytest.raises(ProtocolError, match="no end after 2000 pages"):
        await read_whole(ask, server.changes, markers=())
