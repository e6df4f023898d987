"""Plain transfers with httpx, beside which the mounts are measured; each request signed for COS.

Run as a program it does one transfer, described by a JSON object (Order), in a process of its own,
and prints when it began and ended. As a module it is how the benchmark fills and checks a bucket.
"""

import json
import os
import random
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypedDict
from xml.etree import ElementTree

import httpx
import trio

from cosfs.cos.signing import Window, sign, signing_key

MIB: Final = 1 << 20
PART_SIZE: Final = 8 * MIB  # what cosfs and s3fs are told to use, too
PARALLEL: Final = 8
TIMEOUT_S: Final = 60
CRC64: Final = "x-cos-hash-crc64ecma"


class Order(TypedDict):
    """A transfer: *base* is the bucket's address, *keys* what is written or read."""

    operation: str
    base: str
    ca: str | None
    plain: bool  # the server knows PUT and GET, but not COS
    source: str
    keys: list[str]
    size: int
    count: int


class CosAuth(httpx.Auth):
    """Signs as COS demands, with the keys of the environment; without them requests go as are."""

    def __init__(self) -> None:
        self._keys = os.environ.get("COS_SECRET_ID"), os.environ.get("COS_SECRET_KEY")

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        secret_id, secret_key = self._keys
        if secret_id and secret_key:
            now = int(time.time())
            request.headers["Authorization"] = sign(
                request.method.lower(),
                request.url.path,
                query=request.url.params.multi_items(),
                headers=request.headers,
                key=signing_key(secret_id, secret_key, Window(now - 60, now + 900)),
            )
        yield request


class Transfers:
    """What an Order may ask for, over one client."""

    def __init__(self, client: httpx.AsyncClient, order: Order) -> None:
        self._client = client
        self._order = order
        self._limit = trio.CapacityLimiter(PARALLEL)
        self._source = memoryview(Path(order["source"]).read_bytes())[: order["size"]]

    async def write(self) -> None:
        """Each key with all of the source, in parts, PARALLEL of them at a time."""
        parts = [
            (start, bytes(self._source[start : start + PART_SIZE]))
            for start in range(0, len(self._source), PART_SIZE)
        ]
        async with trio.open_nursery() as nursery:
            for key in self._order["keys"]:
                nursery.start_soon(self._write_one, key, parts)

    async def _write_one(self, key: str, parts: Sequence[tuple[int, bytes]]) -> None:
        if self._order["plain"]:
            await self._all(
                [partial(self._put, f"{key}.{start}", {}, body) for start, body in parts]
            )
            return
        upload = await self._initiate(key)
        etags: dict[int, str] = {}

        async def send(number: int, body: bytes) -> None:
            query = {"partNumber": str(number), "uploadId": upload}
            etags[number] = (await self._put(key, query, body)).headers["ETag"]

        await self._all(
            [partial(send, number, body) for number, (_, body) in enumerate(parts, start=1)]
        )
        await self._complete(key, upload, etags)

    async def read(self) -> None:
        """All of each key, by ranges of PART_SIZE, PARALLEL of them at a time."""
        size = self._order["size"]
        await self._all(
            [
                partial(self._get, key, start, min(PART_SIZE, size - start))
                for key in self._order["keys"]
                for start in range(0, size, PART_SIZE)
            ]
        )

    async def random_read(self) -> None:
        """One range of 64 KiB after the other."""
        (key,) = self._order["keys"]
        for offset in random_offsets(self._order["size"], self._order["count"]):
            await self._get(key, offset, RANDOM_SIZE)

    async def small_files(self) -> None:
        """One small object after the other."""
        for number, key in enumerate(self._order["keys"]):
            await self._put(key, {}, small_body(self._source, number))

    async def ls(self) -> None:
        """A directory's listing, without the attributes."""
        (prefix,) = self._order["keys"]
        await list_keys(self._client, self._order["base"], prefix)

    async def remove(self) -> None:
        """Each key by a request of its own, PARALLEL of them at a time."""
        await self._all([partial(self._delete, key) for key in self._order["keys"]])

    async def _delete(self, key: str) -> None:
        (await self._client.delete(f"{self._order['base']}/{key}")).raise_for_status()

    async def rename(self) -> None:
        old, new = self._order["keys"]
        await copy(self._client, self._order["base"], old, new)
        await self._delete(old)

    async def edit(self) -> None:
        """64 KiB in the middle: what is before and behind is copied inside COS."""
        (key,) = self._order["keys"]
        middle, size = self._order["size"] // 2, self._order["size"]
        stop = middle + MIB  # a part between two others is not smaller
        patch = b"".join([self._source[:RANDOM_SIZE], self._source[middle + RANDOM_SIZE : stop]])
        upload = await self._initiate(key)
        etags = {
            1: await self._copy_part(key, upload, 1, (0, middle)),
            2: await self._put_part(key, upload, 2, patch),
            3: await self._copy_part(key, upload, 3, (stop, size)),
        }
        await self._complete(key, upload, etags)

    async def append(self) -> None:
        (key,) = self._order["keys"]
        upload = await self._initiate(key)
        etags = {
            1: await self._copy_part(key, upload, 1, (0, self._order["size"])),
            2: await self._put_part(key, upload, 2, bytes(self._source[:RANDOM_SIZE])),
        }
        await self._complete(key, upload, etags)

    async def _all(self, calls: Sequence[Callable[[], Awaitable[object]]]) -> None:
        async def call(each: Callable[[], Awaitable[object]]) -> None:
            async with self._limit:
                await each()

        async with trio.open_nursery() as nursery:
            for each in calls:
                nursery.start_soon(call, each)

    async def _initiate(self, key: str) -> str:
        answer = await self._client.post(f"{self._order['base']}/{key}", params={"uploads": ""})
        return text_of(answer, "UploadId")

    async def _complete(self, key: str, upload: str, etags: Mapping[int, str]) -> None:
        parts = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
            for number, etag in sorted(etags.items())
        )
        answer = await self._client.post(
            f"{self._order['base']}/{key}",
            params={"uploadId": upload},
            content=f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>",
        )
        text_of(answer, "ETag")

    async def _put_part(self, key: str, upload: str, number: int, body: bytes) -> str:
        query = {"partNumber": str(number), "uploadId": upload}
        etag: str = (await self._put(key, query, body)).headers["ETag"]
        return etag

    async def _copy_part(self, key: str, upload: str, number: int, span: tuple[int, int]) -> str:
        base = self._order["base"]
        answer = await self._client.put(
            f"{base}/{key}",
            params={"partNumber": str(number), "uploadId": upload},
            headers={
                "x-cos-copy-source": copy_source(base, key),
                "x-cos-copy-source-range": f"bytes={span[0]}-{span[1] - 1}",
            },
        )
        return text_of(answer, "ETag")

    async def _put(self, key: str, query: Mapping[str, str], body: bytes) -> httpx.Response:
        address = f"{self._order['base']}/{key}"
        answer = await self._client.put(address, params=query, content=body)
        return answer.raise_for_status()

    async def _get(self, key: str, start: int, size: int) -> None:
        span = {"Range": f"bytes={start}-{start + size - 1}"}
        answer = await self._client.get(f"{self._order['base']}/{key}", headers=span)
        assert len(answer.raise_for_status().content) == size


RANDOM_SIZE: Final = 64 << 10
SMALL_SIZE: Final = 8 << 10


def random_offsets(size: int, count: int) -> list[int]:
    """The same places for everybody, none twice as long as there are enough."""
    places = range(size // RANDOM_SIZE)
    chosen = random.Random(count).sample(places, min(count, len(places)))  # noqa: S311  # no secret
    return [place * RANDOM_SIZE for place in chosen]


def small_body(source: memoryview, number: int) -> bytes:
    """What the small file of that number holds."""
    start = number * 512 % (len(source) - SMALL_SIZE)
    return bytes(source[start : start + SMALL_SIZE])


def new_client(ca: str | None) -> httpx.AsyncClient:
    """httpx as it comes, but for the certificates it trusts and the environment's proxies."""
    verify = ssl.create_default_context(cafile=ca)
    return httpx.AsyncClient(auth=CosAuth(), verify=verify, timeout=TIMEOUT_S, trust_env=False)


async def list_keys(client: httpx.AsyncClient, base: str, prefix: str) -> list[str]:
    """The keys below *prefix*, page by page."""
    keys: list[str] = []
    marker = ""
    while True:
        answer = await client.get(f"{base}/", params={"prefix": prefix, "marker": marker})
        root = ElementTree.fromstring(answer.raise_for_status().content)  # noqa: S314  # our server
        keys += [element.text or "" for element in root.iterfind("{*}Contents/{*}Key")]
        if root.findtext("{*}IsTruncated") != "true":
            return keys
        marker = keys[-1]


async def copy(client: httpx.AsyncClient, base: str, old: str, new: str) -> None:
    headers = {"x-cos-copy-source": copy_source(base, old)}
    text_of(await client.put(f"{base}/{new}", headers=headers), "ETag")


def copy_source(base: str, key: str) -> str:
    """A bucket in the host name is named by it, one in the path by that."""
    return f"{base.partition('://')[2]}/{key}"


def text_of(answer: httpx.Response, name: str) -> str:
    """An element of an XML answer; COS says in a 200, too, that something failed."""
    root = ElementTree.fromstring(answer.raise_for_status().content)  # noqa: S314  # our server
    text = root.findtext(f"{{*}}{name}")
    if text is None:
        raise httpx.HTTPError(f"{answer.request.url}: {answer.text}")
    return text


async def run(order: Order) -> dict[str, float]:
    async with new_client(order["ca"]) as client:
        transfer: Callable[[], Awaitable[None]] = getattr(
            Transfers(client, order), order["operation"]
        )
        began = time.monotonic()
        await transfer()
        return {"began": began, "ended": time.monotonic()}


if __name__ == "__main__":
    print(json.dumps(trio.run(run, json.loads(sys.argv[1]))))
