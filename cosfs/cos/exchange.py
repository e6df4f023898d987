"""A request as an operation wants it and the answer as it is read: values, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from cosfs.cos.endpoint import Endpoint
from cosfs.cos.model import Body

SMALL_SIZE: Final = 256 << 10  # what a link of 20 Mbit/s moves in a tenth of a second


class Lane(StrEnum):
    """The requests that wait for each other; each lane has a limit of its own."""

    METADATA = "metadata"
    SMALL = "small"  # carries an object's bytes, too few to wait behind parts
    DATA = "data"  # carries many
    MERGE = "merge"  # copies and completions, which may take COS minutes


def data_lane(size: int) -> Lane:
    """The lane of a request that carries *size* bytes of an object, one way or the other."""
    return Lane.SMALL if size <= SMALL_SIZE else Lane.DATA


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request before it is signed. Header names are in lower case.

    *operation* is COS's name for it. *must_try*: a program has been told already that it is done,
    so it is not given up before it was tried.
    """

    operation: str
    method: str
    endpoint: Endpoint
    key: str = ""
    query: tuple[tuple[str, str], ...] = ()  # the sub-resource first: COS routes by it
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = ()
    lane: Lane = Lane.METADATA
    must_try: bool = False

    @property
    def size(self) -> int:
        return sum(map(len, self.body))

    @property
    def is_patient(self) -> bool:
        """Whether somebody is in the middle of a file: it outlives an outage of a minute."""
        return self.must_try or self.lane is not Lane.METADATA


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An answer, read whole."""

    status: int
    headers: Mapping[str, str]
    body: bytes
