"""The emulator for tests: in process behind an httpx transport, on a socket, or as a process.

All three serve BUCKET to the account SECRET_ID/SECRET_KEY. Faults and the request log are at
``api.faults`` and ``api.requests``, or behind the /-/ resources of the process.
"""

import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, TypedDict
from urllib.request import Request as UrlRequest
from urllib.request import urlopen

import httpx
import trio

from cosfs.emulator.api import Access, Api
from cosfs.emulator.bodies import Bodies, MemoryBodies
from cosfs.emulator.faults import Faults
from cosfs.emulator.index import open_index
from cosfs.emulator.messages import Disconnect, Request, Response
from cosfs.emulator.requestlog import RequestLog
from cosfs.emulator.server import listen, port_of, serve
from cosfs.emulator.service import Limits, Service
from cosfs.emulator.signature import Account
from cosfs.emulator.store import Store
from cosfs.emulator.streams import Buffer

BUCKET: Final = "examplebucket-1250000000"
SECRET_ID: Final = "AKIDEXAMPLEexampleEXAMPLEexample0001"
SECRET_KEY: Final = "SkExampleExampleExampleExample01"
ACCOUNT: Final = Account(secret_id=SECRET_ID, secret_key=SECRET_KEY)
START_TIMEOUT_S: Final = 20.0


def make_api(
    *,
    bodies: Bodies | None = None,
    limits: Limits | None = None,
    accounts: Sequence[Account] = (ACCOUNT,),
    buckets: Sequence[str] = (BUCKET,),
    anonymous: bool = False,
) -> Api:
    """An emulator in memory. Its clock is the real one: signatures are made with that."""
    store = Store(open_index(None), bodies or MemoryBodies())
    for bucket in buckets:
        store.make_bucket(bucket, now=time.time())
    service = Service(store=store, clock=time.time, limits=limits or Limits())
    known = {account.secret_id: account for account in accounts}
    return Api(service, Access(accounts=known, anonymous=anonymous))


class EmulatedTransport(httpx.AsyncBaseTransport):
    """Hands httpx's requests to an Api; what goes wrong surfaces as it does on a real socket."""

    def __init__(self, api: Api | None = None) -> None:
        self.api = api or make_api()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        timeout_s = request.extensions.get("timeout", {}).get("read") or math.inf
        body = _SentBody(request)
        with trio.move_on_after(timeout_s):
            try:
                response = await self.api.handle(_to_emulator(request, body))
            except Disconnect as error:
                raise _broken(error, request) from error
            finally:
                await body.aclose()
            return httpx.Response(
                response.status,
                headers=[(n.encode(), v.encode()) for n, v in response.headers.items()],
                stream=_ReceivedBody(response, request, timeout_s),
                extensions={"http_version": b"HTTP/1.1"},
            )
        raise httpx.ReadTimeout("no answer in time", request=request)


class _SentBody(AsyncIterator[Buffer]):
    def __init__(self, request: httpx.Request) -> None:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self._chunks = aiter(request.stream)

    async def __anext__(self) -> Buffer:
        await trio.lowlevel.checkpoint()
        return await anext(self._chunks)

    async def aclose(self) -> None:
        """End the sender's generator, which the emulator may have left half read."""
        if isinstance(self._chunks, AsyncGenerator):
            await self._chunks.aclose()


class _ReceivedBody(httpx.AsyncByteStream, AsyncIterator[bytes]):
    def __init__(self, response: Response, request: httpx.Request, timeout_s: float) -> None:
        self._response = response
        self._request = request
        self._timeout_s = timeout_s

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(self._timeout_s):
            try:
                return bytes(await anext(self._response.body))
            except Disconnect as error:
                raise _broken(error, self._request) from error
        raise httpx.ReadTimeout("no data in time", request=self._request)

    async def aclose(self) -> None:
        self._response.close()


def _to_emulator(request: httpx.Request, body: _SentBody) -> Request:
    return Request(
        method=request.method,
        target=request.extensions.get("target", request.url.raw_path).decode("ascii"),
        headers=[
            (name.decode("ascii"), value.decode("utf-8", "surrogateescape"))
            for name, value in request.headers.raw
        ],
        body=body,
    )


def _broken(error: Disconnect, request: httpx.Request) -> httpx.TransportError:
    if error.reset:
        return httpx.ReadError(str(error), request=request)
    return httpx.RemoteProtocolError(str(error), request=request)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """An emulator on a socket of this process."""

    url: str
    api: Api

    @property
    def faults(self) -> Faults:
        return self.api.faults

    @property
    def requests(self) -> RequestLog:
        return self.api.requests


@asynccontextmanager
async def running_server(api: Api | None = None) -> AsyncIterator[RunningServer]:
    """Serve *api* on a free port of 127.0.0.1 until the block ends."""
    api = api or make_api()
    listeners = await listen("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, api, listeners)
        yield RunningServer(f"http://127.0.0.1:{port_of(listeners)}", api)
        nursery.cancel_scope.cancel()


class RequestRecord(TypedDict):
    """A request as GET /-/requests shows it."""

    started: float
    ended: float | None
    operation: str
    method: str
    bucket: str
    key: str
    query: str
    status: int | None
    bytes_in: int
    bytes_out: int
    outcome: str


@dataclass(frozen=True, slots=True)
class EmulatorProcess:
    """An emulator in a process of its own."""

    url: str
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def set_faults(self, rules: str) -> None:
        """Replace the fault rules, one a line; none for an empty text."""
        self._ask("POST", "faults", rules.encode())

    def requests(self) -> list[RequestRecord]:
        """What it was asked, in order, unfinished requests included."""
        records: list[RequestRecord] = json.loads(self._ask("GET", "requests"))
        return records

    def forget_requests(self) -> None:
        self._ask("DELETE", "requests")

    def _ask(self, method: str, resource: str, body: bytes | None = None) -> bytes:
        request = UrlRequest(f"{self.url}/-/{resource}", data=body, method=method)
        with urlopen(request, timeout=10) as answer:
            content: bytes = answer.read()
        return content


@contextmanager
def emulator_process(*arguments: str) -> Iterator[EmulatorProcess]:
    """Run ``cosfs emulator`` on a free port; in memory unless *arguments* name a --root."""
    places = {"--memory", "--root"}
    where = () if places & set(arguments) else ("--memory",)
    command = [sys.executable, "-m", "cosfs.cli.emulator", "--port", "0", "--admin", "--quiet"]
    process = subprocess.Popen(
        [*command, *where, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "COS_SECRET_ID": SECRET_ID, "COS_SECRET_KEY": SECRET_KEY},
    )
    try:
        yield EmulatorProcess(_ready_url(process), process)
    finally:
        process.kill()
        process.wait(timeout=10)
        assert process.stdout is not None
        process.stdout.close()


def _ready_url(process: subprocess.Popen[str]) -> str:
    """The address in the line that says that the emulator accepts connections."""
    assert process.stdout is not None
    readable, _, _ = select.select([process.stdout], [], [], START_TIMEOUT_S)
    line = process.stdout.readline() if readable else ""
    assert "listening on" in line, f"the emulator did not start: {line!r} {process.poll()}"
    return line.partition("listening on ")[2].split()[0]
