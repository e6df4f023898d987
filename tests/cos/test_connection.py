"""One connection against a server that says anything, in pieces of any size."""

import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import h11
import httpx
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from cosfs.cos.connection import Body, Connection, Stream

OK = b"HTTP/1.1 200 OK\r\n"
HEAD_LIMIT = 64 << 10


class Script(Stream):
    """Receives *pieces*, one at a time, then the end; remembers what was sent."""

    def __init__(self, pieces: Iterable[bytes], *, takes: int = 1 << 30) -> None:
        """*takes*: bytes until sending fails."""
        self.pieces = [piece for piece in pieces if piece]
        self._takes = takes
        self.sent = b""
        self.is_closed = False

    @property
    def is_readable(self) -> bool:
        return bool(self.pieces)

    async def receive(self, most: int, limit_s: float | None) -> bytes:
        assert limit_s == 5.0
        if not self.pieces:
            return b""
        piece, self.pieces[0] = self.pieces[0][:most], self.pieces[0][most:]
        self.pieces = [piece for piece in self.pieces if piece]
        return piece

    async def receive_into(self, buffer: memoryview, limit_s: float | None) -> int:
        piece = await self.receive(len(buffer), limit_s)
        buffer[: len(piece)] = piece
        return len(piece)

    async def send(self, data: bytes, limit_s: float | None) -> None:
        assert limit_s == 7.0
        if len(self.sent) + len(data) > self._takes:
            raise httpx.WriteError("broken pipe")
        self.sent += data

    def close(self) -> None:
        self.is_closed = True


class Pieces(httpx.AsyncByteStream):
    """A body that nobody needs to close."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = iter(pieces)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    status: int
    body: bytes
    is_kept: bool
    fields: Mapping[str, str] = field(default_factory=dict, compare=False)


def request(
    method: str = "GET",
    *,
    target: bytes = b"/k",
    headers: Mapping[str, str] | None = None,
    body: Sequence[bytes] = (),
) -> httpx.Request:
    return httpx.Request(
        method,
        "http://example.com",
        headers={"host": "example.com"} | dict(headers or {}),
        stream=Pieces(body),
        extensions={"timeout": {"read": 5.0, "write": 7.0}, "target": target},
    )


async def exchange(script: Script, outgoing: httpx.Request) -> Result:
    kept: list[None] = []
    connection = Connection(script, keepalive_s=30.0)
    response = await connection.exchange(outgoing, lambda: kept.append(None))
    assert isinstance(response.stream, httpx.AsyncByteStream)
    try:
        body = b"".join([piece async for piece in response.stream])
    finally:
        await response.stream.aclose()
        # What goes back into use has nothing of this answer left.
        assert bool(kept) is not script.is_closed
    is_kept = bool(kept) and connection.is_usable
    return Result(status=response.status_code, body=body, is_kept=is_kept, fields=response.headers)


def splits(wire: bytes) -> Iterable[Sequence[bytes]]:
    """*wire* whole, in two at every byte, and byte by byte."""
    yield [wire]
    yield from ([wire[:at], wire[at:]] for at in range(1, len(wire)))
    yield [wire[at : at + 1] for at in range(len(wire))]


def answered(status: int = 200, body: bytes = b"", *, kept: bool = True) -> Result:
    return Result(status=status, body=body, is_kept=kept)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
UNDERSTOOD: dict[str, tuple[str, bytes, Result]] = {
    "sized": ("GET", OK + b"Content-Length: 3\r\n\r\nabc", answered(body=b"abc")),
    "empty": ("PUT", OK + b"Content-Length: 0\r\n\r\n", answered()),
    "spaces": ("GET", OK + b"content-length: \t3 \r\nA: \r\nB:\r\n\r\nabc", answered(body=b"abc")),
    "no reason": ("GET", b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", answered(404)),
    "head": ("HEAD", OK + b"Content-Length: 3\r\n\r\n", answered()),
    "head without a length": ("HEAD", b"HTTP/1.1 404 X\r\n\r\n", answered(404)),
    "head of chunks": ("HEAD", CHUNKED, answered()),
    "204": ("DELETE", b"HTTP/1.1 204 X\r\n\r\n", answered(204)),
    "304": ("GET", b"HTTP/1.1 304 X\r\nContent-Length: 3\r\n\r\n", answered(304)),
    "continue": (
        "PUT",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 X\r\nLink: a\r\n\r\n"
        + OK
        + b"Content-Length: 1\r\n\r\na",
        answered(body=b"a"),
    ),
    "chunks": (
        "GET",
        CHUNKED + b"3\r\nabc\r\n0a;x=y\r\n0123456789\r\n0\r\n\r\n",
        answered(body=b"abc0123456789"),
    ),
    "trailer": ("GET", CHUNKED + b"1\r\na\r\n0\r\nETag: x\r\n\r\n", answered(body=b"a")),
    "until the end": ("GET", OK + b"\r\nabc", answered(body=b"abc", kept=False)),
    "close": (
        "GET",
        OK + b"Connection: x, Close\r\nContent-Length: 1\r\n\r\na",
        answered(body=b"a", kept=False),
    ),
    "close and keep": (
        "GET",
        OK + b"Connection: close\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        answered(kept=False),
    ),
    "close of head": ("HEAD", OK + b"Connection: close\r\n\r\n", answered(kept=False)),
    "chunks and close": (
        "GET",
        OK + b"Connection: close\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        answered(body=b"a", kept=False),
    ),
    "1.0": (
        "GET",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\na",
        answered(body=b"a", kept=False),
    ),
    "more than its size": (
        "GET",
        OK + b"Content-Length: 1\r\n\r\nab",
        answered(body=b"a", kept=False),
    ),
    "body of head": ("HEAD", OK + b"Content-Length: 1\r\n\r\na", answered(kept=False)),
    "body of 204": ("GET", b"HTTP/1.1 204 X\r\n\r\na", answered(204, kept=False)),
    "second answer": (
        "GET",
        OK + b"Content-Length: 1\r\n\r\na" + OK + b"Content-Length: 1\r\n\r\nb",
        answered(body=b"a", kept=False),
    ),
    "second answer after chunks": (
        "GET",
        CHUNKED + b"1\r\na\r\n0\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\nb",
        answered(body=b"a", kept=False),
    ),
    "noise after chunks": (
        "GET",
        CHUNKED + b"1\r\na\r\n0\r\n\r\n\0",
        answered(body=b"a", kept=False),
    ),
    "noise after chunks and close": (
        "GET",
        OK + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP",
        answered(kept=False),
    ),
}


@pytest.mark.parametrize("name", list(UNDERSTOOD))
async def test_answer_is_understood_in_whatever_pieces_it_comes(name: str) -> None:
    method, wire, expected = UNDERSTOOD[name]
    for pieces in splits(wire):
        assert await exchange(Script(pieces), request(method)) == expected, pieces


REFUSED = {
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "the same length twice": OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
    "lengths in a list": OK + b"Content-Length: 1, 1\r\n\r\na",
    "length with a sign": OK + b"Content-Length: +1\r\n\r\na",
    "length of nothing": OK + b"Content-Length: \r\n\r\na",
    "absurd length": OK + b"Content-Length: 18446744073709551616\r\n\r\n",
    "length and chunks": CHUNKED[:-2] + b"Content-Length: 1\r\n\r\n0\r\n\r\n",
    "chunks and length": OK + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two codings": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "two codings in two lines": CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "another coding": OK + b"Transfer-Encoding: identity\r\n\r\na",
    "space before the colon": OK + b"Content-Length : 1\r\n\r\na",
    "folded line": OK + b"A: b\r\n Content-Length: 9\r\nContent-Length: 1\r\n\r\na",
    "folded first line": OK + b" A: b\r\nContent-Length: 1\r\n\r\na",
    "lines that end in LF": b"HTTP/1.1 200 OK\nContent-Length: 1\n\na\r\n\r\n",
    "a line that ends in LF": OK + b"A: b\nContent-Length: 2\r\nContent-Length: 1\r\n\r\na",
    "a line that ends in CR": OK + b"A: b\rC: d\r\nContent-Length: 1\r\n\r\na",
    "NUL": OK + b"A: \0\r\nContent-Length: 1\r\n\r\na",
    "no name": OK + b": b\r\nContent-Length: 1\r\n\r\na",
    "no colon": OK + b"A\r\nContent-Length: 1\r\n\r\na",
    "empty line first": b"\r\n" + OK + b"Content-Length: 1\r\n\r\na",
    "empty lines first": b"\r\n\r\n" + OK + b"Content-Length: 1\r\n\r\na",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 1\r\n\r\na",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\na",
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "status 000": b"HTTP/1.1 000 X\r\nContent-Length: 1\r\n\r\na",
    "status of four digits": b"HTTP/1.1 2000 X\r\nContent-Length: 1\r\n\r\na",
    "switched protocols": b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc",
    "switched to nothing": b"HTTP/1.1 101 X\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    "chunk size with LF": CHUNKED + b"1\na\r\n0\r\n\r\n",
    "chunk size with a space": CHUNKED + b"1 \r\na\r\n0\r\n\r\n",
    "chunk size with 0x": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "negative chunk": CHUNKED + b"-1\r\na\r\n0\r\n\r\n",
    "absurd chunk": CHUNKED + b"10000000000000000\r\na\r\n0\r\n\r\n",
    "chunk past its size": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "chunk without its size": CHUNKED + b"\r\na\r\n0\r\n\r\n",
    "trailer folded": CHUNKED + b"0\r\nA: b\r\n c\r\n\r\n",
}


@pytest.mark.parametrize("name", list(REFUSED))
async def test_answer_that_could_be_framed_otherwise_is_refused(name: str) -> None:
    for pieces in splits(REFUSED[name]):
        script = Script(pieces)
        with pytest.raises(httpx.RemoteProtocolError):
            await exchange(script, request())
        assert script.is_closed


@pytest.mark.parametrize("name", ["sized", "continue", "chunks", "trailer", "head", "204"])
async def test_answer_that_is_cut_anywhere_is_an_error(name: str) -> None:
    method, wire, _ = UNDERSTOOD[name]
    for size in range(len(wire)):
        script = Script([wire[:size]])
        with pytest.raises(httpx.RemoteProtocolError, match="closed"):
            await exchange(script, request(method))
        assert script.is_closed


@pytest.mark.parametrize("name", ["sized", "chunks", "second answer after chunks"])
async def test_body_comes_into_buffers_of_any_size(name: str) -> None:
    method, wire, expected = UNDERSTOOD[name]
    for pieces, room in itertools.product(splits(wire), (1, 2, 100)):
        connection = Connection(Script(pieces), keepalive_s=30.0)
        response = await connection.exchange(request(method), lambda: None)
        body = response.stream
        assert isinstance(body, Body)
        got = b""
        buffer = memoryview(bytearray(room))
        while size := await body.receive_into(buffer):
            got += buffer[:size]
        await body.aclose()
        assert got == expected.body


async def test_head_has_a_limit() -> None:
    def wire(size: int) -> bytes:
        end = b"Content-Length: 0\r\n\r\n"
        return OK + b"A: " + b"b" * (size - len(OK) - len(end) - 5) + b"\r\n" + end

    assert await exchange(Script([wire(HEAD_LIMIT)]), request()) == answered()
    for pieces in ([wire(HEAD_LIMIT + 1)], itertools.repeat(OK + b"A: b\r\n" * 100, 200)):
        with pytest.raises(httpx.RemoteProtocolError, match="head"):
            await exchange(Script(pieces), request())


@pytest.mark.parametrize("said", [b"0\r\n", b"1;"], ids=["trailer", "extension"])
async def test_what_is_said_between_chunks_has_a_limit(said: bytes) -> None:
    more = b"a: b\r\n" if said == b"0\r\n" else b"a"
    endless = itertools.repeat(more * 1000, 200)
    with pytest.raises(httpx.RemoteProtocolError, match="chunks"):
        await exchange(Script([CHUNKED, said, *endless]), request())


@pytest.mark.parametrize(
    "outgoing",
    [
        request(headers={"a": "b\r\nc: d"}),
        request(headers={"a": "b\nc: d"}),
        request(headers={"a": "b\rc"}),
        request(headers={"a": "b\0"}),
        request(headers={"a: b\r\nc": "d"}),
        request(headers={"a b": "c"}),
        request(headers={"a:b": "c"}),
        request(headers={"": "c"}),
        request(target=b"/a b"),
        request(target=b"/a HTTP/1.1\r\nHost: b\r\n\r\n"),
        request(target=b"/\xff"),
        request(target=b""),
    ],
)
async def test_request_that_could_be_another_is_not_sent(outgoing: httpx.Request) -> None:
    script = Script([OK + b"Content-Length: 0\r\n\r\n"])
    with pytest.raises(httpx.LocalProtocolError, match=r"header|target"):
        await exchange(script, outgoing)
    assert script.sent == b""


@pytest.mark.parametrize("body", [[b"a"], [b"abcd"], [b"abc", b"d"], [b"a" * 100_000]])
async def test_body_of_another_size_than_was_said_is_an_error(body: list[bytes]) -> None:
    script = Script([OK + b"Content-Length: 0\r\n\r\n"])
    with pytest.raises(httpx.LocalProtocolError):
        await exchange(script, request("PUT", headers={"content-length": "3"}, body=body))
    assert len(script.sent.partition(b"\r\n\r\n")[2]) <= 3
    assert script.is_closed


@pytest.mark.parametrize("sizes", [(), (1,), (5, 0, 6), (1 << 20,), (10_000, 10_000, 1)])
async def test_request_goes_out_as_it_is(sizes: Sequence[int]) -> None:
    body = [bytes([number]) * size for number, size in enumerate(sizes)]
    script = Script([OK + b"Content-Length: 0\r\n\r\n"])
    headers = {"content-length": str(sum(sizes))}
    await exchange(script, request("PUT", target=b"/a?b", headers=headers, body=body))
    head, _, sent = script.sent.partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"PUT /a?b HTTP/1.1",
        b"host: example.com",
        b"content-length: %d" % sum(sizes),
    ]
    assert sent == b"".join(body)


async def test_refusal_before_all_was_sent_is_heard_and_the_connection_closed() -> None:
    script = Script([b"HTTP/1.1 403 X\r\nContent-Length: 1\r\n\r\na"], takes=30_000)
    outgoing = request("PUT", headers={"content-length": "60000"}, body=[bytes(20_000)] * 3)
    assert await exchange(script, outgoing) == answered(403, b"a", kept=False)


async def test_success_before_all_was_sent_is_none() -> None:
    script = Script([OK + b"Content-Length: 0\r\n\r\n"], takes=0)
    with pytest.raises(httpx.RemoteProtocolError, match="before all was sent"):
        await exchange(script, request())


wires = st.sampled_from([(method, wire) for method, wire, _ in UNDERSTOOD.values()])


@st.composite
def broken_answers(draw: st.DrawFn) -> tuple[str, bytes]:
    """A good answer, or two in a row, with a few bytes removed, repeated, changed or put in."""
    method, wire = draw(wires)
    wire += draw(st.sampled_from([b"", b"", b"\r\n", wire]))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(wire)))
        stop = draw(st.integers(start, min(len(wire), start + 5)))
        odd = st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b"\0", b"0", b":", wire[start:stop]])
        new = draw(odd | st.binary(max_size=2))
        wire = wire[:start] + new + wire[stop:]
    return method, wire


@settings(max_examples=200)
@given(answer=broken_answers(), data=st.data())
def test_connection_is_kept_only_if_a_stricter_parser_agrees(
    answer: tuple[str, bytes], data: st.DataObject
) -> None:
    method, wire = answer
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4)))
    pieces = [wire[a:b] for a, b in itertools.pairwise([0, *cuts, len(wire)])]
    result: Result | None = None
    with contextlib.suppress(httpx.RemoteProtocolError):
        result = trio.run(exchange, Script(pieces), request(method))
    if result is None or not result.is_kept:
        return
    # It is not stricter with reason phrases, where ours lets pass all but the ends of lines.
    http = h11.Connection(h11.CLIENT)
    http.send(h11.Request(method=method, target="/", headers=[("host", "a")]))
    http.send(h11.EndOfMessage())
    http.receive_data(re.sub(rb"(HTTP/1.1 [0-9]{3}) [^\r\n]*", rb"\1", wire))
    events = []
    while not isinstance(event := http.next_event(), h11.EndOfMessage):
        assert event is not h11.NEED_DATA
        events.append(event)
    body = b"".join(event.data for event in events if isinstance(event, h11.Data))
    status = next(event.status_code for event in events if isinstance(event, h11.Response))
    assert (result.status, result.body) == (status, body)
    assert http.our_state is h11.DONE
    # An empty line after the last chunk goes unseen: it is the beginning of no answer.
    assert not http.trailing_data[0].strip(b"\r\n")
