"""Uploads that broke off, outside of a mount: what there is, finished from a file, or given up."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import trio

from cosfs.config import TransferConfig
from cosfs.cos.client import CosClient
from cosfs.cos.model import Key, PendingUpload, StoredObject, UploadId
from cosfs.errors import CosError, FileChanged, NoSuchUpload, UploadConflict
from cosfs.transfer.journal import JournaledUpload, UploadJournal
from cosfs.transfer.memory import MemoryLimiter
from cosfs.transfer.parts import Buffered, SendPart, next_part_size
from cosfs.transfer.upload import UploadSession, UploadTarget

_log = logging.getLogger(__name__)

_MOST_ABORTS: Final = 5
_PARALLEL_LISTS: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUpload:
    """An upload that COS has, and what the journal knows of it: None if others began it."""

    pending: PendingUpload
    parts: int
    size: int  # bytes of the parts that COS has
    journaled: JournaledUpload | None


async def unfinished_uploads(
    client: CosClient, journal: UploadJournal, *, prefix: str
) -> list[UnfinishedUpload]:
    """All uploads of keys below *prefix*, in the order of their keys."""
    own = {upload.upload_id: upload for upload in journal.uploads()}
    found: dict[UploadId, UnfinishedUpload] = {}
    limit = trio.CapacityLimiter(_PARALLEL_LISTS)

    async def look_at(pending: PendingUpload) -> None:
        async with limit:
            try:
                parts = await client.list_parts(pending.key, pending.upload_id)
            except NoSuchUpload:
                return  # finished meanwhile
        found[pending.upload_id] = UnfinishedUpload(
            pending=pending,
            parts=len(parts),
            size=sum(part.size for part in parts),
            journaled=own.get(pending.upload_id),
        )

    listed = await client.list_multipart_uploads(prefix=prefix)
    async with trio.open_nursery() as nursery:
        for pending in listed:
            nursery.start_soon(look_at, pending)
    return [found[pending.upload_id] for pending in listed if pending.upload_id in found]


async def abort_upload(
    client: CosClient, journal: UploadJournal, key: Key, upload_id: UploadId
) -> None:
    """Abort until COS knows the upload no more: a part on its way survives an abort.

    Source: COS, "Abort Multipart Upload". Raises UploadConflict if parts keep coming.
    """
    for _ in range(_MOST_ABORTS):
        await client.abort_multipart_upload(key, upload_id)
        try:
            await client.list_parts(key, upload_id)
        except NoSuchUpload:
            await journal.end(upload_id)
            return
    raise UploadConflict(f"{key!r}: upload {upload_id} is still being written to")


async def abort_expired(
    client: CosClient, journal: UploadJournal, *, older_than_s: float, prefix: str = ""
) -> None:
    """Abort what this machine began below *prefix*, nobody works on, and is that old."""
    horizon = time.time() - older_than_s
    for upload in journal.uploads():
        is_due = upload.begun < horizon and upload.key.startswith(prefix)
        if not is_due or journal.claim_upload(upload.upload_id) is None:
            continue
        try:
            await abort_upload(client, journal, upload.key, upload.upload_id)
        except CosError as error:
            _log.warning("upload not aborted key=%s error=%s", upload.key, error)
            await journal.leave(upload.upload_id)
        else:
            _log.info("upload expired key=%s id=%s", upload.key, upload.upload_id)


class FileFinisher:
    """Finishes a claimed upload from a local file: what COS has of it already is not sent."""

    def __init__(
        self,
        client: CosClient,
        journal: UploadJournal,
        config: TransferConfig,
        upload: JournaledUpload,
    ) -> None:
        self._config = config
        self._journal = journal
        self._upload = upload
        self._memory = MemoryLimiter(config.memory, client.patience)
        self._session = UploadSession(
            client,
            self._memory,
            journal,
            UploadTarget(key=upload.key, properties=upload.properties),
            parallel=config.parallel,
            earlier=upload,
        )

    @property
    def resumed(self) -> int:
        """Parts that were not sent, as COS had them."""
        return self._session.resumed

    @property
    def parts(self) -> int:
        return self._session.submitted

    async def finish(self, file: Path, progress: Callable[[int], None]) -> StoredObject:
        """Make the object; *progress* is told how many bytes have been read so far.

        Raises OSError, FileChanged, UploadFailed.
        """
        with file.open("rb") as content:
            seen = _state(file)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._session.run)
                await self._submit_all(content, progress)
                self._session.finish()
            if _state(file) != seen:
                await self._journal.leave(self._upload.upload_id)
                raise FileChanged(f"{file} was changed while it was read; run this again")
        try:
            return await self._session.complete()
        finally:
            await self._session.abort()

    async def _submit_all(self, content: BinaryIO, progress: Callable[[int], None]) -> None:
        while True:
            size = next_part_size(self._config, self.parts, earlier=self._upload.sizes)
            chunk = await trio.to_thread.run_sync(content.read, size)
            if chunk:
                await self._memory.acquire(len(chunk))
                self._session.submit(SendPart([Buffered([chunk], len(chunk))]))
                progress(content.tell())
            if len(chunk) < size or self._session.error is not None:
                return


def _state(file: Path) -> Sequence[int]:
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
