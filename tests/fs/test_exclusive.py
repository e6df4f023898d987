"""O_EXCL across machines: who makes a file does not replace what another machine has made."""

import pytest

from cosfs.emulator.faults import Fault
from cosfs.errors import AlreadyExists, CosError, UploadFailed
from tests.support.engines import PART, Files, some_bytes, unfinished_uploads
from tests.support.jumping import run_jumping

UNREACHABLE = Fault(operation="HeadObject", reset=True)

pytestmark = pytest.mark.trio(run=run_jumping)


@pytest.mark.parametrize("size", [10, 3 * PART])
async def test_exclusive_file_does_not_replace_an_object(files: Files, size: int) -> None:
    handle = files.create("f", exclusive=True)
    await handle.file.write(0, some_bytes(size))
    await files.put("f", b"made elsewhere")

    with pytest.raises((AlreadyExists, UploadFailed)) as caught:
        await files.close(handle)

    assert isinstance(caught.value.__cause__ or caught.value, AlreadyExists)
    assert files.stored("f") == b"made elsewhere"
    assert unfinished_uploads(files.api) == []


async def test_exclusive_file_can_be_committed_again(files: Files) -> None:
    handle = files.create("f", exclusive=True)
    await handle.file.write(0, b"one")
    await files.fs.flush(handle)
    await handle.file.write(3, b"two")
    await files.close(handle)

    assert files.stored("f") == b"onetwo"


@pytest.mark.parametrize("more", [b"", b" and more"])
async def test_exclusive_file_whose_put_had_no_answer_is_committed_again(
    files: Files, more: bytes
) -> None:
    files.api.faults.set([Fault(operation="PutObject", lose=True), UNREACHABLE])
    handle = files.create("f", exclusive=True)
    await handle.file.write(0, b"content")
    with pytest.raises(CosError):
        await files.fs.flush(handle)
    assert files.stored("f") == b"content"

    files.api.faults.set([])
    if more:
        await handle.file.write(7, more)
    await files.close(handle)

    assert files.stored("f") == b"content" + more


async def test_exclusive_file_whose_put_had_no_answer_does_not_replace_an_object(
    files: Files,
) -> None:
    files.api.faults.set([Fault(operation="PutObject", reset=True)])
    handle = files.create("f", exclusive=True)
    await handle.file.write(0, b"content")
    with pytest.raises(CosError):
        await files.fs.flush(handle)

    files.api.faults.set([])
    await files.put("f", b"made elsewhere")
    with pytest.raises(AlreadyExists):
        await files.close(handle)

    assert files.stored("f") == b"made elsewhere"


@pytest.mark.parametrize("size", [10, 3 * PART])
async def test_exclusive_file_replaces_what_it_is_renamed_over(files: Files, size: int) -> None:
    """As programs do that write a temporary file and rename it before they close it."""
    await files.put("f", b"old")
    handle = files.create("temporary", exclusive=True)
    await handle.file.write(0, some_bytes(size))

    await files.fs.names.rename(files.root, "temporary", files.root, "f", replace=True)
    await files.close(handle)

    assert files.stored("f") == some_bytes(size)
