"""Planned misbehaviour: rules that say which request goes wrong, and how.

A rule in text is a line of ``name=value`` fields, ``nth=3 operation=UploadPart status=503``:

which      ``operation`` (as in the request log), ``key`` (glob); all if not given
when       ``nth`` (that one of the matching requests) | ``every`` (each n-th) |
           ``probability`` (0 to 1, seeded); always if not given; ``times``: at most so often
answer     ``status``, ``code`` (an error instead of the work), ``retry_after`` (seconds),
           ``error_in_200`` (Copy and Complete: an <Error> after the 200), ``no_request_id``,
           ``body`` (this text as the answer's body, such as a proxy's page), ``wrong_crc64``
time       ``delay`` (seconds before the work), ``bandwidth`` (bytes a second, both ways)
damage     ``cut`` (end the connection after so many bytes of the object's body, whichever way
           it goes), ``reset`` (end it with RST before the work), ``lose`` (do the work, end it
           before the answer), ``corrupt`` (flip a bit of the first byte of the body on its way),
           ``stall`` (after so many bytes of a body nothing moves any more; 0 for a black hole),
           ``padding`` (blanks before the answer's document, as COS sends while it is busy)

Of the rules that are due, the first one in order happens; the others are counted nevertheless.
"""

import random
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Final

from cosfs.emulator.routing import OPERATION_NAMES

_TOO_MUCH: Final = 1e18  # of bytes or seconds
_OPERATIONS: Final = frozenset(name.lower() for name in OPERATION_NAMES)


class FaultSyntaxError(ValueError):
    """A rule's text cannot be understood; the message says which field."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule; see the module."""

    operation: str = ""
    key: str = "*"
    nth: int | None = None
    every: int | None = None
    probability: float | None = None
    times: int | None = None
    status: int | None = None
    code: str | None = None
    retry_after: int | None = None
    error_in_200: bool = False
    no_request_id: bool = False
    body: str | None = None
    wrong_crc64: bool = False
    delay: float = 0.0
    bandwidth: float | None = None
    cut: int | None = None
    reset: bool = False
    lose: bool = False
    corrupt: bool = False
    stall: int | None = None
    padding: int = 0

    def __post_init__(self) -> None:
        if self.operation and self.operation.lower() not in _OPERATIONS:
            raise FaultSyntaxError(f"operation={self.operation}: no such operation")
        if self.status is not None and not 200 <= self.status < 600:
            raise FaultSyntaxError(f"status={self.status}: not the status of an answer")
        if self.every == 0:
            raise FaultSyntaxError("every=0: from 1")

    def matches(self, operation: str, key: str) -> bool:
        wanted = self.operation.lower()
        return wanted in ("", operation.lower()) and fnmatchcase(key, self.key)


@dataclass(slots=True)
class _Counted:
    fault: Fault
    seen: int = 0
    fired: int = 0

    def is_due(self, chance: random.Random) -> bool:
        self.seen += 1
        fault = self.fault
        if fault.times is not None and self.fired >= fault.times:
            return False
        if fault.nth is not None:
            return self.seen == fault.nth
        if fault.every is not None:
            return self.seen % fault.every == 0
        return fault.probability is None or chance.random() < fault.probability


@dataclass(slots=True)
class Faults:
    """The rules in force. Their counters start when they are set."""

    seed: int = 0
    _rules: list[_Counted] = field(default_factory=list)
    _chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)  # noqa: S311  # repeatable on purpose

    def set(self, rules: Sequence[Fault]) -> None:
        """Replace all rules."""
        self._rules = [_Counted(fault) for fault in rules]
        self._chance.seed(self.seed)

    def add(self, fault: Fault) -> None:
        """Put a rule after the others."""
        self._rules.append(_Counted(fault))

    def due(self, operation: str, key: str) -> Fault | None:
        """Count a request; what is to happen to it."""
        matching = [rule for rule in self._rules if rule.fault.matches(operation, key)]
        due = [rule for rule in matching if rule.is_due(self._chance)]
        if not due:
            return None
        due[0].fired += 1
        return due[0].fault


def parse_faults(text: str) -> list[Fault]:
    """Rules, one a line; blank lines and those after ``#`` are skipped."""
    lines = (line.strip() for line in text.splitlines())
    return [parse_fault(line) for line in lines if line and not line.startswith("#")]


def parse_fault(line: str) -> Fault:
    """One rule. Raises FaultSyntaxError."""
    try:
        items = [item.partition("=") for item in shlex.split(line)]
    except ValueError as error:
        raise FaultSyntaxError(f"{line}: {error}") from error
    written = _Written({name: value for name, _, value in items})
    unknown = written.texts.keys() - {known.name for known in fields(Fault)}
    if unknown:
        raise FaultSyntaxError(f"{min(unknown)}: no such field in a fault rule")
    return Fault(
        operation=written.texts.get("operation", ""),
        key=written.texts.get("key", "*"),
        nth=written.integer("nth"),
        every=written.integer("every"),
        probability=written.number("probability"),
        times=written.integer("times"),
        status=written.integer("status"),
        code=written.texts.get("code"),
        retry_after=written.integer("retry_after"),
        error_in_200=written.flag("error_in_200"),
        no_request_id=written.flag("no_request_id"),
        body=written.texts.get("body"),
        wrong_crc64=written.flag("wrong_crc64"),
        delay=written.number("delay") or 0.0,
        bandwidth=written.number("bandwidth"),
        cut=written.integer("cut"),
        reset=written.flag("reset"),
        lose=written.flag("lose"),
        corrupt=written.flag("corrupt"),
        stall=written.integer("stall"),
        padding=written.integer("padding") or 0,
    )


@dataclass(frozen=True, slots=True)
class _Written:
    """A rule's fields as text."""

    texts: Mapping[str, str]

    def integer(self, name: str) -> int | None:
        value = self.number(name)
        return None if value is None else int(value)

    def number(self, name: str) -> float | None:
        if name not in self.texts:
            return None
        try:
            value = float(self.texts[name])
        except ValueError as error:
            raise FaultSyntaxError(f"{name}={self.texts[name]}: a number is needed") from error
        if not 0 <= value < _TOO_MUCH:
            raise FaultSyntaxError(f"{name}={self.texts[name]}: from 0 to {_TOO_MUCH:g}")
        return value

    def flag(self, name: str) -> bool:
        """Set by its name alone, too."""
        return name in self.texts and self.texts[name].lower() not in ("0", "no", "false")
