"""What all operations on one bucket share: its endpoint, the headers of what is made, the proof.

Knows Sender and headers, and HEAD Object, because HEAD settles every doubt about a lost answer.
"""

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Self, TypeVar

import httpx

from cosfs.config import ServiceConfig
from cosfs.cos.credentials import CredentialsProvider
from cosfs.cos.endpoint import Endpoint, bucket_endpoint, service_endpoint
from cosfs.cos.exchange import Answer, Request
from cosfs.cos.headers import encryption_headers, object_info, property_headers
from cosfs.cos.health import HealthReport
from cosfs.cos.model import Body, CopySource, Key, ObjectInfo, ObjectProperties, StoredObject
from cosfs.cos.pages import PageReader
from cosfs.cos.sender import Sender
from cosfs.cos.transport import open_transport
from cosfs.errors import ConfigError, CosError, IntegrityError

T = TypeVar("T")
Query = tuple[tuple[str, str], ...]


class BucketRequests:
    """Makes the requests of CosClient; its methods begin where COS's operations differ."""

    def __init__(
        self,
        config: ServiceConfig,
        credentials: CredentialsProvider,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """ConfigError if *config* names no bucket that can be; with "" for the bucket, only
        CosClient.list_buckets() can be called. *now* is the clock of signatures, in Unix seconds.
        """
        self.bucket = config.bucket
        self._service = service_endpoint(config)
        self._endpoint = bucket_endpoint(config) if config.bucket else None
        self._storage_class = config.storage_class
        self._encryption = encryption_headers(config.sse)
        self._pages = PageReader()
        url = (self._endpoint or self._service).url
        if transport is None:
            transport = open_transport(config, url)
        self._sender = Sender(config, credentials, transport, url=url, now=now)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    @property
    def health(self) -> HealthReport:
        """Whether COS answers, as far as requests have shown."""
        return self._sender.health.report()

    @property
    def requests_in_flight(self) -> dict[str, int]:
        """How many operations are at work, by kind."""
        return self._sender.in_flight

    def patience(self) -> AbstractContextManager[None]:
        """Around a wait for memory that others' requests are to free.

        Raises ServiceAway when COS has been away for twice the timeout of it.
        """
        return self._sender.patience()

    async def aclose(self) -> None:
        """Close the idle connections."""
        await self._sender.aclose()

    async def head_object(self, key: Key) -> ObjectInfo:
        """Raises NotFound."""

        def read(answer: Answer) -> ObjectInfo:
            return object_info(key, answer.headers)

        return await self._sender.send(self._about("HEAD Object", "HEAD", key), read)

    def _about(
        self,
        operation: str,
        method: str,
        key: Key,
        *,
        query: Query = (),
        headers: Mapping[str, str] | None = None,
    ) -> Request:
        """A request about an object; ValueError without a key, which would address the bucket."""
        if not key:
            raise ValueError(f"{operation}: an empty key")
        return Request(
            operation=operation,
            method=method,
            endpoint=self._bucket_endpoint(),
            key=key,
            query=query,
            headers=headers or {},
        )

    def _bucket_endpoint(self) -> Endpoint:
        if self._endpoint is None:
            raise ConfigError("no bucket: name one, such as examplebucket-1250000000")
        return self._endpoint

    def _creation_headers(self, properties: ObjectProperties) -> dict[str, str]:
        """The headers of an object that is about to be made."""
        stored = property_headers(properties, default_class=self._storage_class)
        return stored | self._encryption

    def _source_headers(self, source: CopySource) -> dict[str, str]:
        headers = {"x-cos-copy-source": self._bucket_endpoint().copy_source(source.key)}
        if source.if_match is not None:
            headers["x-cos-copy-source-if-match"] = f'"{source.if_match}"'
        return headers

    async def _resolve(
        self, error: CosError, key: Key, *, size: int, crc64: int | None
    ) -> StoredObject:
        """The object at *key*, if an earlier attempt made it and only its answer was lost.

        Size and CRC64 prove it; *error* is raised if they do not, or HEAD fails.
        """
        if crc64 is None:
            raise error
        try:
            info = await self.head_object(key)
        except CosError as doubt:
            raise error from doubt
        if (info.size, info.crc64) != (size, crc64):
            raise error
        return StoredObject(etag=info.etag, crc64=info.crc64, modified_ns=info.modified_ns)


def overwriting(*, forbidden: bool) -> dict[str, str]:
    return {"x-cos-forbid-overwrite": "true"} if forbidden else {}


def xml_headers(body: bytes) -> dict[str, str]:
    """The headers of an XML body, with the MD5 that COS demands of it."""
    digest = hashlib.md5(body, usedforsecurity=False).digest()
    return {
        "content-type": "application/xml",
        "content-md5": base64.b64encode(digest).decode(),
    }


def check_crc64(operation: str, key: Key, *, sent: int, told: int | None) -> None:
    """IntegrityError unless COS has what was sent, or does not say what it has."""
    if told not in (None, sent):
        raise IntegrityError(
            f"CRC64 sent {sent}, stored {told}; sending it again may help",
            operation=operation,
            key=key,
        )


def body_size(body: Body) -> int:
    return sum(map(len, body))
