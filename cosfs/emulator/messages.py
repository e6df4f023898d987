"""HTTP messages as values, without sockets: what Api.handle takes and gives.

Header values are UTF-8 text with surrogateescape, so that any bytes survive a round.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, unquote_plus, unquote_to_bytes

from cosfs.emulator.refusals import Refusal
from cosfs.emulator.streams import Body, Chunks

Headers = Mapping[str, str]  # names in lower case

_UNRESERVED: Final = "-_.~"
_MAX_DIGITS: Final = 18  # any size in bytes has fewer


class Disconnect(Exception):
    """The connection ends here, without the rest of the answer; *reset*: with a TCP RST."""

    def __init__(self, reason: str, *, reset: bool = False) -> None:
        super().__init__(reason)
        self.reset = reset


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came: *target* still percent-encoded, *body* to be read at most once."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: Body


@dataclass(slots=True, kw_only=True)
class Response:
    """An answer. Whoever takes it iterates *body* at most once and then calls close().

    Without a Content-Length among *headers* the body is sent chunked.
    """

    status: int
    headers: dict[str, str]
    body: Body
    on_close: list[Callable[[], None]] = field(default_factory=list)

    def close(self) -> None:
        """Let go of what the body needs. Does not yield; harmless when repeated."""
        while self.on_close:
            self.on_close.pop()()


def answer(status: int, headers: Headers | None = None, *, content: bytes = b"") -> Response:
    """A response with all its body at hand."""
    sized = {**(headers or {}), "Content-Length": str(len(content))}
    return Response(status=status, headers=sized, body=Chunks([content]))


def no_content() -> Response:
    """204, which has no length either."""
    return Response(status=204, headers={}, body=Chunks([]))


def xml_answer(content: str, headers: Headers | None = None, *, chunked: bool = False) -> Response:
    """A 200 with an XML document; *chunked* as COS answers Copy and Complete."""
    response = answer(200, headers, content=content.encode("utf-8", "surrogateescape"))
    response.headers["Content-Type"] = "application/xml"
    if chunked:
        del response.headers["Content-Length"]
    return response


def encode(text: str, *, safe: str = "") -> str:
    """Percent-encode as COS signs: everything but letters, digits and ``-_.~``."""
    return quote(text, safe=_UNRESERVED + safe, errors="surrogateescape")


def split_target(target: str) -> tuple[str, list[tuple[str, str]]]:
    """The path, decoded once and never normalised, and the query's pairs in order."""
    if "://" in target[:8]:  # absolute form, as sent to proxies
        _, _, rest = target.partition("://")
        target = rest[rest.find("/") :] if "/" in rest else "/"
    path, _, query = target.partition("?")
    try:
        pairs = [_pair(text) for text in query.split("&") if text]
        return unquote_to_bytes(path).decode(), pairs
    except UnicodeDecodeError as error:
        raise Refusal("InvalidURI", "path and query must be UTF-8") from error


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")


def decimal(text: str) -> int | None:
    """The number that *text* is, None if it is none or absurdly long."""
    if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS:
        return int(text)
    return None
