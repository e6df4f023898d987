"""The bodies of one exchange on their way, between httpx's streams and what keeps the bytes.

Owns in which pieces a request's body goes out, and that an answer's is read to its end, or closed.
Invariants: a request's body can go out again; an answer that is read whole is bounded. Knows of
no attempt and no deadline: it tells of what has moved to whoever has those.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import httpx

from cosfs.cos.connection import Body as AnswerBody
from cosfs.cos.connection import Chunks
from cosfs.cos.download import Download
from cosfs.cos.model import Body
from cosfs.cos.wire import Malformed

MAX_ANSWER_SIZE: Final = 8 << 20  # a full listing page has under 4 MiB; more is no COS
_JOIN_SIZE: Final = (
    256 << 10
)  # one memory copy of this costs less than a system call for 4 KiB each


class RequestBody(httpx.AsyncByteStream):
    """A body on its way out; *sent* is told how much of it was taken."""

    def __init__(self, body: Body, sent: Callable[[int], None]) -> None:
        self._body = body
        self._sent = sent

    def __aiter__(self) -> AsyncIterator[bytes]:
        return _Pieces(_joined(self._body), self._sent)


class _Pieces(AsyncIterator[bytes]):
    # No async generator: what is iterated is dropped when a connection breaks, and trio warns of
    # generators that were dropped.
    def __init__(self, pieces: Iterator[bytes], sent: Callable[[int], None]) -> None:
        self._pieces = pieces
        self._sent = sent
        self._position = 0

    async def __anext__(self) -> bytes:
        self._sent(self._position)  # who asks for more has written what there was
        for piece in self._pieces:
            self._position += len(piece)
            return piece
        raise StopAsyncIteration


def _joined(body: Body) -> Iterator[bytes]:
    """The bytes of *body*, small chunks joined: each costs a system call."""
    joined: list[bytes] = []
    size = 0
    for chunk in body:
        if size and size + len(chunk) > _JOIN_SIZE:
            yield b"".join(joined)
            joined, size = [], 0
        if chunk:
            joined.append(chunk)
            size += len(chunk)
    if size:
        yield b"".join(joined)


async def read_into(
    response: httpx.Response, download: Download, moved: Callable[[], None]
) -> None:
    """Let *download* have an answer's body; *moved* is told whenever some of it has come."""
    body = _body_of(response)
    try:
        while room := download.room():
            size = await body.receive_into(room)
            if not size:
                return
            download.take(size)
            moved()
        # Its end as well: else the connection could not be used again.
        await body.receive_into(memoryview(bytearray(1)))
    finally:
        await body.aclose()


async def read_whole(
    response: httpx.Response, received: Callable[[int], None] = lambda _: None
) -> bytes:
    """The body of an answer, bounded. Malformed past MAX_ANSWER_SIZE."""
    # Not aread(): its bookkeeping costs as much as the bytes of a small chunk.
    body = _body_of(response)
    chunks: list[bytes] = []
    size = 0
    try:
        while chunk := await body.receive():
            size += len(chunk)
            if size > MAX_ANSWER_SIZE:
                raise Malformed(f"an answer of over {MAX_ANSWER_SIZE} bytes")
            chunks.append(chunk)
            received(size)
    finally:
        await body.aclose()
    return b"".join(chunks)


def _body_of(response: httpx.Response) -> AnswerBody | Chunks:
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    return stream if isinstance(stream, AnswerBody) else Chunks(stream)
