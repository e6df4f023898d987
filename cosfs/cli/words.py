"""How the commands put what a mount answers into words."""

import re
from typing import Final

_UNSHOWABLE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def printable(text: str) -> str:
    """*text* with escapes for what a terminal would obey or could not show."""
    return _UNSHOWABLE.sub(lambda found: ascii(found[0])[1:-1], text)


def number(value: object) -> float:
    """A number of an answer."""
    assert isinstance(value, int | float), value
    return value


def names_in(files: object) -> list[str]:
    """The paths of the files of an answer."""
    assert isinstance(files, list), files
    return [str(file["path"]) for file in files]


def size_of(value: object) -> str:
    """A number of bytes, to four digits."""
    size = number(value)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} TiB"


def count_of(value: object, noun: str) -> str:
    """``1 file``, ``2 files``."""
    count = number(value)
    return f"{count:g} {noun}" if count == 1 else f"{count:g} {noun}s"


def span_of(seconds: float) -> str:
    """A time, in its two largest units."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    return f"{hour} h {minute} min" if hours else f"{minute} min {second} s"


def some_of(names: list[str], *, most: int = 3) -> str:
    """The first names, quoted, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(repr(name) for name in names[:most]) + more
