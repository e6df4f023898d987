"""From the text of one option to its value. Pure; ValueError says what would be right.

Sizes are bytes, times seconds. Knows no option by name.
"""

import math
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

_Choice = TypeVar("_Choice", bound=StrEnum)

_SIZE = re.compile(r"([0-9]+)(?:([KMGT])(?:i?B)?|B)?", re.IGNORECASE)
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)")
_SECONDS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SWITCH: Final = {"1": True, "yes": True, "true": True, "0": False, "no": False, "false": False}


# minimal: long enough for the several questions of one system call to cost one request.
_LIFETIMES: Final = {"minimal": 0.1, "indefinite": math.inf}


def size(text: str) -> int:
    """Bytes in ``8M``, ``8MiB``, ``8MB`` (all 8 * 2**20) or ``8388608``. Raises ValueError."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError("give a size such as 8M, 1GiB or a number of bytes")
    number, unit = match.groups()
    return int(number) << (10 * " KMGT".index((unit or " ").upper()))


def duration(text: str) -> float:
    """Seconds in ``30``, ``30s``, ``1.5m``, ``2h`` or ``7d``. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError("give a time such as 30, 30s, 10m or 7d")
    return float(match[1]) * _SECONDS[match[2]]


def size_between(text: str, *, least: int, most: int) -> int:
    number = size(text)
    if not least <= number <= most:
        raise ValueError(f"must be from {format_size(least)} to {format_size(most)}")
    return number


def format_size(size: int) -> str:
    """The shortest exact form with a binary unit: ``256 MiB``, ``1 GiB``, ``1000 B``."""
    for shift, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if size and size % (1 << shift) == 0:
            return f"{size >> shift} {unit}"
    return f"{size} B"


def seconds_between(text: str, *, least: float, most: float) -> float:
    seconds = duration(text)
    if not least <= seconds <= most:
        raise ValueError(f"must be from {least:g} to {most:g} seconds")
    return seconds


def lifetime(text: str, *, most: float) -> float:
    """Seconds that something is trusted for: a time, ``minimal`` or ``indefinite``."""
    if text.lower() in _LIFETIMES:
        return _LIFETIMES[text.lower()]
    try:
        return seconds_between(text, least=0, most=most)
    except ValueError as error:
        raise ValueError(f"{error}, minimal or indefinite") from None


def count(text: str, *, least: int, most: int) -> int:
    if re.fullmatch("[0-9]+", text) is None or not least <= int(text) <= most:
        raise ValueError(f"must be a whole number from {least} to {most}")
    return int(text)


def identity(text: str) -> int:
    return count(text, least=0, most=0xFFFF_FFFE)  # uid_t; 2**32 - 1 means "no change" to chown


def permission_bits(text: str) -> int:
    if re.fullmatch("[0-7]{1,4}", text) is None or int(text, 8) > 0o777:
        raise ValueError("must be octal permission bits such as 022")
    return int(text, 8)


def choice(text: str, kind: type[_Choice]) -> _Choice:
    try:
        return kind(text.lower())
    except ValueError:
        raise ValueError(f"must be one of {', '.join(kind)}") from None


def switch(text: str) -> bool:
    if text.lower() not in _SWITCH:
        raise ValueError("takes no value, or 1 or 0")
    return _SWITCH[text.lower()]


def one_of(text: str, choices: Sequence[str]) -> str:
    if text not in choices:
        raise ValueError(f"must be one of {', '.join(choices)}")
    return text


def encryption(text: str) -> str:
    if text not in ("cos", "kms") and re.fullmatch(r"kms:.+", text) is None:
        raise ValueError("must be cos, kms or kms:KEY-ID")
    return text


def file(text: str) -> Path:
    """An absolute path: a mount in the background leaves the directory it was started in."""
    return Path(text).expanduser().absolute()
