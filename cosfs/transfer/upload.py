"""Our side of one multipart upload: parts go out in parallel, in any order, while more arrive.

The session's tasks live in its own nursery, opened inside ``run``, which the mount's nursery
starts. It never throws into that nursery: errors of the service are its outcome. The journal knows
of every upload from its Initiate to its end, so that one that broke off can be taken up again.
"""

import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import trio

from cosfs.cos.checksum import combine, md5_of
from cosfs.cos.checksum import crc64 as crc64_of
from cosfs.cos.client import CosClient
from cosfs.cos.download import Collected
from cosfs.cos.model import (
    MAX_OBJECT_SIZE,
    MAX_PARTS,
    Body,
    ByteRange,
    CopySource,
    Key,
    ObjectProperties,
    Part,
    StoredObject,
    UploadId,
)
from cosfs.errors import (
    CosError,
    CosfsError,
    DeadlineExceeded,
    FileTooLarge,
    NoSuchUpload,
    ServiceBusy,
    TransportError,
    UploadFailed,
)
from cosfs.transfer.journal import JournaledUpload, UploadJournal
from cosfs.transfer.memory import MemoryLimiter
from cosfs.transfer.parts import (
    Buffered,
    CopyPart,
    Hole,
    Piece,
    PlannedPart,
    SendPart,
    buffered_size,
)
from cosfs.transfer.version import Version

_log = logging.getLogger(__name__)

_ZEROS: Final = bytes(256 << 10)
_ABORT_TIMEOUT_S: Final = 20.0  # an upload that cannot be aborted by then is left in the journal
_LINK_ERRORS: Final = (TransportError, DeadlineExceeded, ServiceBusy)


class UploadState(StrEnum):
    """See UploadSession."""

    OPEN = "open"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadTarget:
    """What an upload makes, and the object that its unchanged ranges come from.

    *base_may_change*: they come from whatever object is at the base's key by then.
    """

    key: Key
    properties: ObjectProperties
    base: Version | None = None
    base_may_change: bool = False

    def base_range(self, span: ByteRange) -> CopySource:
        assert self.base is not None
        etag = None if self.base_may_change else self.base.etag
        return CopySource(key=self.base.key, span=span, if_match=etag)


async def assemble(
    client: CosClient, target: UploadTarget, pieces: Iterable[Piece]
) -> list[bytes]:
    """The bytes of *pieces*, as chunks; base ranges are read, and PreconditionFailed if replaced.

    They are few and under 1 MiB each, so they are not charged: an upload that waited for memory
    could stop the very uploads that are to free it.
    """
    body: list[bytes] = []
    for piece in pieces:
        if isinstance(piece, Buffered):
            body.extend(piece.chunks)
        elif isinstance(piece, Hole):
            body.extend([_ZEROS] * (piece.size // len(_ZEROS)))
            body.append(_ZEROS[: piece.size % len(_ZEROS)])
        else:
            source = target.base_range(piece.span)
            sink = Collected()
            await client.get_object(source.key, piece.span, if_match=source.if_match, sink=sink)
            body.extend(sink.chunks)
    return [chunk for chunk in body if chunk]


class UploadSession:
    """One multipart upload.

    ========== ===================== ==========================================================
    state      becomes               when
    ========== ===================== ==========================================================
    OPEN       COMPLETED             ``complete`` succeeded
    OPEN       FAILED                a part, or the completion, failed for good
    OPEN       ABORTED               ``abort``
    ========== ===================== ==========================================================

    Buffered bytes given to ``submit`` are the session's: it releases them from the budget whether
    they were stored or not.
    *target* is what the upload makes, which is not all that was wanted if an *earlier* upload is
    taken up: its key and properties were fixed when that began.
    """

    def __init__(
        self,
        client: CosClient,
        memory: MemoryLimiter,
        journal: UploadJournal,
        target: UploadTarget,
        *,
        parallel: int,
        earlier: JournaledUpload | None = None,
    ) -> None:
        self.target = target
        self.resumed = 0  # parts that an earlier run had sent
        self.state = UploadState.OPEN
        self.error: Exception | None = None
        self.submitted = 0  # parts given to the session; also the last part's number
        self.size = 0  # bytes of those parts
        self.stored = 0  # bytes of the parts that COS has
        self._client = client
        self._memory = memory
        self._journal = journal
        self._parallel = parallel
        self._earlier = earlier
        self._there: dict[int, Part] = {}  # what an earlier run had sent, by number
        self._upload_id: UploadId | None = None
        self._parts: dict[int, Part] = {}
        self._new_first: SendPart | None = None
        self._stored: StoredObject | None = None
        self._jobs, self._taken_jobs = trio.open_memory_channel[tuple[int, PlannedPart]](MAX_PARTS)
        self._scope = trio.CancelScope()
        self._initiation = trio.CancelScope(shield=True)
        self._ended = trio.Event()

    def __repr__(self) -> str:
        return (
            f"<UploadSession {self.key} {self.state.name} parts={len(self._parts)}"
            f" in_flight={self.submitted - len(self._parts)} bytes={self.size}>"
        )

    @property
    def key(self) -> Key:
        return self.target.key

    async def run(self) -> None:
        """Initiate the upload and send parts until ``complete`` or ``abort``."""
        try:
            with self._scope:
                # Shielded: an answer that nobody waits for is an upload that nobody can abort.
                with self._initiation:
                    await self._begin()
                async with trio.open_nursery() as nursery:
                    for _ in range(self._parallel):
                        nursery.start_soon(self._work)
        except* Exception as errors:  # noqa: BLE001 - a bug here must fail this file, not the mount
            self._fail(_first(errors))
        finally:
            self._drop_jobs()
            self._ended.set()

    def submit(self, part: PlannedPart) -> None:
        """Let *part* be the next part; its buffered bytes are charged already. Does not yield.

        Past COS's limits the session fails with FileTooLarge.
        """
        self._memory.depart(buffered_size(part))
        if self.submitted == MAX_PARTS or self.size + part.size > MAX_OBJECT_SIZE:
            limits = f"{MAX_PARTS} parts and {MAX_OBJECT_SIZE} bytes"
            self._fail(FileTooLarge(f"{self.key!r} is past COS's limits of {limits}"))
            self._scope.cancel()
        self.submitted += 1
        self.size += part.size
        if self.state is UploadState.OPEN and not self._ended.is_set():
            self._jobs.send_nowait((self.submitted, part))
        else:
            self._memory.arrive(buffered_size(part))

    def replace_first(self, part: SendPart) -> None:
        """Send part 1 anew, as *part*, before completing. Its bytes stay the caller's."""
        self._new_first = part

    def finish(self) -> None:
        """Say that no part follows; ``run`` returns when those on their way are done."""
        self._jobs.close()

    async def complete(self, *, forbid_overwrite: bool = False) -> StoredObject:
        """Wait for every part, then make the object.

        Raises UploadFailed from the first error; the object at the key is then the old one.
        """
        self.finish()
        await self._ended.wait()
        if self.state is UploadState.OPEN and len(self._parts) == self.submitted:
            await self._complete(forbid_overwrite=forbid_overwrite)
        if self._stored is None:
            raise UploadFailed(self.key, str(self.error or "interrupted")) from self.error
        return self._stored

    async def abort(self) -> None:
        """Stop sending and give the upload up. Shielded, and over within seconds."""
        if self.state is UploadState.OPEN:
            self.state = UploadState.ABORTED
        self._scope.cancel()
        self.finish()
        with trio.move_on_after(_ABORT_TIMEOUT_S, shield=True):
            await self._ended.wait()
            await self._discard()
        self._initiation.cancel()

    async def _begin(self) -> None:
        """Take up the earlier upload, if COS still has it, else initiate one."""
        if self._earlier is not None and await self._take_up(self._earlier):
            return
        self._upload_id = await self._client.initiate_multipart_upload(
            self.key, properties=self.target.properties
        )
        await self._journal.begin(self.key, self._upload_id, self.target.properties)

    async def _take_up(self, earlier: JournaledUpload) -> bool:
        try:
            parts = await self._client.list_parts(earlier.key, earlier.upload_id)
        except NoSuchUpload:
            await self._journal.end(earlier.upload_id)
            return False
        except BaseException:
            with trio.CancelScope(shield=True):  # the journal is local
                await self._journal.leave(earlier.upload_id)
            raise
        self._upload_id = earlier.upload_id
        self._there = {part.number: part for part in parts}
        self.target = replace(self.target, key=earlier.key, properties=earlier.properties)
        return True

    async def _complete(self, *, forbid_overwrite: bool) -> None:
        assert self._upload_id is not None
        try:
            # Not before all others are there: the old part 1 could arrive after the new one.
            if self._new_first is not None:
                self._parts[1] = await self._store(1, self._new_first)
            parts = [self._parts[number] for number in sorted(self._parts)]
            self._stored = await self._client.complete_multipart_upload(
                self.key,
                self._upload_id,
                parts,
                crc64=_combined_crc64(parts),
                forbid_overwrite=forbid_overwrite,
            )
        except CosError as error:
            self._fail(error)
            return
        self.state = UploadState.COMPLETED
        await self._journal.end(self._upload_id)
        if self._there:
            _log.warning(
                "resumed: %d of %d parts were already there key=%s",
                *(self.resumed, self.submitted, self.key),
            )

    async def _work(self) -> None:
        async for number, part in self._taken_jobs:
            try:
                self._parts[number] = await self._store(number, part)
                self.stored += part.size
            finally:
                self._memory.arrive(buffered_size(part))
            del part  # an idle worker would keep the bytes of its last one

    async def _store(self, number: int, part: PlannedPart) -> Part:
        assert self._upload_id is not None
        if isinstance(part, CopyPart):
            source = self.target.base_range(part.span)
            return await self._client.upload_part_copy(self.key, self._upload_id, number, source)
        body = await assemble(self._client, self.target, part.pieces)
        there = self._there.get(number)
        if there is not None and there.size == part.size and await self._holds(there, body):
            self.resumed += 1
            return replace(there, crc64=crc64_of(body))
        stored = await self._client.upload_part(self.key, self._upload_id, number, body)
        await self._journal.part_done(self._upload_id, stored, body)
        return stored

    async def _holds(self, part: Part, body: Body) -> bool:
        """Whether a part that COS has holds *body*.

        Its ETag is the MD5; where it is not, as with KMS keys, the journal's CRC64 must do. That
        alone is weaker: data that ends with its own CRC64 has the same one whatever it is.
        """
        assert self._earlier is not None
        noted = self._earlier.parts.get(part.number)
        if noted is not None and noted.etag == part.etag and not self._earlier.has_md5_etags:
            return noted.crc64 == crc64_of(body)
        return await trio.to_thread.run_sync(md5_of, body) == part.etag

    def _fail(self, error: Exception) -> None:
        bug = None if isinstance(error, CosfsError) else error
        _log.warning("upload failed key=%s error=%s", self.key, error, exc_info=bug)
        self.state = UploadState.FAILED
        self.error = error

    def _drop_jobs(self) -> None:
        with contextlib.suppress(trio.WouldBlock, trio.EndOfChannel):
            while True:
                _number, part = self._taken_jobs.receive_nowait()
                self._memory.arrive(buffered_size(part))
        self._taken_jobs.close()

    async def _discard(self) -> None:
        """Abort, or leave an upload to the next who writes that file, if only the link failed."""
        if self._upload_id is None or self.state is UploadState.COMPLETED:
            return
        if isinstance(self.error, _LINK_ERRORS):
            await self._journal.leave(self._upload_id)
            return
        is_gone = False
        try:
            await self._client.abort_multipart_upload(self.key, self._upload_id)
            is_gone = True
        except CosError as error:
            _log.warning("upload not aborted key=%s error=%s", self.key, error)
        finally:
            with trio.CancelScope(shield=True):  # the journal is local
                await (self._journal.end if is_gone else self._journal.leave)(self._upload_id)


def _combined_crc64(parts: Sequence[Part]) -> int | None:
    """The whole object's CRC64; None as soon as one part's is unknown."""
    crc64 = 0
    for part in parts:
        if part.crc64 is None:
            return None
        crc64 = combine(crc64, part.crc64, part.size)
    return crc64


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """Any one of the errors: the siblings of the first failed part were cancelled with it."""
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, ExceptionGroup) else error
