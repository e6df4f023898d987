"""What could not be stored: told at the end of the mount if no call could tell it."""

import pytest
import trio
import trio.testing

from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied, CosfsError, FilesLost
from cosfs.fs.lateattributes import MOMENT_S
from cosfs.fs.troubles import path_of
from cosfs.namespace.attributes import AttributeChange
from tests.support.engines import PART, Files, some_bytes
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

CHMOD = AttributeChange(mode=0o600)


async def test_path_of_a_file_that_lost_its_name_is_the_last_it_had(files: Files) -> None:
    directory = await files.fs.names.make_directory(files.root, "d", mode=0o755, uid=0, gid=0)
    handle = files.create_in(directory, "f")
    await files.fs.names.unlink(directory, "f")

    assert path_of(handle.file.node) == "d/f"
    assert files.fs.find_path_of_handle(handle.number) == "d/f"


async def test_loss_that_no_call_could_tell_is_remembered_until_the_file_is_stored(
    files: Files,
) -> None:
    """Written through a mapping after the last close."""
    handle = files.create("f")
    await files.fs.flush(handle)
    await files.fs.write(handle, 0, b"mapped")
    files.api.faults.set([Fault(operation="PutObject", status=403, code="AccessDenied")])
    await files.fs.release(handle)
    lost = list(files.fs.files.lost)
    with pytest.raises(FilesLost, match=r"'f' .*AccessDenied"):
        await files.fs.close()
    files.api.faults.set([])

    again = await files.open("f")
    await files.fs.write(again, 0, b"again")
    await files.close(again)

    assert lost == ["f"]
    assert files.fs.files.lost == {}
    found = files.fs.files.troubles.find("f")
    assert found is not None
    assert (found.call, found.errno, found.code) == ("close", "", "AccessDenied")
    await files.fs.close()


async def test_loss_of_a_removed_file_is_none(files: Files) -> None:
    handle = files.create("f")
    await files.fs.flush(handle)
    await files.fs.write(handle, 0, b"mapped")
    files.api.faults.set([Fault(operation="PutObject", status=403, code="AccessDenied")])
    await files.fs.release(handle)
    files.api.faults.set([])

    await files.fs.names.unlink(files.root, "f")

    await files.fs.close()


async def test_attributes_that_could_not_be_stored_are_lost_and_told_at_the_end(
    files: Files,
) -> None:
    await files.put("f", b"content")
    node = await files.fs.lookup(files.root, "f")
    files.fs.namespace.inodes.remember(node)
    files.api.faults.set([Fault(operation="CopyObject", status=403, code="AccessDenied")])

    await files.fs.set_attributes(node, CHMOD)
    await trio.sleep(2 * MOMENT_S)

    found = files.fs.files.troubles.find("f")
    assert found is not None
    assert found.call == "storing attributes"
    with pytest.raises(FilesLost, match="'f'"):
        await files.fs.close()


async def test_loss_of_attributes_is_told_though_the_file_is_closed_without_a_change(
    files: Files,
) -> None:
    await files.put("f", b"content")
    handle = await files.open("f")
    files.api.faults.set([Fault(operation="CopyObject", status=403, code="AccessDenied")])
    await files.fs.set_attributes(handle.file.node, CHMOD)
    await trio.sleep(2 * MOMENT_S)

    await files.close(handle)

    assert list(files.fs.files.lost) == ["f"]


async def test_attributes_waiting_at_the_end_are_stored_or_told(files: Files) -> None:
    await files.put("f", b"content")
    node = await files.fs.lookup(files.root, "f")
    files.fs.namespace.inodes.remember(node)
    files.api.faults.set([Fault(operation="CopyObject", status=403, code="AccessDenied")])
    await files.fs.set_attributes(node, CHMOD)

    with pytest.raises(FilesLost, match="'f'"):
        await files.fs.close()


async def test_commit_that_failed_is_tried_again_at_the_end(files: Files) -> None:
    """As when COS was away for the fsync and is back for the unmount."""
    handle = files.create("f")
    await files.fs.write(handle, 0, b"content")
    files.api.faults.set([Fault(operation="PutObject", status=403, code="AccessDenied")])
    with pytest.raises(AccessDenied):
        await files.fs.fsync(handle)
    files.api.faults.set([])

    await files.fs.close()

    assert files.stored("f") == b"content"


async def test_open_file_that_lost_data_is_told_at_the_end(files: Files) -> None:
    handle = files.create("f")
    files.api.faults.set([Fault(operation="UploadPart", status=403, code="AccessDenied")])
    await files.fs.write(handle, 0, some_bytes(2 * PART))
    await trio.testing.wait_all_tasks_blocked()
    files.api.faults.set([])

    assert list(files.fs.files.lost) == ["f"]
    told = files.fs.files.trouble_of("f")
    assert told is not None
    assert (told.call, told.code, told.times) == ("uploading", "AccessDenied", 1)
    assert files.fs.files.trouble_of("f") == told
    with pytest.raises(FilesLost, match=r"'f' .*AccessDenied"):
        await files.fs.close()


async def test_file_without_a_name_is_no_loss(files: Files) -> None:
    handle = files.create("f")
    files.api.faults.set([Fault(operation="UploadPart", status=403, code="AccessDenied")])
    await files.fs.write(handle, 0, some_bytes(2 * PART))
    await trio.testing.wait_all_tasks_blocked()
    files.api.faults.set([])
    await files.fs.names.unlink(files.root, "f")

    assert files.fs.files.lost == {}
    await files.fs.close()


async def test_loss_that_close_has_told_is_not_told_again(files: Files) -> None:
    handle = files.create("f")
    files.api.faults.set([Fault(operation="UploadPart", status=403, code="AccessDenied")])
    await files.fs.write(handle, 0, some_bytes(2 * PART))
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(CosfsError):
        await files.fs.flush(handle)
    await files.fs.release(handle)

    await files.fs.close()
