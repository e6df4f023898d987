"""Uploads that broke off: given up for good, together with what the journal has of them."""

import logging
import time
from typing import Final

from cosfs.cos.client import CosClient
from cosfs.cos.model import Key, UploadId
from cosfs.errors import CosError, NoSuchUpload, UploadConflict
from cosfs.transfer.journal import UploadJournal

_log = logging.getLogger(__name__)

_MOST_ABORTS: Final = 5


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
