"""Moving objects: COS has no rename, so everything is copied, and then the sources are deleted.

Owns the order that keeps a failing move harmless: nothing is deleted before every copy is there,
and a move that cannot be finished takes its copies away again. Knows keys, no nodes.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

import trio

from cosfs.cos.client import CosClient
from cosfs.cos.model import Key, ListedObject, ObjectInfo, ObjectProperties, StoredObject
from cosfs.errors import CosError, NoSuchBucket, NotFound, PreconditionFailed
from cosfs.namespace.attributes import AttributeChange, AttributeCodec, content_type_for
from cosfs.namespace.lookups import Finder
from cosfs.namespace.parallel import for_each

PARALLEL_COPIES: Final = 16  # as many as the client has at work inside COS
UNDO_TIMEOUT_S: Final = 60.0  # the copies of a failed move are litter then, not loss

CopyObject = Callable[[ObjectInfo, Key, ObjectProperties | None], Awaitable[StoredObject]]
"""Copy a whole object of any size, If-Match on its ETag; None keeps its properties."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One object to move. Without *listed* it is known only because this mount stored it."""

    source: Key
    target: Key
    listed: ListedObject | None = None


class ObjectMover:
    """Copies and deletes objects on the server."""

    def __init__(
        self, client: CosClient, codec: AttributeCodec, finder: Finder, copy: CopyObject
    ) -> None:
        self._client = client
        self._codec = codec
        self._finder = finder
        self._copy = copy

    async def rewrite(
        self, info: ObjectInfo, target: Key, properties: ObjectProperties
    ) -> ObjectInfo:
        """Copy an object to *target*, maybe itself, with other properties. Returns the copy."""
        stored = await self._copy(info, target, properties)
        made = replace(
            info,
            key=target,
            etag=stored.etag,
            crc64=info.crc64 if stored.crc64 is None else stored.crc64,
            modified_ns=info.modified_ns if stored.modified_ns is None else stored.modified_ns,
            properties=properties,
        )
        self._finder.stored(made)
        return made

    async def copy(
        self, info: ObjectInfo, target: Key, change: AttributeChange | None = None
    ) -> ObjectInfo:
        """Copy an object with all that is stored beside it and its mtime, changed by *change*.

        The properties are always named: COS resets the storage class of a copy that names none.
        """
        properties = replace(
            info.properties,
            metadata=self._metadata_after(info, change),
            content_type=_content_type_after(info, target),
        )
        return await self.rewrite(info, target, properties)

    def _metadata_after(self, info: ObjectInfo, change: AttributeChange | None) -> dict[str, str]:
        if change is None:
            return self._codec.pin_mtime(info)
        attributes = change.apply(self._codec.from_object(info), time.time_ns())
        return self._codec.to_metadata(attributes, keep=info.properties.metadata)

    async def copy_current(
        self, move: Move, change: AttributeChange | None = None
    ) -> ObjectInfo | None:
        """Copy the object as it is now. None: somebody removed it, nothing is to be moved."""
        known = None if move.listed is None else await self._finder.info_of(move.listed)
        info = known or await self._finder.head(move.source)
        try:
            return None if info is None else await self.copy(info, move.target, change)
        except PreconditionFailed:
            info = await self._finder.head(move.source)
            return None if info is None else await self.copy(info, move.target, change)
        except NoSuchBucket:
            raise
        except NotFound:
            return None

    async def plan(self, source: str, target: str, known: Iterable[Key]) -> list[Move]:
        """Every object under *source*, with its key under *target*.

        *known* are keys that a listing may miss as they are new.
        """
        listed = {entry.key: entry for entry in await self._finder.keys_below(source)}
        keys = dict.fromkeys([*listed, *known])
        return [
            Move(source=key, target=Key(target + key[len(source) :]), listed=listed.get(key))
            for key in keys
            if key.startswith(source)
        ]

    async def copy_all(
        self, moves: Sequence[Move], *, existing: AbstractSet[Key]
    ) -> dict[Key, ObjectInfo]:
        """Copy all or nothing; the copies by their old keys. Raises what the first failure raised.

        A failure takes the copies away again, but for those over *existing* targets.
        """
        made: dict[Key, ObjectInfo] = {}
        begun: set[Key] = set()

        async def copy_one(move: Move) -> None:
            begun.add(move.target)
            info = await self.copy_current(move)
            if info is not None:
                made[move.source] = info

        complete = False
        try:
            await for_each(moves, copy_one, parallel=PARALLEL_COPIES)
            complete = True
        finally:
            if not complete:
                with trio.move_on_after(UNDO_TIMEOUT_S, shield=True):
                    await self._undo(begun - existing)
        return made

    async def delete(self, keys: Sequence[Key]) -> None:
        """Delete the objects; those that are gone already are no error."""
        failures = [] if len(keys) < 2 else await self._client.delete_objects(keys)
        again = [failure.key for failure in failures] if len(keys) > 1 else keys
        for key in again:
            await self._client.delete_object(key)  # raises the error that a batch only names

    async def _undo(self, keys: AbstractSet[Key]) -> None:
        """Remove copies of a move that failed. A failure here is litter, so it is only logged."""
        try:
            await self.delete(sorted(keys))
        except CosError as error:
            log.warning("copies left behind keys=%d error=%s", len(keys), error)


def _content_type_after(info: ObjectInfo, target: Key) -> str:
    """A content type that comes from the name follows the name; one that was chosen stays."""
    content_type = info.properties.content_type
    return content_type_for(target) if content_type == content_type_for(info.key) else content_type
