"""Multipart uploads, request by request. Which parts there are, and why, is transfer/'s affair."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from cosfs.cos import wire
from cosfs.cos.checksum import crc64 as crc64_of
from cosfs.cos.exchange import Answer, Lane, Request, data_lane
from cosfs.cos.headers import CRC64, stored_object
from cosfs.cos.model import (
    Body,
    CopySource,
    Key,
    ObjectProperties,
    Part,
    PendingUpload,
    StoredObject,
    UploadId,
)
from cosfs.cos.requests import (
    BucketRequests,
    Query,
    body_size,
    check_crc64,
    overwriting,
    xml_headers,
)
from cosfs.cos.wire import Malformed
from cosfs.errors import (
    AlreadyExists,
    DeadlineExceeded,
    IntegrityError,
    NoSuchUpload,
    NotFound,
    ProtocolError,
    TransportError,
)


class MultipartRequests(BucketRequests):
    """The operations on multipart uploads."""

    async def initiate_multipart_upload(
        self, key: Key, *, properties: ObjectProperties
    ) -> UploadId:
        """A new upload. When an answer is lost, COS holds one more, which nobody knows."""
        request = self._about(
            "Initiate Multipart Upload",
            "POST",
            key,
            query=(("uploads", ""),),
            headers=self._creation_headers(properties),
        )
        return await self._sender.send(
            replace(request, must_try=True), lambda answer: wire.parse_initiated(answer.body)
        )

    async def upload_part(self, key: Key, upload_id: UploadId, number: int, body: Body) -> Part:
        """Raises NoSuchUpload, IntegrityError. A number may be sent again until Complete."""
        crc64 = crc64_of(body)
        query = _part_query(upload_id, number)
        request = self._about("Upload Part", "PUT", key, query=query)

        def read(answer: Answer) -> Part:
            stored = stored_object(answer.headers)
            check_crc64("Upload Part", key, sent=crc64, told=stored.crc64)
            return Part(number=number, size=body_size(body), etag=stored.etag, crc64=crc64)

        lane = data_lane(body_size(body))
        return await self._sender.send(replace(request, body=body, lane=lane), read)

    async def upload_part_copy(
        self, key: Key, upload_id: UploadId, number: int, source: CopySource
    ) -> Part:
        """Copy *source.span*, which must be there, as a part. Raises NotFound, PreconditionFailed.

        COS need not say the part's CRC64.
        """
        span = source.span
        assert span is not None, "a part's size must be known"
        request = self._about(
            "Upload Part - Copy",
            "PUT",
            key,
            query=_part_query(upload_id, number),
            headers=self._source_headers(source) | {"x-cos-copy-source-range": span.header()},
        )

        def read(answer: Answer) -> Part:
            copied = wire.parse_copied(answer.body)
            told = wire.parse_crc64(answer.headers.get(CRC64, ""))
            crc64 = told if copied.crc64 is None else copied.crc64
            return Part(number=number, size=span.size, etag=copied.etag, crc64=crc64)

        return await self._sender.send(replace(request, lane=Lane.MERGE), read)

    async def list_parts(self, key: Key, upload_id: UploadId) -> list[Part]:
        """All parts that COS holds, by number. Raises NoSuchUpload."""
        listed: list[Part] = []
        after: int | None = 0
        while after is not None:
            parts, after = await self._parts_page(key, upload_id, after)
            listed += parts
        return listed

    async def complete_multipart_upload(
        self,
        key: Key,
        upload_id: UploadId,
        parts: Sequence[Part],
        *,
        crc64: int | None,
        forbid_overwrite: bool = False,
    ) -> StoredObject:
        """Make the object of *parts*; *crc64* is what the whole must have, None if unknown.

        When the answer is lost or makes no sense, the object itself tells whether it was made.
        Without *crc64* nothing does: a mark among its metadata would, at the price of some of
        their 2 KB for good, and of a stale mark in every copy. It is called failed then, which
        it may not be. Raises NoSuchUpload, AlreadyExists, and IntegrityError, which leaves an
        object that is not what was sent.
        """
        body = wire.complete_body(parts)
        request = self._about(
            "Complete Multipart Upload",
            "POST",
            key,
            query=(("uploadId", upload_id),),
            headers=xml_headers(body) | overwriting(forbidden=forbid_overwrite),
        )
        request = replace(request, body=(body,), lane=Lane.MERGE)
        try:
            stored = await self._sender.send(request, _completed)
            if crc64 is not None:
                check_crc64(request.operation, key, sent=crc64, told=stored.crc64)
        except (NotFound, AlreadyExists) as error:
            if error.attempts == 1:
                raise
            return await self._resolve(error, key, size=_size(parts), crc64=crc64)
        except (TransportError, DeadlineExceeded, ProtocolError, IntegrityError) as error:
            return await self._resolve(error, key, size=_size(parts), crc64=crc64)
        return stored

    async def abort_multipart_upload(self, key: Key, upload_id: UploadId) -> None:
        """Give the parts up; an upload that is unknown counts as aborted."""
        query = (("uploadId", upload_id),)
        request = self._about("Abort Multipart Upload", "DELETE", key, query=query)
        try:
            await self._sender.send(replace(request, must_try=True), lambda _: None)
        except NoSuchUpload:
            return

    async def list_multipart_uploads(self, *, prefix: str = "") -> list[PendingUpload]:
        """All unfinished uploads of keys that begin with *prefix*."""
        listed: list[PendingUpload] = []
        after: tuple[str, str] | None = ("", "")
        while after is not None:
            uploads, after = await self._uploads_page(prefix, after)
            listed += uploads
        return listed

    async def _parts_page(
        self, key: Key, upload_id: UploadId, after: int
    ) -> tuple[list[Part], int | None]:
        query: Query = (("uploadId", upload_id), ("max-parts", "1000"))
        if after:
            query += (("part-number-marker", str(after)),)

        def read(answer: Answer) -> tuple[list[Part], int | None]:
            parts, following = wire.parse_parts(answer.body)
            numbers = [after, *(part.number for part in parts)]
            if any(second <= first for first, second in itertools.pairwise(numbers)):
                raise Malformed(f"part numbers that do not rise after {after}")
            if following is not None and following <= after:
                raise Malformed(f"next part number marker {following} after {after}")
            return parts, following

        request = self._about("List Parts", "GET", key, query=query)
        return await self._sender.send(request, read)

    async def _uploads_page(
        self, prefix: str, after: tuple[str, str]
    ) -> tuple[list[PendingUpload], tuple[str, str] | None]:
        markers = zip(("key-marker", "upload-id-marker"), after, strict=True)
        request = Request(
            operation="List Multipart Uploads",
            method="GET",
            endpoint=self._bucket_endpoint(),
            query=(
                ("uploads", ""),
                *((name, value) for name, value in (("prefix", prefix), *markers) if value),
                ("encoding-type", "url"),
            ),
        )

        def read(answer: Answer) -> tuple[list[PendingUpload], tuple[str, str] | None]:
            uploads, following = wire.parse_uploads(answer.body)
            if following is not None and following <= after:
                raise Malformed(f"next markers {following} after {after}")
            return uploads, following

        return await self._sender.send(request, read)


def _part_query(upload_id: UploadId, number: int) -> Query:
    return (("partNumber", str(number)), ("uploadId", upload_id))


def _completed(answer: Answer) -> StoredObject:
    return StoredObject(
        etag=wire.parse_completed(answer.body),
        crc64=wire.parse_crc64(answer.headers.get(CRC64, "")),
    )


def _size(parts: Sequence[Part]) -> int:
    return sum(part.size for part in parts)
