"""Pages of listings: what an answer to GET Bucket tells, and that it answers what was asked.

A page that is as it was the last time is not read again. Listings are asked for again and again,
as long as somebody uses them, and reading XML is most of what that costs; telling that nothing has
changed takes a fiftieth of it.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from cachetools import LRUCache

from cosfs.cos.model import ListingPage
from cosfs.cos.wire import Malformed, parse_listing

_MOST_NAMES: Final = 20_000  # on the pages that are kept, 0.4 KB each


@dataclass(frozen=True, slots=True, kw_only=True)
class PageQuestion:
    """What GET Bucket is asked for: ``max-keys`` keys below *prefix*, after *marker*."""

    prefix: str
    delimiter: str
    marker: str
    max_keys: int


@dataclass(frozen=True, slots=True)
class _Kept:
    digest: bytes
    page: ListingPage


class PageReader:
    """Reads pages, and keeps the latest ones. A page is shared by all who ask for it."""

    def __init__(self) -> None:
        self._kept: LRUCache[PageQuestion, _Kept] = LRUCache(_MOST_NAMES, _names_on)

    def read(self, question: PageQuestion, body: bytes) -> ListingPage:
        """The page that *body* is. Raises Malformed, also if it does not answer *question*."""
        digest = hashlib.sha256(body).digest()
        known = self._kept.get(question)
        if known is not None and known.digest == digest:
            return known.page
        page = parse_listing(body)
        _require_answer(question, page)
        kept = _Kept(digest, page)
        if _names_on(kept) <= _MOST_NAMES:
            self._kept[question] = kept
        return page


def _names_on(kept: _Kept) -> int:
    return 1 + len(kept.page.objects) + len(kept.page.prefixes)


def _require_answer(question: PageQuestion, page: ListingPage) -> None:
    """Malformed if *page* shows what is not below the prefix: its names are made by cutting that.

    And if its next marker stands still, which would list for ever.
    """
    prefix = question.prefix
    for listed in page.objects:
        if not listed.key.startswith(prefix):
            raise Malformed(f"key {listed.key!r} is not below {prefix!r}")
    for below in page.prefixes:
        ends_well = below.endswith(question.delimiter)
        if below == prefix or not below.startswith(prefix) or not ends_well:
            raise Malformed(f"prefix {below!r} is none of {prefix!r}")
    # Code point order is UTF-8 byte order.
    if page.next_marker is not None and page.next_marker <= question.marker:
        raise Malformed(f"next marker {page.next_marker!r} after {question.marker!r}")
