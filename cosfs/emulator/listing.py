"""Pages over sorted keys: prefix, delimiter, marker. Pure; the keys come from a seek function."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar


class Keyed(Protocol):
    """Something that has a key."""

    @property
    def key(self) -> str: ...


T = TypeVar("T", bound=Keyed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Which keys are wanted. *after* is a lower bound of which nothing itself is wanted."""

    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    limit: int = 1000

    def start(self) -> bytes:
        """The least key that may be in the window."""
        prefix, after = self.prefix.encode(), self.after.encode()
        if after and self.group_of(self.after) == self.after:
            return max(prefix, _past(after))  # the marker is a group: all of it was listed
        return max(prefix, after + b"\0" if after else b"")

    def group_of(self, key: str) -> str | None:
        """The common prefix that stands for *key*, None if it stands for itself."""
        if not self.delimiter or not key.startswith(self.prefix):
            return None
        end = key.find(self.delimiter, len(self.prefix))
        return None if end < 0 else key[: end + len(self.delimiter)]


@dataclass(slots=True, kw_only=True)
class Page(Generic[T]):
    """What a listing shows at once; *last* is the greatest key or group on it."""

    entries: list[T] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    last: str = ""
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.entries) + len(self.groups)


def read_page(seek: Callable[[bytes], Iterator[T]], window: Window) -> Page[T]:
    """The first page of *window*; seek(start) gives the keyed things from *start* on, in order.

    One seek for each group: the keys inside a group are never visited.
    """
    page: Page[T] = Page()
    entries = seek(window.start())
    while (entry := next(entries, None)) is not None and entry.key.startswith(window.prefix):
        if len(page) >= window.limit:
            page.truncated = True
            break
        group = window.group_of(entry.key)
        if group is None:
            page.entries.append(entry)
            page.last = entry.key
        else:
            page.groups.append(group)
            page.last = group
            entries = seek(_past(group.encode()))
    return page


def _past(group: bytes) -> bytes:
    """The least bytes after all that begin with *group*, whose last byte is never 0xff: UTF-8."""
    return group[:-1] + bytes([group[-1] + 1])
