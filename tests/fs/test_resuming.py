"""Uploads that broke off: the same copy again sends only what is missing."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from cosfs.emulator.api import Api
from cosfs.emulator.faults import Fault
from cosfs.errors import UploadFailed
from cosfs.transfer.journal import UploadJournal, opened_journal
from tests.support.emulated import make_api
from tests.support.engines import (
    MIB,
    PART,
    Files,
    asked,
    make_quiet_api,
    opened_files,
    some_bytes,
    stored_metadata,
    unfinished_uploads,
)
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

PARTS = 6
CONTENT = some_bytes(PARTS * PART + 1000)


@pytest.fixture
def api() -> Api:
    return make_api()  # with ETags that are MD5s: they prove what a part holds


@pytest.fixture
def journal_file(tmp_path: Path) -> Path:
    return tmp_path / "bucket.uploads"


@pytest.fixture
async def files(api: Api, journal_file: Path) -> AsyncIterator[Files]:
    with opened_journal(journal_file) as journal:
        async with opened_files(api, journal=journal) as files:
            yield files


async def write(files: Files, name: str, content: bytes) -> None:
    handle = files.create(name)
    for start in range(0, len(content), MIB // 2):
        await handle.file.write(start, content[start : start + MIB // 2])
    await files.close(handle)


async def break_off(api: Api, journal_file: Path, content: bytes, *, name: str = "f") -> None:
    """Write all but the end in a mount that dies."""
    with opened_journal(journal_file) as journal:
        async with opened_files(api, journal=journal) as files:
            handle = files.create(name)
            await handle.file.write(0, content)
            await until_idle(files)
    api.requests.clear()


async def until_idle(files: Files) -> None:
    """Wait until all parts are sent: part tasks hold their place until the journal has them."""
    with trio.fail_after(60):
        await files.memory.acquire(files.memory.limit)
    files.memory.release(files.memory.limit)


async def test_second_copy_sends_only_what_is_missing(
    api: Api, journal_file: Path, files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    await break_off(api, journal_file, CONTENT[: 4 * PART])

    await write(files, "f", CONTENT)

    assert files.stored("f") == CONTENT
    assert len(asked(api, "UploadPart")) == PARTS + 1 - 4
    assert asked(api, "InitiateMultipartUpload") == []
    assert unfinished_uploads(api) == []
    assert f"resumed: 4 of {PARTS + 1} parts were already there" in caplog.text
    assert files.memory.used == 0
    assert files.engines.journal.uploads() == []


async def test_etags_that_are_no_md5_leave_the_proof_to_the_journal(journal_file: Path) -> None:
    api = make_quiet_api()
    await break_off(api, journal_file, CONTENT[: 4 * PART])
    changed = CONTENT[:PART] + b"changed" + CONTENT[PART + 7 :]

    with opened_journal(journal_file) as journal:
        async with opened_files(api, journal=journal) as files:
            await write(files, "f", changed)

            assert files.stored("f") == changed
            assert len(asked(api, "UploadPart")) == PARTS + 1 - 3


async def test_parts_that_differ_are_sent_again(
    api: Api, journal_file: Path, files: Files
) -> None:
    await break_off(api, journal_file, CONTENT[: 4 * PART])
    changed = CONTENT[:PART] + b"changed" + CONTENT[PART + 7 :]

    await write(files, "f", changed)

    assert files.stored("f") == changed
    assert len(asked(api, "UploadPart")) == PARTS + 1 - 3


async def test_shorter_file_leaves_out_the_parts_beyond(
    api: Api, journal_file: Path, files: Files
) -> None:
    await break_off(api, journal_file, CONTENT[: 5 * PART])

    await write(files, "f", CONTENT[: 2 * PART + 5])

    assert files.stored("f") == CONTENT[: 2 * PART + 5]
    assert unfinished_uploads(api) == []


async def test_parts_of_an_earlier_size_are_cut_alike(
    api: Api, journal_file: Path, files: Files
) -> None:
    """An earlier run sent smaller or larger parts, as its memory was short."""
    sizes = [PART + 100_000, PART, 2 * PART]
    with opened_journal(journal_file) as journal:
        async with opened_files(api, journal=journal) as earlier:
            handle = earlier.create("f")
            position = 0
            for size in sizes:
                piece = CONTENT[position : position + size]
                handle.file._edit().write(position, piece)
                assert earlier.memory.try_acquire(size)
                handle.file.send_early()
                position += size
            await until_idle(earlier)
    api.requests.clear()

    await write(files, "f", CONTENT)

    assert files.stored("f") == CONTENT
    sent = sum(record.bytes_in for record in api.requests.records("UploadPart"))
    assert sent == len(CONTENT) - sum(sizes)


async def test_upload_that_somebody_aborted_is_begun_anew(
    api: Api, journal_file: Path, files: Files
) -> None:
    await break_off(api, journal_file, CONTENT[: 4 * PART])
    (upload,) = await files.client.list_multipart_uploads()
    await files.client.abort_multipart_upload(upload.key, upload.upload_id)

    await write(files, "f", CONTENT)

    assert files.stored("f") == CONTENT
    assert files.engines.journal.uploads() == []


async def test_lost_link_leaves_an_upload_to_the_next_copy(api: Api, files: Files) -> None:
    """In the same mount."""
    handle = files.create("f")
    await handle.file.write(0, CONTENT[: 4 * PART])
    await until_idle(files)
    api.faults.set([Fault(reset=True)])
    await handle.file.write(4 * PART, CONTENT[4 * PART :])
    with pytest.raises(UploadFailed):
        await files.close(handle)
    api.faults.set([])
    api.requests.clear()

    await write(files, "f", CONTENT)

    assert files.stored("f") == CONTENT
    assert len(asked(api, "UploadPart")) == PARTS + 1 - 4
    assert unfinished_uploads(api) == []


async def test_refused_part_aborts_its_upload(api: Api, files: Files) -> None:
    """What COS refuses it will refuse again: nothing is kept that costs storage."""
    api.faults.set([Fault(operation="UploadPart", nth=3, status=403, code="AccessDenied")])
    with pytest.raises(UploadFailed):
        await write(files, "f", CONTENT)

    assert unfinished_uploads(api) == []
    assert files.engines.journal.uploads() == []


async def test_rsync_finds_its_upload_under_another_temporary_name(
    api: Api, journal_file: Path, files: Files
) -> None:
    await break_off(api, journal_file, CONTENT[: 4 * PART], name=".f.Ab1xYz")

    await write(files, ".f.Q99zzz", CONTENT)
    await files.fs.names.rename(files.root, ".f.Q99zzz", files.root, "f", replace=True)

    assert files.stored("f") == CONTENT
    assert files.stored(".f.Ab1xYz") is None
    assert files.stored(".f.Q99zzz") is None
    assert len(asked(api, "UploadPart")) == PARTS + 1 - 4


async def test_mode_of_the_second_copy_counts(api: Api, journal_file: Path, files: Files) -> None:
    await break_off(api, journal_file, CONTENT[: 4 * PART])
    handle = files.create("f", mode=0o600)
    await handle.file.write(0, CONTENT)
    await files.close(handle)

    assert files.stored("f") == CONTENT
    assert stored_metadata(api, "f")["mode"] == str(0o100600)


async def test_two_mounts_never_share_an_upload(
    api: Api, journal_file: Path, files: Files
) -> None:
    with opened_journal(journal_file) as journal:
        async with opened_files(api, journal=journal) as other:
            handle = other.create("f")
            await handle.file.write(0, CONTENT[: 4 * PART])
            await until_idle(other)

            await write(files, "f", CONTENT)

            assert files.stored("f") == CONTENT
            assert len(unfinished_uploads(api)) == 1
            await handle.file.write(4 * PART, b"others'")
            await other.close(handle)
    assert files.stored("f") == CONTENT[: 4 * PART] + b"others'"


async def test_emptied_file_gives_up_what_it_took_up(
    api: Api, journal_file: Path, files: Files
) -> None:
    await break_off(api, journal_file, CONTENT[: 4 * PART])
    handle = files.create("f")
    await handle.file.write(0, CONTENT[: 2 * PART])
    await handle.file.truncate(0)
    await handle.file.write(0, b"short")
    await files.close(handle)

    assert files.stored("f") == b"short"
    assert unfinished_uploads(api) == []
    assert files.engines.journal.uploads() == []


async def test_interrupted_look_at_an_upload_leaves_it_to_the_next(
    api: Api, journal_file: Path, files: Files
) -> None:
    await break_off(api, journal_file, CONTENT[: 4 * PART])
    api.faults.set([Fault(operation="ListParts", delay=1000)])
    handle = files.create("f")
    await handle.file.write(0, CONTENT[: 2 * PART])
    await handle.file.truncate(0)  # gives up what has not even begun
    api.faults.set([])
    await files.close(handle)
    await trio.sleep(1)  # until the journal has it, which nobody waits for

    await write(files, "f", CONTENT)

    assert files.stored("f") == CONTENT
    assert len(asked(api, "UploadPart")) == PARTS + 1 - 4


async def test_upload_without_a_journal_works(api: Api) -> None:
    async with opened_files(api, journal=UploadJournal(None)) as files:
        await write(files, "f", CONTENT)

        assert files.stored("f") == CONTENT
