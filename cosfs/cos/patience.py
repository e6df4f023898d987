"""How long an operation may go on, its attempts included. Knows neither HTTP nor COS.

A request about names ends within the timeout. One that moves an object's bytes, or waits while
COS moves them, ends when nothing new has moved for twice the timeout: it outlives a server that is
away for a minute, and not one that is away for good. Whatever moves, an end is set from the start:
twice the timeout, and what the bytes need at the slowest pace.
"""

from typing import Final

import trio

SLOWEST_BYTES_PER_S: Final = 64 << 10  # slower than this, a body counts as stuck
# COS answers a copy or a completion at once, with white space until it is done, which may take
# minutes. Tencent's Python SDK waits as long.
MERGE_S: Final = 1200.0
INACTIVITY_S: Final = 30.0  # without one byte moving, an attempt is given up
_LEAD_S: Final = 0.05


class OperationTime:
    """The time of one operation. *scope* ends with it; what moves puts its end off.

    *since* is when it began to count; *most_s* is for how long what moves may put the end off.
    """

    def __init__(self, *, since: float, patience_s: float, most_s: float) -> None:
        self.silent_since = since  # without an answer, and with nothing new moved, while asking
        self._moved_at = since
        self._since = since
        self._was_answered = True
        self._patience_s = patience_s
        self._last = since + patience_s + most_s
        self._sent = 0
        self._received = 0
        self.scope = trio.CancelScope(deadline=min(since + patience_s, self._last))

    def allow(self, size: int) -> None:
        """*size* more bytes are to move, as has turned out."""
        self._last += body_allowance_s(size)

    def attempt(self) -> None:
        """An attempt begins. After an answer, silence begins with it: nobody asked before."""
        if self._was_answered:
            self.silent_since = max(self.silent_since, trio.current_time())
            self._was_answered = False

    def moved(self) -> None:
        """Something new has come. Does not yield."""
        self._moved_at = self.silent_since = trio.current_time()
        self._end_at(self._moved_at + self._patience_s)

    def sent(self, position: int) -> None:
        """The body was taken up to *position*, by the socket at least.

        Each attempt's first bytes go into a buffer, whether or not anybody reads them: what an
        earlier attempt has sent already is no news.
        """
        if position > self._sent:
            self._sent = position
            self.moved()

    def received(self, position: int) -> None:
        """An answer has come up to *position*, which is news as with ``sent``."""
        if position > self._received:
            self._received = position
            self.moved()

    def end_before_caller(self) -> None:
        """End just before the caller's own deadline: in time to say what is wrong."""
        self._last = min(self._last, trio.current_effective_deadline() - _LEAD_S)
        self._end_at(self.scope.deadline)

    def hurry(self, seconds: float) -> None:
        """End after *seconds* unless the server answers before."""
        self._end_at(self._since + seconds)

    def answered(self) -> None:
        """The server is there, so the operation has its whole time."""
        self._was_answered = True
        self._end_at(max(self.scope.deadline, self._moved_at + self._patience_s))

    def _end_at(self, moment: float) -> None:
        end = min(moment, self._last)
        if end != self.scope.deadline:  # to set it costs trio fifty times as much as to look
            self.scope.deadline = end


def body_allowance_s(size: int) -> float:
    """Seconds that a body of *size* bytes may take on top of the operation's own time."""
    return size / SLOWEST_BYTES_PER_S
