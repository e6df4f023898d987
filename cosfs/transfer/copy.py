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
from cosfs.transfer.blocks import Version
from cosfs.transfer.memory import MemoryLimiter
from cosfs.transfer.parts import CopyPart, copy_spans
from cosfs.transfer.upload import UploadSession, UploadTarget

_PARALLEL_COPIES: Final = 8


async def copy_object(
    client: CosClient,
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
        return await client.copy_object(
            CopySource(key=source.key, if_match=source.etag), target, properties=properties
        )
    session = UploadSession(
        client,
        MemoryLimiter(0),  # copies hold no bytes here
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
        return await session.complete()
    except BaseException:
        await session.abort()
        raise
