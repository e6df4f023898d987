"""Commits that end half way: what COS does not have is never replaced by less."""

import stat

import pytest
import trio
import trio.testing

from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied, CosfsError, StaleFile, UploadFailed
from cosfs.fs.handles import FileHandle
from cosfs.namespace.attributes import AttributeChange
from tests.support.engines import (
    PART,
    Files,
    asked,
    some_bytes,
    stored_metadata,
    unfinished_uploads,
)
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)


async def test_commit_after_an_interrupted_completion_does_not_store_less(files: Files) -> None:
    """A file of exactly one part is small enough for a PUT, but its bytes are gone."""
    await files.put("f", b"old")
    handle = await files.open("f")
    await handle.file.truncate(0)
    await handle.file.write(0, some_bytes(PART))
    files.api.faults.set([Fault(operation="CompleteMultipartUpload", delay=30)])
    with trio.move_on_after(1) as interrupted:
        await files.fs.flush(handle)
    files.api.faults.set([])

    with pytest.raises(UploadFailed):
        await files.fs.fsync(handle)
    await files.fs.release(handle)

    assert interrupted.cancelled_caught
    assert files.stored("f") == b"old"
    assert unfinished_uploads(files.api) == []


async def test_interrupted_put_can_be_committed_again(files: Files) -> None:
    handle = files.create("f")
    await handle.file.write(0, b"small")
    files.api.faults.set([Fault(operation="PutObject", delay=30)])
    with trio.move_on_after(1):
        await files.fs.flush(handle)
    files.api.faults.set([])

    await files.close(handle)

    assert files.stored("f") == b"small"
    assert files.memory.used == 0


async def test_failed_copy_of_late_attributes_keeps_the_content(files: Files) -> None:
    content = some_bytes(PART)
    handle = files.create("f")
    await handle.file.write(0, content)
    await files.fs.set_attributes(handle.file.node, AttributeChange(mode=0o600))
    files.api.faults.set([Fault(operation="CopyObject", status=403, code="AccessDenied")])

    with pytest.raises(AccessDenied):
        await files.fs.flush(handle)
    await files.close(handle)

    assert files.stored("f") == content
    assert asked(files.api, "PutObject") == []
    assert files.memory.used == 0


async def test_mode_changed_after_initiate_costs_one_copy(files: Files) -> None:
    handle = files.create("f")
    await handle.file.write(0, some_bytes(PART + 1))
    await trio.testing.wait_all_tasks_blocked()
    await files.fs.set_attributes(handle.file.node, AttributeChange(mode=0o600))
    await files.close(handle)

    assert len(asked(files.api, "CopyObject")) == 1
    assert stored_metadata(files.api, "f")["mode"] == str(stat.S_IFREG | 0o600)
    assert files.stored("f") == some_bytes(PART + 1)


async def test_explicit_mtime_before_the_upload_costs_no_copy(files: Files) -> None:
    """The whole upload is begun by the commit, and so its metadata is known at Initiate."""
    await files.put("f", some_bytes(3 * PART))
    handle = await files.open("f")
    await handle.file.write(PART + 5, b"x")
    await files.fs.set_attributes(handle.file.node, AttributeChange(mtime_ns=10**18))
    await files.close(handle)

    assert asked(files.api, "CopyObject") == []
    assert stored_metadata(files.api, "f")["mtime"] == str(10**9)


async def test_failed_new_file_over_another_leaves_the_other(files: Files) -> None:
    """The name of a file that was never stored stood, for a while, for an object that is."""
    await files.put("f", b"old")
    handle = files.create("f.part")
    await handle.file.write(0, b"new")
    await files.fs.names.rename(files.root, "f.part", files.root, "f", replace=True)
    files.api.faults.set([Fault(operation="PutObject", status=403, code="AccessDenied")])

    with pytest.raises(AccessDenied):
        await files.close(handle)

    assert files.stored("f") == b"old"
    reopened = await files.open("f", writable=False)
    assert await files.fs.read(reopened, 0, 100) == b"old"


async def test_truncation_by_name_is_stored_at_once_while_a_reader_is_there(files: Files) -> None:
    await files.put("f", b"0123456789")
    reader = await files.open("f", writable=False)

    await files.fs.set_attributes(reader.file.node, AttributeChange(), size=4)

    assert files.stored("f") == b"0123"


async def test_open_that_cannot_truncate_leaves_no_handle(files: Files) -> None:
    """A handle that nobody can release would keep the failed upload's error for good."""
    handle = files.create("f")
    await handle.file.write(0, some_bytes(2 * PART))
    files.api.faults.set([Fault(operation="UploadPart", status=403, code="AccessDenied")])
    with pytest.raises(CosfsError):
        await files.fs.flush(handle)
    with pytest.raises(CosfsError):
        await files.fs.open(handle.file.node, writable=True, truncate=True, pid=1)
    await files.fs.release(handle)
    files.api.faults.set([])

    again = files.create("f")
    await again.file.write(0, b"next")
    await files.close(again)

    assert files.stored("f") == b"next"


async def test_name_of_a_failed_new_file_is_free_while_its_upload_ends(files: Files) -> None:
    """What was written through the old node would have no key to be stored at, and nobody told."""
    handle = files.create("f")
    node = handle.file.node
    await fail_to_store(files, handle)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(files.fs.release, handle)
        await trio.testing.wait_all_tasks_blocked()

        with pytest.raises(StaleFile):  # the kernel may remember the node's name for a while
            await files.fs.open(node, writable=True, pid=1)
        again = files.create("f")
        await again.file.write(0, b"next")
        await files.close(again)

        assert asked(files.api, "AbortMultipartUpload")
        assert files.stored("f") == b"next"
    assert unfinished_uploads(files.api) == []
    assert files.memory.used == 0


async def test_file_is_whole_again_while_its_failed_upload_ends(files: Files) -> None:
    await files.put("f", b"old")
    handle = await files.open("f")
    await fail_to_store(files, handle)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(files.fs.release, handle)
        await trio.testing.wait_all_tasks_blocked()

        again = await files.open("f")
        assert await files.fs.read(again, 0, 10) == b"old"
        await again.file.write(3, b"er")
        await files.close(again)

        assert files.stored("f") == b"older"
    assert unfinished_uploads(files.api) == []


async def fail_to_store(files: Files, handle: FileHandle) -> None:
    """Leave *handle* with a failed upload that takes long to abort."""
    await handle.file.write(0, some_bytes(2 * PART))
    files.api.faults.set([Fault(operation="UploadPart", status=403, code="AccessDenied")])
    with pytest.raises(CosfsError):
        await files.fs.flush(handle)
    files.api.faults.set([Fault(operation="AbortMultipartUpload", delay=10)])


async def test_loss_that_close_has_told_is_not_told_again_at_the_end(files: Files) -> None:
    handle = files.create("f")
    await files.fs.write(handle, 0, some_bytes(2 * PART))
    files.api.faults.set([Fault(operation="UploadPart", status=404, code="NoSuchUpload")])
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(CosfsError):
        await files.close(handle)

    await files.fs.close()

    assert files.stored("f") is None
