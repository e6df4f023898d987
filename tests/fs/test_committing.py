"""When and how a file that was written becomes an object."""

import stat

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cosfs.emulator.api import Api
from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied, CosfsError, NoSuchEntry, UploadFailed
from cosfs.namespace.attributes import AttributeChange
from tests.support.engines import (
    MIB,
    PART,
    Files,
    asked,
    opened_files,
    some_bytes,
    stored_metadata,
    unfinished_uploads,
)
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

DENIED_PART = Fault(operation="UploadPart", status=403, code="AccessDenied")
DENIED_PUT = Fault(operation="PutObject", status=403, code="AccessDenied")


async def warm(files: Files) -> None:
    """Let the directory be known, and forget what that cost."""
    with pytest.raises(NoSuchEntry):
        await files.fs.lookup(files.root, "anything")
    files.api.requests.clear()


async def test_small_file_is_one_request(files: Files) -> None:
    await warm(files)
    with pytest.raises(NoSuchEntry):
        await files.fs.lookup(files.root, "f")

    handle = files.create("f")
    await handle.file.write(0, b"content")
    await files.close(handle)

    assert asked(files.api) == ["PutObject"]
    assert files.stored("f") == b"content"


async def test_empty_file_is_one_request(files: Files) -> None:
    await warm(files)

    await files.close(files.create("f"))

    assert asked(files.api) == ["PutObject"]
    assert files.stored("f") == b""


async def test_nothing_is_at_the_key_before_the_commit(files: Files) -> None:
    handle = files.create("f")
    await handle.file.write(0, some_bytes(3 * PART))
    await wait_all_tasks_blocked(0.1)

    assert len(asked(files.api, "UploadPart")) == 3
    assert files.stored("f") is None
    await files.close(handle)
    assert files.stored("f") == some_bytes(3 * PART)


async def test_parts_leave_while_writing_goes_on(files: Files) -> None:
    handle = files.create("f")
    await handle.file.write(0, some_bytes(PART))
    await wait_all_tasks_blocked(0.1)

    assert asked(files.api, "UploadPart") == ["UploadPart"]
    assert files.memory.leaving == 0
    assert files.memory.used == PART  # the first part is kept, see test_sealing.py
    await files.close(handle)
    assert files.memory.used == 0


async def test_old_object_stays_until_the_new_one_is_whole(files: Files) -> None:
    await files.put("f", b"old")
    handle = await files.open("f")
    await handle.file.truncate(0)
    await handle.file.write(0, some_bytes(2 * PART))
    await wait_all_tasks_blocked(0.1)
    assert files.stored("f") == b"old"

    await files.close(handle)

    assert files.stored("f") == some_bytes(2 * PART)


async def test_second_flush_stores_what_was_written_after_the_first(files: Files) -> None:
    handle = files.create("f")
    await handle.file.write(0, b"a\n")
    await files.fs.flush(handle)
    assert files.stored("f") == b"a\n"

    await handle.file.write(2, b"b\n")
    await files.close(handle)

    assert files.stored("f") == b"a\nb\n"


async def test_flush_of_an_unchanged_file_asks_nothing(files: Files) -> None:
    handle = files.create("f")
    await handle.file.write(0, b"a")
    await files.fs.flush(handle)
    files.api.requests.clear()

    await files.fs.flush(handle)
    await files.fs.fsync(handle)
    await files.close(handle)

    assert asked(files.api) == []


async def test_flush_of_an_untouched_file_waits_while_it_is_held(api: Api) -> None:
    """``echo x > f`` closes one descriptor before it writes through another."""
    async with opened_files(api, still_held=lambda _pid, _inode: True) as files:
        await files.put("f", b"old")
        handle = await files.open("f")
        await handle.file.truncate(0)
        await files.fs.flush(handle)
        assert files.stored("f") == b"old"

        await handle.file.write(0, b"new")
        await files.fs.flush(handle)
        assert files.stored("f") == b"new"
        await files.fs.release(handle)

    assert asked(api, "PutObject") == ["PutObject"]


async def test_untouched_file_that_is_held_is_stored_at_the_end(api: Api) -> None:
    async with opened_files(api, still_held=lambda _pid, _inode: True) as files:
        handle = files.create("f")
        await files.close(handle)

        assert files.stored("f") == b""


async def test_untouched_file_is_stored_by_the_last_close_though_that_is_a_readers(
    api: Api,
) -> None:
    held = True
    async with opened_files(api, still_held=lambda _pid, _inode: held) as files:
        writer = files.create("f")
        reader = await files.open("f", writable=False)
        await files.fs.flush(writer)
        assert files.stored("f") is None

        held = False
        await files.fs.flush(reader)

        assert files.stored("f") == b""
        await files.fs.release(writer)
        await files.fs.release(reader)


async def test_failed_put_can_be_flushed_again(files: Files) -> None:
    files.api.faults.set([DENIED_PUT])
    handle = files.create("f")
    await handle.file.write(0, b"content")
    with pytest.raises(AccessDenied):
        await files.fs.flush(handle)
    assert await files.fs.read(handle, 0, 100) == b"content"

    files.api.faults.set([])
    await files.close(handle)

    assert files.stored("f") == b"content"
    assert files.memory.used == 0


async def test_failed_new_file_is_gone_once_it_is_released(files: Files) -> None:
    files.api.faults.set([DENIED_PUT])
    handle = files.create("f")
    await handle.file.write(0, b"content")
    with pytest.raises(AccessDenied):
        await files.close(handle)

    with pytest.raises(NoSuchEntry):
        await files.fs.lookup(files.root, "f")
    assert files.memory.used == 0


async def test_failed_upload_is_told_to_every_later_call(files: Files) -> None:
    files.api.faults.set([DENIED_PART])
    handle = files.create("f")
    await handle.file.write(0, some_bytes(PART))
    await wait_all_tasks_blocked(0.1)
    files.api.faults.set([])

    with pytest.raises(AccessDenied):
        await handle.file.write(PART, b"more")
    with pytest.raises(AccessDenied):
        await files.fs.fsync(handle)
    with pytest.raises(AccessDenied):
        await files.close(handle)


async def test_refused_parts_fail_the_close_and_leave_nothing_behind(files: Files) -> None:
    await files.put("f", b"old")
    files.api.faults.set([DENIED_PART])
    handle = await files.open("f")
    await handle.file.truncate(0)
    await handle.file.write(0, some_bytes(5 * PART))

    with pytest.raises(UploadFailed) as caught:
        await files.close(handle)

    assert isinstance(caught.value.__cause__, AccessDenied)
    assert files.stored("f") == b"old"
    assert unfinished_uploads(files.api) == []
    assert (files.memory.used, files.memory.leaving) == (0, 0)


async def test_next_file_after_a_failed_one_works(files: Files) -> None:
    files.api.faults.set([DENIED_PART])
    handle = files.create("f")
    await handle.file.write(0, some_bytes(2 * PART))
    with pytest.raises(CosfsError):
        await files.close(handle)
    files.api.faults.set([])

    handle = files.create("f")
    await handle.file.write(0, some_bytes(2 * PART + 1))
    await files.close(handle)

    assert files.stored("f") == some_bytes(2 * PART + 1)


@pytest.mark.parametrize("size", [10, 3 * PART])
async def test_mode_and_owner_go_out_with_the_content(files: Files, size: int) -> None:
    await warm(files)
    handle = files.create("f", mode=0o640)
    await handle.file.write(0, some_bytes(size))
    await files.close(handle)

    metadata = stored_metadata(files.api, "f")
    assert metadata["mode"] == str(stat.S_IFREG | 0o640)
    assert (metadata["uid"], metadata["gid"]) == ("1000", "100")
    assert asked(files.api, "CopyObject") == []


async def test_explicit_mtime_goes_out_with_the_content(files: Files) -> None:
    handle = files.create("f")
    await handle.file.write(0, b"content")
    change = AttributeChange(mode=0o600, mtime_ns=1_234_567_890_123_456_789)
    await files.fs.set_attributes(handle.file.node, change)
    await files.close(handle)

    metadata = stored_metadata(files.api, "f")
    assert metadata["mtime"] == "1234567890"
    assert metadata["mode"] == str(stat.S_IFREG | 0o600)
    assert asked(files.api, "PutObject") == ["PutObject"]
    assert asked(files.api, "CopyObject") == []
    attributes = await files.fs.attributes(handle.file.node)
    assert attributes.mtime_ns == change.mtime_ns


async def test_explicit_mtime_of_an_uploaded_file_costs_one_copy(files: Files) -> None:
    handle = files.create("f")
    await handle.file.write(0, some_bytes(2 * PART))
    await files.fs.set_attributes(handle.file.node, AttributeChange(mtime_ns=10**18))
    await files.close(handle)

    assert len(asked(files.api, "CopyObject")) == 1
    assert stored_metadata(files.api, "f")["mtime"] == str(10**9)


async def test_write_after_utimens_makes_the_mtime_now(files: Files) -> None:
    handle = files.create("f")
    await files.fs.set_attributes(handle.file.node, AttributeChange(mtime_ns=10**18))
    await handle.file.write(0, b"content")

    assert files.fs.known_attributes(handle.file.node).mtime_ns > 10**18
    await files.close(handle)
    assert int(stored_metadata(files.api, "f")["mtime"]) > 10**9


async def test_size_is_told_while_it_is_written(files: Files) -> None:
    handle = files.create("f")
    await handle.file.write(0, some_bytes(PART + 10))

    assert files.fs.known_attributes(handle.file.node).size == PART + 10
    await files.close(handle)
    assert (await files.fs.attributes(handle.file.node)).size == PART + 10


async def test_end_of_the_mount_commits_everything(files: Files) -> None:
    for number in range(5):
        handle = files.create(f"f{number}")
        await handle.file.write(0, some_bytes(number * PART, number))
    files.create("empty")

    await files.fs.close()

    assert [files.stored(f"f{n}") for n in range(5)] == [some_bytes(n * PART, n) for n in range(5)]
    assert files.stored("empty") == b""
    assert unfinished_uploads(files.api) == []
    assert files.memory.used == 0


async def test_many_small_open_files_fit_the_memory(files: Files) -> None:
    """Nothing of them can be sent yet, and nobody has to wait."""
    handles = []
    with trio.fail_after(5):
        for number in range(200):
            handle = files.create(f"f{number}")
            await handle.file.write(0, some_bytes(100_000, number))
            handles.append(handle)
        for handle in handles:
            await files.close(handle)

    assert all(files.stored(f"f{n}") == some_bytes(100_000, n) for n in range(200))
    assert asked(files.api, "InitiateMultipartUpload") == []
    assert files.memory.used == 0


class Writers:
    """Programs that write files faster than COS takes them, and the most memory they had."""

    def __init__(self, files: Files) -> None:
        self.files = files
        self.most_used = 0
        self.ended: list[str] = []

    async def write(self, name: str, size: int, seed: int) -> None:
        content = some_bytes(size, seed)
        handle = self.files.create(name)
        for start in range(0, size, 128 << 10):
            await handle.file.write(start, content[start : start + (128 << 10)])
            self.most_used = max(self.most_used, self.files.memory.used)
        await self.files.close(handle)
        self.ended.append(name)


async def test_many_writers_to_a_slow_server_stay_in_the_budget(files: Files) -> None:
    files.api.faults.set([Fault(operation="UploadPart", delay=1)])
    writers = Writers(files)
    async with trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(writers.write, f"f{number}", 6 * MIB + 5, number)

    assert writers.most_used <= files.memory.limit
    assert len(writers.ended) == 8
    assert all(files.stored(f"f{n}") == some_bytes(6 * MIB + 5, n) for n in range(8))
    assert files.memory.used == 0
