"""How the content of one file becomes an object: by one PUT, or by an upload begun while writing.

What is fixed when an upload begins (key, metadata) may change before it ends: then a copy inside
COS follows. A file without a name has a hidden key, for as long as somebody has it open.
"""

import logging
import time
from dataclasses import dataclass, field, replace

import trio

from cosfs.config import OnConflict, TransferConfig
from cosfs.cos.checksum import crc64
from cosfs.cos.client import CosClient
from cosfs.cos.model import ByteRange, Key, ObjectInfo, ObjectProperties, StoredObject
from cosfs.errors import (
    AlreadyExists,
    CosError,
    DeadlineExceeded,
    TransportError,
    UploadFailed,
)
from cosfs.fs.content import FileContent
from cosfs.fs.fileupload import FileUpload
from cosfs.fs.moving import MovingNodes
from cosfs.namespace.attributes import MTIME, content_type_for
from cosfs.namespace.inodes import Node
from cosfs.namespace.tree import Namespace
from cosfs.transfer.blocks import BlockCache
from cosfs.transfer.copy import copy_object
from cosfs.transfer.journal import UploadJournal
from cosfs.transfer.memory import MemoryLimiter
from cosfs.transfer.parts import Piece, next_part_size
from cosfs.transfer.upload import UploadTarget, assemble
from cosfs.transfer.version import Version

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Engines:
    """What an open file works with; one set for the whole mount."""

    client: CosClient
    namespace: Namespace
    memory: MemoryLimiter
    blocks: BlockCache
    journal: UploadJournal
    config: TransferConfig
    nursery: trio.Nursery  # the mount's: upload sessions outlive the call that began them
    moving: MovingNodes = field(default_factory=MovingNodes)


class FileStore:
    """Makes the objects of one file, one after the other. Its owner orders the calls.

    *explicit_mtime*: the mtime was set by utimens, and nothing has been written since.
    *is_exclusive*: the next object may not replace one (O_EXCL).
    """

    def __init__(self, engines: Engines, node: Node) -> None:
        self.explicit_mtime = False
        self.is_exclusive = False
        self._engines = engines
        self._node = node
        self._put_size = next_part_size(engines.config, 0)
        self._upload: FileUpload | None = None
        self._error: Exception | None = None
        self._hidden: Key | None = None
        self._unanswered: set[int] = set()  # the CRC64 of each PUT that COS may have stored

    def __repr__(self) -> str:
        return f"<FileStore {self._upload}>"

    @property
    def version(self) -> Version | None:
        """The object that the content started from."""
        info = self._node.object
        return None if info is None else Version(info.key, info.etag, info.size, info.crc64)

    @property
    def error(self) -> Exception | None:
        """Why bytes that were sent are lost, if they are."""
        return self._error or (None if self._upload is None else self._upload.error)

    @property
    def has_begun(self) -> bool:
        """Whether an upload runs."""
        return self._upload is not None

    @property
    def stored(self) -> int:
        """How many bytes COS has of the upload that runs."""
        return 0 if self._upload is None else self._upload.stored

    @property
    def is_long(self) -> bool:
        return self._upload is not None and self._upload.is_long

    @property
    def part_size(self) -> int:
        """The size of the next part; content of that size and less is one PUT."""
        return self._put_size if self._upload is None else self._upload.part_size

    def keeps(self, stop: int) -> bool:
        """Whether everything before *stop* can be read and changed although it was sent."""
        return self._upload is not None and stop <= self._upload.kept

    def read_kept(self, span: ByteRange) -> bytes:
        assert self._upload is not None
        return self._upload.read(span.start, span.size)

    def rewrite_kept(self, offset: int, data: bytes) -> None:
        """Change bytes that were sent; does not yield."""
        assert self._upload is not None
        self._upload.rewrite(offset, data)

    def begin(self) -> None:
        """Begin an upload, or take one up again that broke off. Does not yield."""
        engines, target = self._engines, self._target(with_mtime=self.explicit_mtime)
        upload = FileUpload(
            engines.client, engines.memory, engines.journal, target, engines.config
        )
        engines.nursery.start_soon(upload.run)
        self._upload = upload

    def send(self, pieces: list[Piece], *, last: bool = False) -> None:
        """Let *pieces* be the next parts, of a new upload if none runs. Does not yield."""
        if self._upload is None:
            self.begin()
        assert self._upload is not None
        self._upload.send(pieces, last=last)

    async def make(self, content: FileContent) -> ObjectInfo:
        """Make an object of *content*.

        After a failed PUT the content is as it was. What a failed upload has sent cannot be sent
        again: *error* says so from then on.
        """
        if not self._node.unlinked:
            namespace = self._engines.namespace
            await namespace.removals.settled(namespace.key_of(self._node))
        if self._upload is None and content.size <= self.part_size:
            return await self._put(content)
        return await self._complete(content)

    async def settle(self, made: ObjectInfo) -> ObjectInfo:
        """What ``make`` made, with what COS adds to it and what has changed since it began."""
        if MTIME not in made.properties.metadata:
            made = await self._seen(made)
        with_mtime = self.explicit_mtime or MTIME in made.properties.metadata
        engines, target = self._engines, self._target(with_mtime=with_mtime)
        client = engines.client
        if target.key == made.key and target.properties == made.properties:
            return made
        stored = await copy_object(client, engines.journal, made, target.key, target.properties)
        if target.key != made.key:
            await client.delete_object(made.key)
        return replace(_info(target, stored, made.size), crc64=made.crc64)

    def give_up(self, error: Exception) -> None:
        """Store nothing of the content any more, because of *error*."""
        self._error = error

    async def end_upload(self) -> None:
        """Abort the upload, if one runs."""
        if self._upload is not None:
            upload, self._upload = self._upload, None
            await upload.end()

    async def hide(self) -> ObjectInfo | None:
        """Copy the object to a key that outlives the file's name; None if there are no bytes."""
        info = self._node.object
        if info is None or info.size == 0:
            return None
        engines = self._engines
        stored = await copy_object(engines.client, engines.journal, info, self._hidden_key())
        return replace(info, key=self._hidden_key(), etag=stored.etag)

    async def forget_hidden(self) -> None:
        """Remove what only those could reach who had the file open."""
        if self._hidden is not None:
            key, self._hidden = self._hidden, None
            await self._engines.client.delete_object(key)

    def _hidden_key(self) -> Key:
        self._hidden = self._hidden or self._engines.namespace.hidden_key()
        return self._hidden

    def _target(self, *, with_mtime: bool) -> UploadTarget:
        namespace, node = self._engines.namespace, self._node
        stored = ObjectProperties() if node.object is None else node.object.properties
        metadata = namespace.codec.to_metadata(
            node.attributes, keep=stored.metadata, with_mtime=with_mtime
        )
        return UploadTarget(
            key=self._hidden_key() if node.unlinked else namespace.key_of(node),
            properties=ObjectProperties(
                content_type=content_type_for(node.name), metadata=metadata, entity=stored.entity
            ),
            base=self.version,
            base_may_change=self._engines.config.on_conflict is OnConflict.OVERWRITE,
        )

    async def _put(self, content: FileContent) -> ObjectInfo:
        engines, target = self._engines, self._target(with_mtime=True)
        size, buffered = content.size, content.buffered
        pieces = content.advance(size)
        engines.memory.depart(buffered)
        try:
            stored = await self._put_body(target, await assemble(engines.client, target, pieces))
        except BaseException:
            content.restore(pieces)
            engines.memory.stay(buffered)
            raise
        engines.memory.arrive(buffered)
        return _info(target, stored, size)

    async def _put_body(self, target: UploadTarget, body: list[bytes]) -> StoredObject:
        """PUT. An object that an earlier PUT made, without an answer, is ours to replace."""
        client, properties = self._engines.client, target.properties
        try:
            return await client.put_object(
                target.key, body, properties=properties, forbid_overwrite=self.is_exclusive
            )
        except (TransportError, DeadlineExceeded):
            self._unanswered.add(crc64(body))
            raise
        except AlreadyExists as error:
            if error.attempts > 1:
                self._unanswered.add(crc64(body))
            if not self._unanswered:
                raise
            if (await client.head_object(target.key)).crc64 not in self._unanswered:
                raise
        self.is_exclusive = False
        return await client.put_object(target.key, body, properties=properties)

    async def _complete(self, content: FileContent) -> ObjectInfo:
        size = content.size
        self.send(content.advance(size), last=True)
        assert self._upload is not None
        try:
            stored = await self._upload.complete(forbid_overwrite=self.is_exclusive)
        except BaseException as error:
            # The upload with all that was sent stays until the last handle is closed.
            interrupted = UploadFailed(self._upload.target.key, "interrupted")
            self._error = error if isinstance(error, UploadFailed) else interrupted
            raise
        target = self._upload.target
        await self.end_upload()
        return _info(target, stored, size)

    async def _seen(self, made: ObjectInfo) -> ObjectInfo:
        """With COS's Last-Modified, which is the mtime where none was set."""
        try:
            shown = await self._engines.client.head_object(made.key)
        except CosError as error:
            _log.warning("object not seen after upload key=%s error=%s", made.key, error)
            return made
        return replace(made, etag=shown.etag, modified_ns=shown.modified_ns)


def _info(target: UploadTarget, stored: StoredObject, size: int) -> ObjectInfo:
    return ObjectInfo(
        key=target.key,
        size=size,
        etag=stored.etag,
        modified_ns=stored.modified_ns or time.time_ns(),
        crc64=stored.crc64,
        properties=target.properties,
    )
