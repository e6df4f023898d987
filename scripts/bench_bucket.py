"""The bucket behind everybody's back: fills it, looks at what has arrived, empties it."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import httpx
import trio
from bench_http import CRC64, copy, list_keys, new_client, small_body
from bench_processes import Service
from bench_tasks import small_names

_PARALLEL: Final = 16
_POLL_S: Final = 0.005
_PART: Final = 8 << 20


class Bucket:
    """What is below the run's prefix; each call is a run of its own of trio."""

    def __init__(self, service: Service, source: memoryview) -> None:
        self._service = service
        self._source = source

    def fill(self, sizes: Iterable[int], directories: Iterable[str]) -> None:
        """Objects of *sizes* to copy from, and markers of *directories*; "" is the prefix's."""

        async def put(client: httpx.AsyncClient, key: str, body: bytes) -> None:
            (await client.put(self._address(key), content=body)).raise_for_status()

        self._all([partial(put, key=f"{name}/", body=b"") for name in directories if name])
        self._all([partial(put, key="", body=b"")])
        for size in sizes:
            body = bytes(self._source[:size])
            self._all([partial(put, key=f"base/{size}", body=body)])

    def fill_directory(self, directory: str, count: int) -> None:
        async def put(client: httpx.AsyncClient, number: int, name: str) -> None:
            body = small_body(self._source, number)
            address = self._address(f"{directory}/{name}")
            (await client.put(address, content=body)).raise_for_status()

        self._all([partial(put, number=n, name=name) for n, name in enumerate(small_names(count))])

    def copy_base(self, size: int, keys: Sequence[str]) -> None:
        """New objects with the first *size* bytes of the source."""

        async def make(client: httpx.AsyncClient, key: str) -> None:
            prefix = self._service.prefix
            base = self._service.side_base
            await copy(client, base, f"{prefix}/base/{size}", f"{prefix}/{key}")

        self._all([partial(make, key=key) for key in keys])

    def await_stored(self, wanted: Mapping[str, int | None], limit_s: float) -> float:
        """When the bucket held all of *wanted*, or no such object (monotonic clock).

        Raises RuntimeError.
        """
        missing = dict(wanted)

        async def look(client: httpx.AsyncClient, key: str) -> None:
            answer = await client.head(self._address(key))
            told = answer.headers.get(CRC64) if answer.is_success else None
            if answer.status_code in (200, 404) and told == _text(missing[key]):
                del missing[key]

        deadline = time.monotonic() + limit_s

        async def poll() -> None:
            async with new_client(None) as client:
                while missing and time.monotonic() < deadline:
                    await _run_all([partial(look, client, key) for key in list(missing)])
                    await trio.sleep(_POLL_S if missing else 0)

        trio.run(poll)
        if missing:
            raise RuntimeError(f"not stored as it should be: {min(missing)}")
        return time.monotonic()

    def remove(self, keys: Iterable[str]) -> None:
        async def remove(client: httpx.AsyncClient, key: str) -> None:
            (await client.delete(self._address(key))).raise_for_status()

        self._all([partial(remove, key=key) for key in keys])

    def empty(self) -> None:
        """Remove everything below the prefix."""
        prefix = f"{self._service.prefix}/"

        async def names() -> list[str]:
            async with new_client(None) as client:
                return await list_keys(client, self._service.side_base, prefix)

        self.remove(key.removeprefix(prefix) for key in trio.run(names))

    def _address(self, key: str) -> str:
        return f"{self._service.side_base}/{self._service.prefix}/{key}"

    def _all(self, calls: Sequence[Callable[[httpx.AsyncClient], Awaitable[None]]]) -> None:
        async def run() -> None:
            async with new_client(None) as client:
                await _run_all([partial(call, client) for call in calls])

        trio.run(run)


def _text(crc64: int | None) -> str | None:
    return None if crc64 is None else str(crc64)


async def _run_all(calls: Sequence[Callable[[], Awaitable[None]]]) -> None:
    limit = trio.CapacityLimiter(_PARALLEL)

    async def run(call: Callable[[], Awaitable[None]]) -> None:
        async with limit:
            await call()

    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(run, call)
