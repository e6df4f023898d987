"""A namespace on an emulator in memory, with its requests counted and its time under control."""

from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qs

import httpx
import pytest
import trio

from cosfs.config import AttributeConfig, ServiceConfig
from cosfs.cos.client import CosClient
from cosfs.cos.credentials import Credentials, StaticCredentials
from cosfs.cos.model import CopySource, Key, ObjectInfo, ObjectProperties, StoredObject
from cosfs.emulator.faults import Fault
from cosfs.errors import NotFound
from cosfs.namespace.attributes import AttributeCodec
from cosfs.namespace.inodes import Node
from cosfs.namespace.tree import Namespace
from tests.support.emulated import BUCKET, SECRET_ID, SECRET_KEY, EmulatedTransport

TTL_S = 60.0  # longer than any test, so that only a mock clock's jump ends it
EXPIRED_S = TTL_S + 0.1


class LateTransport(EmulatedTransport):
    """An emulator whose answers can be late, and whose listings can lag behind.

    An answer that is held shows what was true when it was asked for. Counts requests in flight.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lagging = False
        self.most_at_once = 0
        self._at_once = 0
        self._held: tuple[str, trio.Event] | None = None
        self._listings: dict[bytes, bytes] = {}

    def hold_next(self, method: str) -> trio.Event:
        """Keep the next answer to *method* back until the event is set."""
        gate = trio.Event()
        self._held = (method, gate)
        return gate

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answer(request)
        finally:
            self._at_once -= 1

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if self._held is not None and self._held[0] == request.method:
            gate, self._held = self._held[1], None
            await gate.wait()
        if request.method == "GET" and b"prefix=" in request.extensions["target"]:
            body = await response.aread()
            if not self.lagging:
                self._listings[request.extensions["target"]] = body
            known = self._listings.get(request.extensions["target"], body)
            headers = [("x-cos-request-id", "late"), ("content-type", "application/xml")]
            return httpx.Response(200, headers=headers, content=known)
        return response


@dataclass
class World:
    """A bucket, and the mounts that look at it."""

    client: CosClient
    transport: LateTransport
    codec: AttributeCodec

    def mount(self, prefix: str = "", *, ttl_s: float = TTL_S) -> Namespace:
        config = AttributeConfig(metadata_ttl_s=ttl_s)
        return Namespace(self.client, self.codec, prefix=prefix, config=config, copy=self.copy)

    async def copy(
        self, info: ObjectInfo, target: Key, properties: ObjectProperties | None
    ) -> StoredObject:
        source = CopySource(key=info.key, if_match=info.etag)
        return await self.client.copy_object(source, target, properties=properties)

    async def put(
        self,
        key: str,
        body: bytes = b"",
        *,
        metadata: Mapping[str, str] | None = None,
        content_type: str = "application/octet-stream",
        entity: Mapping[str, str] | None = None,
    ) -> None:
        """Store an object as another program would, outside the request log."""
        properties = ObjectProperties(
            content_type=content_type, metadata=metadata or {}, entity=entity or {}
        )
        await self.client.put_object(Key(key), [body], properties=properties)
        self.forget_requests()

    def age(self, key: str) -> None:
        """Date an object back by a minute."""
        store = self.transport.api.service.store
        stored = store.find(BUCKET, key)
        assert stored is not None, key
        content = stored.content
        same = store.slice_content(content, 0, content.size, crc64=content.crc64)
        store.put(BUCKET, replace(stored, content=same, modified=stored.modified - 60))

    async def fill(self, keys: Iterable[str]) -> None:
        """Store many empty objects, a minute old, past every request but one."""
        first, *others = keys
        await self.put(first)
        self.age(first)
        store = self.transport.api.service.store
        stored = store.find(BUCKET, first)
        assert stored is not None
        for key in others:
            content = store.slice_content(stored.content, 0, 0, crc64=stored.content.crc64)
            store.put(BUCKET, replace(stored, key=key, content=content))

    async def head(self, key: str) -> ObjectInfo:
        return await self.client.head_object(Key(key))

    async def delete(self, key: str) -> None:
        await self.client.delete_object(Key(key))
        self.forget_requests()

    async def keys(self) -> list[str]:
        page = await self.client.list_objects()
        assert page.next_marker is None
        return [listed.key for listed in page.objects]

    async def keys_below(self, prefix: str) -> list[str]:
        page = await self.client.list_objects(prefix=prefix)
        return [listed.key for listed in page.objects]

    async def exists(self, key: str) -> bool:
        try:
            await self.head(key)
        except NotFound:
            return False
        return True

    def requests(self) -> list[str]:
        """What was asked since the last call, as "operation key", listings by their prefix."""
        records = self.transport.api.requests.records()
        asked = [f"{record.operation} {record.key or _prefix(record.query)}" for record in records]
        self.forget_requests()
        return [text.rstrip() for text in asked]

    def forget_requests(self) -> None:
        self.transport.api.requests.clear()

    def fail(self, fault: Fault) -> None:
        self.transport.api.faults.set([fault])


def _prefix(query: str) -> str:
    return parse_qs(query).get("prefix", [""])[0]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    transport = LateTransport()
    credentials = StaticCredentials(Credentials(secret_id=SECRET_ID, secret_key=SECRET_KEY))
    config = ServiceConfig(bucket=BUCKET, endpoint="http://127.0.0.1:9000")
    codec = AttributeCodec(AttributeConfig(), default_uid=1000, default_gid=100)
    async with CosClient(config, credentials, transport=transport) as client:
        yield World(client, transport, codec)


@pytest.fixture
def names(world: World) -> Namespace:
    return world.mount()


@pytest.fixture
def root(names: Namespace) -> Node:
    return names.inodes.root
