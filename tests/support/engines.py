"""The engines and the filesystem on an emulator in memory, without FUSE and without sockets."""

import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import trio

from cosfs.config import AttributeConfig, ServiceConfig, TransferConfig
from cosfs.cos.checksum import crc64
from cosfs.cos.client import CosClient
from cosfs.cos.credentials import Credentials, StaticCredentials
from cosfs.cos.model import Key, ObjectProperties
from cosfs.emulator.api import Access, Api
from cosfs.emulator.service import Service
from cosfs.fs.filesystem import Filesystem
from cosfs.fs.handles import FileHandle
from cosfs.fs.storing import Engines
from cosfs.namespace.attributes import AttributeCodec, new_attributes
from cosfs.namespace.inodes import Node
from cosfs.namespace.tree import Namespace
from cosfs.transfer.blocks import BlockCache
from cosfs.transfer.copy import copy_object
from cosfs.transfer.journal import UploadJournal
from cosfs.transfer.memory import MemoryLimiter
from tests.support.emulated import (
    ACCOUNT,
    BUCKET,
    SECRET_ID,
    SECRET_KEY,
    EmulatedTransport,
    make_api,
)

MIB: Final = 1 << 20
PART: Final = MIB  # the smallest that COS takes: tests reach many parts with few bytes
PLAIN: Final = ObjectProperties()
SMALL: Final = TransferConfig(part_size=PART, parallel=4, memory=16 * MIB, read_ahead=4 * MIB)


def make_quiet_api() -> Api:
    """An emulator whose ETags are no MD5s: quicker, and most tests write a few MiB."""
    service: Service = replace(make_api().service, md5=False)
    return Api(service, Access(accounts={ACCOUNT.secret_id: ACCOUNT}))


def some_bytes(size: int, seed: int = 0) -> bytes:
    """Bytes that differ from block to block; the same for the same *seed*."""
    block = bytes((seed * 7 + number) % 251 for number in range(251))
    return (block * (size // 251 + 1))[:size]


@asynccontextmanager
async def opened_client(api: Api) -> AsyncIterator[CosClient]:
    credentials = StaticCredentials(Credentials(secret_id=SECRET_ID, secret_key=SECRET_KEY))
    config = ServiceConfig(bucket=BUCKET, endpoint="http://127.0.0.1:9000")
    async with CosClient(config, credentials, transport=EmulatedTransport(api)) as client:
        yield client


def asked(api: Api, operation: str | None = None) -> list[str]:
    """The operations that were asked for, in order."""
    return [record.operation for record in api.requests.records(operation)]


def stored_bytes(api: Api, key: str) -> bytes | None:
    """What is at *key*, seen past every request; its CRC64 is checked on the way."""
    store = api.service.store
    found = store.find(BUCKET, key)
    if found is None:
        return None
    pieces = store.pieces(found.content.id, 0, found.content.size)
    content = b"".join(bytes(chunk) for piece in pieces for chunk in store.bodies.read(piece))
    assert crc64([content]) == found.content.crc64, key
    return content


def stored_metadata(api: Api, key: str) -> dict[str, str]:
    """The x-cos-meta-* of the object at *key*, without that prefix."""
    found = api.service.store.find(BUCKET, key)
    assert found is not None, key
    prefix = "x-cos-meta-"
    headers = found.properties.headers
    return {name[len(prefix) :]: headers[name] for name in headers if name.startswith(prefix)}


def unfinished_uploads(api: Api) -> list[str]:
    """The keys of uploads that were neither completed nor aborted."""
    return [upload.key for upload in api.service.store.uploads_from(BUCKET, b"")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """A filesystem on *api*, and short ways to use it."""

    api: Api
    client: CosClient
    engines: Engines
    fs: Filesystem

    @property
    def memory(self) -> MemoryLimiter:
        return self.engines.memory

    @property
    def root(self) -> Node:
        return self.fs.namespace.inodes.root

    def create(self, name: str, *, mode: int = 0o644, exclusive: bool = False) -> FileHandle:
        attributes = new_attributes(stat.S_IFREG | mode, 1000, 100)
        return self.fs.create(self.root, name, attributes, pid=1, exclusive=exclusive)

    def create_in(self, directory: Node, name: str) -> FileHandle:
        attributes = new_attributes(stat.S_IFREG | 0o644, 1000, 100)
        return self.fs.create(directory, name, attributes, pid=1)

    async def open(self, name: str, *, writable: bool = True) -> FileHandle:
        node = await self.fs.lookup(self.root, name)
        return await self.fs.open(node, writable=writable, pid=1)

    async def close(self, handle: FileHandle) -> None:
        """What close(2) does to the only descriptor of a handle."""
        try:
            await self.fs.flush(handle)
        finally:
            await self.fs.release(handle)

    async def put(
        self, key: str, content: bytes, metadata: Mapping[str, str] | None = None
    ) -> None:
        """Store an object as another program would, outside the request log."""
        properties = ObjectProperties(metadata=metadata or {})
        await self.client.put_object(Key(key), [content], properties=properties)
        self.api.requests.clear()

    def stored(self, key: str) -> bytes | None:
        return stored_bytes(self.api, key)


def keys(files: Files) -> list[str]:
    """Every key in the bucket."""
    return [entry.key for entry in files.api.service.store.objects_from(BUCKET, b"")]


def nothing_else_held(_pid: int, _inode: int) -> bool:
    return False


@asynccontextmanager
async def opened_files(
    api: Api,
    config: TransferConfig = SMALL,
    *,
    still_held: Callable[[int, int], bool] = nothing_else_held,
    journal: UploadJournal | None = None,
    prefix: str = "",
) -> AsyncIterator[Files]:
    """A filesystem whose tasks are cancelled when the block ends, as a mount's are."""
    journal = journal or UploadJournal(None)
    async with opened_client(api) as client, trio.open_nursery() as nursery:
        codec = AttributeCodec(AttributeConfig(), default_uid=1000, default_gid=100)
        namespace = Namespace(
            client,
            codec,
            prefix=prefix,
            config=AttributeConfig(),
            copy=partial(copy_object, client, journal),
        )
        memory = MemoryLimiter(config.memory, client.patience)
        engines = Engines(
            client=client,
            namespace=namespace,
            memory=memory,
            blocks=BlockCache(client, memory, nursery),
            journal=journal,
            config=config,
            nursery=nursery,
        )
        fs = Filesystem(engines, still_held=still_held)
        yield Files(api=api, client=client, engines=engines, fs=fs)
        nursery.cancel_scope.cancel()
