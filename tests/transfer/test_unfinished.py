"""Old uploads that nobody took up: given up, and only those."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cosfs.cos.client import CosClient
from cosfs.cos.model import Key, UploadId
from cosfs.emulator.api import Api
from cosfs.emulator.faults import Fault
from cosfs.errors import UploadConflict
from cosfs.transfer.journal import UploadJournal, opened_journal
from cosfs.transfer.unfinished import abort_expired, abort_upload
from tests.support.engines import PLAIN, asked, unfinished_uploads
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)


@pytest.fixture
async def journal(client: CosClient, tmp_path: Path) -> AsyncIterator[UploadJournal]:
    """One that has an upload of "dead", whose owner is."""
    file = tmp_path / "bucket.uploads"
    with opened_journal(file) as earlier:
        await begin(client, earlier, Key("dead"))
    with opened_journal(file) as journal:
        yield journal


async def begin(client: CosClient, journal: UploadJournal, key: Key) -> UploadId:
    upload_id = await client.initiate_multipart_upload(key, properties=PLAIN)
    await journal.begin(key, upload_id, PLAIN)
    await client.upload_part(key, upload_id, 1, [b"x"])
    return upload_id


async def test_old_upload_of_the_dead_is_aborted(
    api: Api, client: CosClient, journal: UploadJournal
) -> None:
    await begin(client, journal, Key("running"))
    await client.initiate_multipart_upload(Key("foreign"), properties=PLAIN)

    await abort_expired(client, journal, older_than_s=0)

    assert sorted(unfinished_uploads(api)) == ["foreign", "running"]
    assert [upload.key for upload in journal.uploads()] == ["running"]


async def test_young_upload_stays(api: Api, client: CosClient, journal: UploadJournal) -> None:
    await abort_expired(client, journal, older_than_s=3600)

    assert unfinished_uploads(api) == ["dead"]
    assert journal.claim(Key("dead")) is not None


async def test_upload_above_the_mounts_prefix_stays(
    api: Api, client: CosClient, journal: UploadJournal
) -> None:
    await abort_expired(client, journal, older_than_s=0, prefix="other/")

    assert unfinished_uploads(api) == ["dead"]


async def test_upload_that_cannot_be_aborted_is_left(
    api: Api, client: CosClient, journal: UploadJournal
) -> None:
    api.faults.set([Fault(operation="AbortMultipartUpload", status=403, code="AccessDenied")])

    await abort_expired(client, journal, older_than_s=0)

    assert journal.claim(Key("dead")) is not None


async def test_abort_is_repeated_until_the_upload_is_gone(
    api: Api, client: CosClient, journal: UploadJournal
) -> None:
    """COS may say 204 while a part on its way keeps the upload alive."""
    (upload,) = journal.uploads()
    api.faults.set(
        [Fault(operation="AbortMultipartUpload", times=2, status=404, code="NoSuchUpload")]
    )

    await abort_upload(client, journal, upload.key, upload.upload_id)

    assert len(asked(api, "AbortMultipartUpload")) == 3
    assert unfinished_uploads(api) == []


async def test_upload_that_does_not_go_is_told(
    api: Api, client: CosClient, journal: UploadJournal
) -> None:
    (upload,) = journal.uploads()
    api.faults.set([Fault(operation="AbortMultipartUpload", status=404, code="NoSuchUpload")])

    with pytest.raises(UploadConflict, match="still being written to"):
        await abort_upload(client, journal, upload.key, upload.upload_id)
