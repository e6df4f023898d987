"""What was asked of the emulator: records of requests, and their lines in a log."""

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

_KEPT: Final = 100_000  # records; a long run must not fill the memory


@dataclass(slots=True, kw_only=True)
class Record:
    """A request; times in seconds since the epoch, *ended* None while it is under way.

    *status* is what was answered, None if the connection ended before the head of an answer.
    """

    started: float
    ended: float | None = None
    operation: str
    method: str
    bucket: str
    key: str
    query: str
    status: int | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    outcome: str = ""  # "", or how the connection ended

    def line(self) -> str:
        """For the log."""
        ended = self.started if self.ended is None else self.ended
        started = datetime.fromtimestamp(self.started, UTC).isoformat(timespec="milliseconds")
        now = datetime.fromtimestamp(ended, UTC).isoformat(timespec="milliseconds")
        part = self.query.partition("&")[0] if self.query.startswith("partNumber=") else ""
        return (
            f"{now} {self.operation} {self.key or '-'}{part and f' {part}'}"
            f" status={self.status or '-'} in={self.bytes_in} out={self.bytes_out}"
            f" ms={(ended - self.started) * 1000:.1f} started={started}"
            f"{self.outcome and f' outcome={self.outcome}'}"
        )


class RequestLog:
    """The latest records, in the order in which the requests began."""

    def __init__(self, write_line: Callable[[str], None] | None = None) -> None:
        self._records: deque[Record] = deque(maxlen=_KEPT)
        self._write_line = write_line

    def begin(self, record: Record) -> None:
        self._records.append(record)

    def end(self, record: Record, *, now: float) -> None:
        """The last byte of the answer is out, or never will be. Harmless when repeated."""
        if record.ended is None:
            record.ended = now
            if self._write_line is not None:
                self._write_line(record.line())

    def records(self, operation: str | None = None) -> list[Record]:
        """All of them, or those of one operation."""
        return [each for each in self._records if operation in (None, each.operation)]

    def clear(self) -> None:
        self._records.clear()

    def as_json_values(self) -> list[dict[str, str | int | float | None]]:
        return [asdict(record) for record in self._records]
