"""Copying an object inside COS, whatever its size."""

from typing import Final

import trio

from cosfs.cos.client import CosClient
from cosfs.cos.model import (
    MAX_PART_SIZE,
    ByteRange,
    CopySource,
    Key,
    ObjectInfo,
    ObjectProperties,
    StoredObject,
)
from cosfs.errors import IntegrityError, PreconditionFailed
from cosfs.transfer.journal import UploadJournal
from cosfs.transfer.memory import MemoryLimiter
from cosfs.transfer.parts import CopyPart, copy_spans
from cosfs.transfer.upload import UploadSession, UploadTarget
from cosfs.transfer.version import Version

_PARALLEL_COPIES: Final = 8


async def copy_object(
    client: CosClient,
    journal: UploadJournal,
    source: ObjectInfo,
    target: Key,
    properties: ObjectProperties | None = None,
    *,
    largest: int = MAX_PART_SIZE,
) -> StoredObject:
    """Copy *source* to *target*, with new *properties* or its own.

    One request up to *largest*, by default what PUT Object - Copy takes; part copies in parallel
    above. Raises PreconditionFailed (or UploadFailed from it) when the source has changed.
    """
    if source.size <= largest:
        try:
            stored = await client.copy_object(
                CopySource(key=source.key, if_match=source.etag), target, properties=properties
            )
            return _checked(stored, source, target)
        except PreconditionFailed as error:
            if error.attempts == 1 or target != source.key or properties is None:
                raise
            return await _copied_before(client, source, properties, error)
    session = UploadSession(
        client,
        MemoryLimiter(0),  # copies hold no bytes here
        journal,
        UploadTarget(
            key=target,
            properties=properties or source.properties,
            base=Version(source.key, source.etag, source.size),
        ),
        parallel=_PARALLEL_COPIES,
    )
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.run)
            for span in copy_spans(ByteRange(0, source.size)):
                session.submit(CopyPart(span))
            session.finish()
        return _checked(await session.complete(), source, target)
    except BaseException:
        await session.abort()
        raise


def _checked(stored: StoredObject, source: ObjectInfo, target: Key) -> StoredObject:
    """*stored*; IntegrityError if it is no copy. What was copied may be deleted next."""
    if None not in (stored.crc64, source.crc64) and stored.crc64 != source.crc64:
        raise IntegrityError(
            f"CRC64 {stored.crc64}, but {source.crc64} was copied",
            operation="PUT Object - Copy",
            key=target,
        )
    return stored


async def _copied_before(
    client: CosClient, source: ObjectInfo, wanted: ObjectProperties, error: PreconditionFailed
) -> StoredObject:
    """The copy of *source* onto itself that an attempt made whose answer was lost.

    It may have another ETag than its source, so that the next attempt fails. Content and metadata
    prove it; *error* is raised if they do not.
    """
    made = await client.head_object(source.key)
    if source.crc64 is None or (made.size, made.crc64) != (source.size, source.crc64):
        raise error
    if made.properties.metadata != wanted.metadata:
        raise error
    return StoredObject(etag=made.etag, crc64=made.crc64, modified_ns=made.modified_ns)
