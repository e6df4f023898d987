"""If-* headers, in both their forms, and Range: what a request asks of an object. Pure."""

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from cosfs.emulator.messages import Headers
from cosfs.emulator.records import Stored
from cosfs.emulator.refusals import Refusal

COPY_SOURCE_PREFIX: Final = "x-cos-copy-source-"
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


class NotModified(Exception):
    """If-None-Match or If-Modified-Since says that the client has this already."""


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from *start* up to, not including, *stop*."""

    start: int
    stop: int


def check_conditions(stored: Stored, headers: Headers, *, prefix: str = "") -> None:
    """Raises NotModified, or Refusal where a condition on a copy source or a match fails."""
    match = headers.get(f"{prefix}if-match")
    unmodified = headers.get(f"{prefix}if-unmodified-since")
    if match is not None:
        if not _matches(stored, match):
            raise Refusal("PreconditionFailed")
    elif unmodified is not None and _is_newer(stored, unmodified):
        raise Refusal("PreconditionFailed")
    none_match = headers.get(f"{prefix}if-none-match")
    modified = headers.get(f"{prefix}if-modified-since")
    if none_match is not None:
        unchanged = _matches(stored, none_match)
    else:
        unchanged = modified is not None and not _is_newer(stored, modified)
    if unchanged and prefix:
        raise Refusal("PreconditionFailed")
    if unchanged:
        raise NotModified


def _matches(stored: Stored, header: str) -> bool:
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in header.split(",")}
    return "*" in tags or stored.etag in tags


def _is_newer(stored: Stored, date: str) -> bool:
    try:
        return int(stored.modified) > parsedate_to_datetime(date).timestamp()
    except ValueError:
        return False  # RFC 9110: a date that cannot be read is ignored


def requested_span(header: str, size: int) -> Span | None:
    """The one range that *header* names, None if it is no byte range and so to be ignored."""
    found = _RANGE.fullmatch(header.strip())
    if "," in header:
        raise Refusal("InvalidRange", "only one range is supported")
    if found is None or found[0] == "bytes=-":
        return None
    first, last = found[1], found[2]
    if not first:
        span = Span(max(size - int(last), 0), size)
    else:
        span = Span(int(first), min(int(last) + 1, size) if last else size)
        if last and int(last) < int(first):
            return None
    if span.start >= size or span.start >= span.stop:
        raise Refusal("InvalidRange")
    return span


def copy_span(header: str, size: int) -> Span:
    """The range of x-cos-copy-source-range, which must lie within the source."""
    found = _RANGE.fullmatch(header.strip())
    if found is None or not found[1] or not found[2]:
        raise Refusal("InvalidArgument", "x-cos-copy-source-range must be bytes=first-last")
    span = Span(int(found[1]), int(found[2]) + 1)
    if span.start >= span.stop or span.stop > size:
        raise Refusal("InvalidRange")
    return span
