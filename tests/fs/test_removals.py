"""Files of which COS still has the object when their name is removed."""

import pytest

from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied, FilesLost, NoSuchEntry
from tests.support.engines import PART, Files, asked, keys, some_bytes
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

BATCH = "DeleteMultipleObjects"
SLOW = Fault(operation=BATCH, delay=30)
REFUSED = (Fault(operation=BATCH, status=403), Fault(operation="DeleteObject", status=403))


@pytest.fixture
async def emptied(files: Files) -> Files:
    """Files in a directory of which the next removals are collected."""
    for name in ("f", "g"):
        await files.put(name, b"old")
    files.fs.namespace.removals.plain_first = 0
    return files


async def remove(files: Files) -> None:
    """Remove both names; that alone is in the log of requests from then on."""
    files.api.requests.clear()
    for name in ("f", "g"):
        await files.fs.names.unlink(files.root, name)


@pytest.mark.parametrize("size", [0, 10, 3 * PART])
@pytest.mark.parametrize("exclusive", [False, True])
async def test_a_file_made_under_a_removed_name_is_stored_after_the_old_one_is_deleted(
    emptied: Files, size: int, *, exclusive: bool
) -> None:
    emptied.api.faults.set([SLOW])
    await remove(emptied)
    with pytest.raises(NoSuchEntry):
        await emptied.fs.lookup(emptied.root, "f")
    before = emptied.stored("f")

    handle = emptied.create("f", exclusive=exclusive)
    await emptied.fs.write(handle, 0, some_bytes(size))
    await emptied.close(handle)

    assert before == b"old"
    assert keys(emptied) == ["f"]
    assert emptied.stored("f") == some_bytes(size)
    await emptied.fs.close()
    assert emptied.stored("f") == some_bytes(size)


async def test_a_symlink_under_a_removed_name_is_stored_after_the_old_one_is_deleted(
    emptied: Files,
) -> None:
    emptied.api.faults.set([SLOW])
    await remove(emptied)
    attributes = emptied.fs.namespace.codec.default(0o120777, size=0, time_ns=0)

    await emptied.fs.names.make_symlink(emptied.root, "f", b"target", attributes)

    await emptied.fs.close()
    assert emptied.stored("f") == b"target"


async def test_a_file_that_is_open_keeps_what_is_stored_of_it(emptied: Files) -> None:
    handle = await emptied.open("f", writable=False)
    await remove(emptied)
    await emptied.fs.fsync_directory(emptied.root)

    assert asked(emptied.api, "CopyObject") == ["CopyObject"]
    assert emptied.stored("f") is None
    assert await emptied.fs.read(handle, 0, 10) == b"old"


async def test_fsync_of_the_directory_waits_for_removals(emptied: Files) -> None:
    await remove(emptied)
    before = keys(emptied)

    await emptied.fs.fsync_directory(emptied.root)

    assert before == ["f", "g"]
    assert keys(emptied) == []


async def test_fsync_of_the_directory_tells_what_was_not_removed_and_the_end_not_again(
    emptied: Files,
) -> None:
    emptied.api.faults.set(REFUSED)
    await remove(emptied)

    with pytest.raises(AccessDenied):
        await emptied.fs.fsync_directory(emptied.root)

    assert await emptied.fs.lookup(emptied.root, "f")
    await emptied.fs.close()


async def test_the_end_names_what_was_not_removed(emptied: Files) -> None:
    emptied.api.faults.set(REFUSED)
    await remove(emptied)

    with pytest.raises(FilesLost, match=r"'f' \(not removed: .*AccessDenied"):
        await emptied.fs.close()

    for name in ("f", "g"):
        trouble = emptied.fs.files.troubles.find(name)
        assert trouble is not None
        assert (trouble.call, trouble.code, trouble.operation) == (
            "unlink",
            "AccessDenied",
            "DELETE Object",
        )


@pytest.mark.parametrize(("uid", "operations"), [(0, []), (1, ["HeadObject"])])
async def test_owners_are_asked_for_where_it_matters_whose_a_file_is(
    emptied: Files, uid: int, operations: list[str]
) -> None:
    await emptied.put("h", some_bytes(PART))
    await emptied.fs.lookup(emptied.root, "f")
    emptied.api.requests.clear()

    await emptied.fs.lookup(emptied.root, "h", uid=uid)

    assert asked(emptied.api) == operations
