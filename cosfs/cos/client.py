"""CosClient: one coroutine per REST operation of COS.

Attempts, deadlines and limits are sender.py's, signatures signer.py's; XML and headers are
wire.py's and headers.py's, pages of listings pages.py's; multipart uploads are multipart.py's.
What is said here is what each operation sends, and when its answer is a success.
"""

from collections.abc import Sequence
from dataclasses import replace

from cosfs.cos import wire
from cosfs.cos.checksum import crc64 as crc64_of
from cosfs.cos.download import Download, Sink
from cosfs.cos.exchange import Answer, Lane, Request, data_lane
from cosfs.cos.headers import stored_object
from cosfs.cos.model import (
    MAX_DELETE_KEYS,
    MAX_LIST_KEYS,
    Body,
    BucketInfo,
    ByteRange,
    CopySource,
    DeleteFailure,
    ETag,
    Key,
    ListingPage,
    ObjectProperties,
    StoredObject,
)
from cosfs.cos.multipart import MultipartRequests
from cosfs.cos.pages import PageQuestion
from cosfs.cos.requests import body_size, check_crc64, overwriting, xml_headers
from cosfs.cos.wire import Malformed
from cosfs.errors import AlreadyExists, IntegrityError


class CosClient(MultipartRequests):
    """COS, seen from one bucket. Every method raises CosError; none outlives its deadline."""

    async def list_buckets(self) -> list[BucketInfo]:
        """The buckets of the account, in all regions."""
        request = Request(operation="GET Service", method="GET", endpoint=self._service)
        return await self._sender.send(request, lambda answer: wire.parse_buckets(answer.body))

    async def head_bucket(self) -> None:
        """Raises NoSuchBucket, AccessDenied."""
        request = Request(operation="HEAD Bucket", method="HEAD", endpoint=self._bucket_endpoint())
        await self._sender.send(request, lambda _: None)

    async def list_objects(
        self,
        *,
        prefix: str = "",
        delimiter: str = "",
        marker: str = "",
        max_keys: int = MAX_LIST_KEYS,
    ) -> ListingPage:
        """The page of keys after *marker*, in the order of their UTF-8 bytes."""
        question = PageQuestion(
            prefix=prefix, delimiter=delimiter, marker=marker, max_keys=max_keys
        )
        wanted = {"prefix": prefix, "delimiter": delimiter, "marker": marker}
        request = Request(
            operation="GET Bucket",
            method="GET",
            endpoint=self._bucket_endpoint(),
            query=(
                *((name, value) for name, value in wanted.items() if value),
                ("max-keys", str(max_keys)),
                ("encoding-type", "url"),  # keys may hold what XML cannot
            ),
        )
        return await self._sender.send(
            request, lambda answer: self._pages.read(question, answer.body)
        )

    async def delete_objects(self, keys: Sequence[Key]) -> list[DeleteFailure]:
        """Delete any number of keys. Those that are not there count as deleted."""
        if not all(keys):
            raise ValueError("DELETE Multiple Objects: an empty key")
        batchable = [key for key in keys if wire.is_expressible(key)]
        failures: list[DeleteFailure] = []
        for start in range(0, len(batchable), MAX_DELETE_KEYS):
            failures += await self._delete_batch(batchable[start : start + MAX_DELETE_KEYS])
        for key in keys:
            if not wire.is_expressible(key):
                await self.delete_object(key)
        return failures

    async def _delete_batch(self, keys: Sequence[Key]) -> list[DeleteFailure]:
        body = wire.delete_body(keys)
        request = Request(
            operation="DELETE Multiple Objects",
            method="POST",
            endpoint=self._bucket_endpoint(),
            query=(("delete", ""),),
            headers=xml_headers(body),
            body=(body,),
        )

        def read(answer: Answer) -> list[DeleteFailure]:
            failures = wire.parse_delete_failures(answer.body)
            # The caller will try these again: nothing but what it asked for may be deleted then.
            others = {failure.key for failure in failures}.difference(keys)
            if others:
                raise Malformed(
                    f"failures of keys that were not asked for, such as {min(others)!r}"
                )
            return failures

        return await self._sender.send(request, read)

    async def delete_object(self, key: Key) -> None:
        """Delete *key*; one that is not there counts as deleted."""
        await self._sender.send(self._about("DELETE Object", "DELETE", key), lambda _: None)

    async def get_object(
        self,
        key: Key,
        span: ByteRange | None = None,
        *,
        if_match: ETag | None = None,
        sink: Sink,
    ) -> None:
        """Hand the bytes of *span*, or of the whole object, to *sink*, in order.

        After an error *sink* has had some of them. Raises PreconditionFailed when the object is
        not *if_match*, or is replaced on the way; InvalidRange when *span* begins past its end,
        ProtocolError when it ends past it; IntegrityError when the whole has another CRC64.
        """
        download = Download(span, if_match, sink)
        lane = Lane.DATA if span is None else data_lane(span.size)
        request = replace(self._about("GET Object", "GET", key), lane=lane)
        await self._sender.download(request, download)
        if download.is_corrupt:
            raise IntegrityError("CRC64 differs from COS's", operation="GET Object", key=key)

    async def put_object(
        self, key: Key, body: Body, *, properties: ObjectProperties, forbid_overwrite: bool = False
    ) -> StoredObject:
        """Raises AlreadyExists with *forbid_overwrite*; IntegrityError if the CRC64 differs."""
        crc64 = crc64_of(body)
        headers = self._creation_headers(properties) | overwriting(forbidden=forbid_overwrite)
        request = self._about("PUT Object", "PUT", key, headers=headers)
        is_made = False

        def read(answer: Answer) -> StoredObject:
            nonlocal is_made
            is_made = True
            stored = stored_object(answer.headers)
            check_crc64("PUT Object", key, sent=crc64, told=stored.crc64)
            return stored

        try:
            lane = data_lane(body_size(body))
            return await self._sender.send(replace(request, body=body, lane=lane), read)
        except AlreadyExists as error:
            if error.attempts == 1:
                raise
            if is_made:  # of a body that was damaged on its way: what exists is ours to replace
                return await self.put_object(key, body, properties=properties)
            return await self._resolve(error, key, size=body_size(body), crc64=crc64)

    async def copy_object(
        self,
        source: CopySource,
        target: Key,
        *,
        properties: ObjectProperties | None = None,
        forbid_overwrite: bool = False,
    ) -> StoredObject:
        """Copy an object of at most 5 GiB; *properties* None keeps those of the source.

        The storage class and the encryption become the mount's, whatever the source has, unless
        *properties* names a class: COS resets what is not sent. With *forbid_overwrite*, when
        an answer is lost on the way, AlreadyExists may be about the copy itself.
        """
        made = self._creation_headers(properties or ObjectProperties())
        if properties is None:
            del made["content-type"]
        headers = {
            **self._source_headers(source),
            "x-cos-metadata-directive": "Copy" if properties is None else "Replaced",
            **made,
            **overwriting(forbidden=forbid_overwrite),
        }
        request = self._about("PUT Object - Copy", "PUT", target, headers=headers)
        return await self._sender.send(
            replace(request, lane=Lane.MERGE),
            lambda answer: wire.parse_copied(answer.body),
        )
