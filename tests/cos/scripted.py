"""A transport that answers from a script and remembers what it was sent."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import httpx
import trio

from cosfs.config import ServiceConfig
from cosfs.cos.client import CosClient
from cosfs.cos.credentials import Credentials, CredentialsProvider, StaticCredentials

BUCKET = "examplebucket-1250000000"
KEYS = Credentials(secret_id="AKIDexample", secret_key="secret-example")
NOW = 1_700_000_000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer; *cut* breaks the connection after the body, *wait_s* delays the answer."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: bool = False
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A request as it reached the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class _Body(httpx.AsyncByteStream):
    def __init__(self, reply: Reply) -> None:
        self._reply = reply

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await trio.lowlevel.checkpoint()
        half = len(self._reply.body) // 2
        for chunk in (self._reply.body[:half], self._reply.body[half:]):
            if chunk:
                yield chunk
        if self._reply.cut:
            raise httpx.ReadError("connection cut")


class ScriptedTransport(httpx.AsyncBaseTransport):
    """Gives the replies in order, the last one for ever; an exception among them is raised."""

    def __init__(self, *replies: Reply | Exception) -> None:
        self._replies = list(replies)
        self.sent: list[Sent] = []
        self.most_at_once = 0
        self._at_once = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answer(request, request.stream)
        finally:
            self._at_once -= 1

    async def _answer(
        self, request: httpx.Request, stream: httpx.AsyncByteStream
    ) -> httpx.Response:
        self.sent.append(
            Sent(
                method=request.method,
                target=request.extensions["target"].decode(),
                headers=dict(request.headers.items()),
                body=b"".join([chunk async for chunk in stream]),
            )
        )
        reply = self._replies[0] if len(self._replies) == 1 else self._replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        await trio.sleep(reply.wait_s)
        headers = {"x-cos-request-id": "scripted", "content-length": str(len(reply.body))}
        raw = [
            (name.encode(), value.encode("latin-1"))
            for name, value in (headers | dict(reply.headers)).items()
        ]
        return httpx.Response(reply.status, headers=raw, stream=_Body(reply))


def client_of(
    transport: httpx.AsyncBaseTransport,
    config: ServiceConfig | None = None,
    *,
    credentials: CredentialsProvider | None = None,
) -> CosClient:
    return CosClient(
        config or ServiceConfig(bucket=BUCKET, region="ap-guangzhou"),
        credentials or StaticCredentials(KEYS),
        transport=transport,
        now=lambda: NOW,
    )


def error_reply(status: int, code: str, message: str = "", **headers: str) -> Reply:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers=named, body=body.encode())


def methods(sent: Sequence[Sent]) -> list[str]:
    return [request.method for request in sent]
