"""Attributes of stored files: what changing them costs, and when COS has them."""

import pytest
import trio

from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied
from cosfs.fs.lateattributes import MOMENT_S, LateAttributes
from cosfs.namespace.attributes import AttributeChange
from cosfs.namespace.inodes import Node
from tests.support.engines import Files, asked, stored_metadata
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

CHMOD = AttributeChange(mode=0o600)
TOUCH = AttributeChange(mtime_ns=1_000_000_000_500_000_000)


async def stored_file(files: Files, name: str, content: bytes = b"content") -> Node:
    handle = files.create(name)
    await handle.file.write(0, content)
    files.fs.namespace.inodes.remember(handle.file.node)
    await files.close(handle)
    files.api.requests.clear()
    return handle.file.node


async def test_changes_in_a_burst_cost_one_copy(files: Files) -> None:
    node = await stored_file(files, "f")

    await files.fs.set_attributes(node, TOUCH)
    await files.fs.set_attributes(node, CHMOD)
    assert asked(files.api) == []
    await trio.sleep(2 * MOMENT_S)

    assert asked(files.api) == ["CopyObject"]
    metadata = stored_metadata(files.api, "f")
    assert (metadata["mode"], metadata["mtime"]) == (str(0o100600), "1000000000")


async def test_changes_are_seen_at_once(files: Files) -> None:
    node = await stored_file(files, "f")

    await files.fs.set_attributes(node, CHMOD)

    assert (await files.fs.attributes(node)).mode == 0o100600
    (entry,) = await files.fs.namespace.entries(files.root)
    assert entry.attributes.mode == 0o100600


async def test_rename_takes_the_changes_along(files: Files) -> None:
    node = await stored_file(files, "f")

    await files.fs.set_attributes(node, TOUCH)
    await files.fs.set_attributes(node, CHMOD)
    await files.fs.names.rename(files.root, "f", files.root, "g", replace=True)
    await trio.sleep(2 * MOMENT_S)

    assert asked(files.api) == ["GetBucket", "CopyObject", "DeleteObject"]
    metadata = stored_metadata(files.api, "g")
    assert (metadata["mode"], metadata["mtime"]) == (str(0o100600), "1000000000")
    assert node.attributes.mtime_ns == TOUCH.mtime_ns


async def test_rename_of_the_directory_stores_the_changes_below_first(files: Files) -> None:
    await files.put("d/f", b"content")
    directory = await files.fs.lookup(files.root, "d")
    files.fs.namespace.inodes.remember(directory)
    node = await files.fs.lookup(directory, "f")

    await files.fs.set_attributes(node, CHMOD)
    await files.fs.names.rename(files.root, "d", files.root, "e", replace=True)

    assert stored_metadata(files.api, "e/f")["mode"] == str(0o100600)


async def test_time_of_a_directory_can_be_chosen_before_and_after_a_name_is_made(
    files: Files,
) -> None:
    """As rsync does: what is shown at the end is what COS has."""
    await files.put("d/", b"")
    directory = await files.fs.lookup(files.root, "d")
    files.fs.namespace.inodes.remember(directory)

    await files.fs.set_attributes(directory, TOUCH)
    await files.fs.names.make_directory(directory, "e", mode=0o755, uid=0, gid=0)
    made_ns = directory.attributes.mtime_ns
    await trio.sleep(3 * MOMENT_S)
    assert directory.attributes.mtime_ns == made_ns
    assert stored_metadata(files.api, "d/")["mtime"] == str(made_ns // 10**9)

    await files.fs.set_attributes(directory, TOUCH)
    await trio.sleep(3 * MOMENT_S)
    assert directory.attributes.mtime_ns == TOUCH.mtime_ns
    assert stored_metadata(files.api, "d/")["mtime"] == "1000000000"


async def test_removal_forgets_the_changes(files: Files) -> None:
    node = await stored_file(files, "f")

    await files.fs.set_attributes(node, CHMOD)
    await files.fs.names.unlink(files.root, "f")
    await trio.sleep(2 * MOMENT_S)

    assert asked(files.api) == ["DeleteObject"]
    assert files.stored("f") is None


async def test_removal_that_takes_long_is_not_undone_by_the_changes(files: Files) -> None:
    node = await stored_file(files, "f")
    files.api.faults.add(Fault(operation="DeleteObject", delay=5 * MOMENT_S))

    await files.fs.set_attributes(node, CHMOD)
    await files.fs.names.unlink(files.root, "f")
    await trio.sleep(2 * MOMENT_S)

    assert asked(files.api) == ["DeleteObject"]


async def test_removal_of_a_directory_is_not_undone_by_its_changes(files: Files) -> None:
    await files.put("d/", b"")
    directory = await files.fs.lookup(files.root, "d")
    files.fs.namespace.inodes.remember(directory)
    files.api.faults.add(Fault(operation="DeleteObject", delay=5 * MOMENT_S))

    await files.fs.set_attributes(directory, CHMOD)
    await files.fs.names.remove_directory(files.root, "d")
    await trio.sleep(2 * MOMENT_S)

    assert "PutObject" not in asked(files.api)
    assert files.stored("d/") is None


@pytest.mark.parametrize("changed", ["f", "g"])
async def test_rename_that_takes_long_leaves_nothing_to_store(files: Files, changed: str) -> None:
    """Neither what moves nor what is replaced is copied onto itself meanwhile."""
    nodes = {name: await stored_file(files, name) for name in ("f", "g")}
    files.api.faults.add(Fault(operation="CopyObject", delay=5 * MOMENT_S))

    await files.fs.set_attributes(nodes[changed], CHMOD)
    await files.fs.names.rename(files.root, "f", files.root, "g", replace=True)
    await trio.sleep(2 * MOMENT_S)

    assert asked(files.api, "CopyObject") == ["CopyObject"]
    assert stored_metadata(files.api, "g")["mode"] == str(0o100600 if changed == "f" else 0o100644)


async def test_writing_again_takes_the_changes_along(files: Files) -> None:
    node = await stored_file(files, "f")

    await files.fs.set_attributes(node, CHMOD)
    handle = await files.fs.open(node, writable=True, pid=1)
    await handle.file.write(0, b"CONTENT")
    await files.close(handle)
    await trio.sleep(2 * MOMENT_S)

    assert "CopyObject" not in asked(files.api)
    assert stored_metadata(files.api, "f")["mode"] == str(0o100600)
    assert files.stored("f") == b"CONTENT"


async def test_fsync_stores_the_changes(files: Files) -> None:
    node = await stored_file(files, "f")
    handle = await files.fs.open(node, writable=False, pid=1)

    await files.fs.set_attributes(node, CHMOD)
    await files.fs.fsync(handle)

    assert stored_metadata(files.api, "f")["mode"] == str(0o100600)
    await files.close(handle)


async def test_fsync_of_the_directory_stores_the_changes(files: Files) -> None:
    node = await stored_file(files, "f")

    await files.fs.set_attributes(node, CHMOD)
    await files.fs.fsync_directory(files.root)

    assert stored_metadata(files.api, "f")["mode"] == str(0o100600)


async def test_fsync_of_the_directory_tells_what_could_not_be_stored(files: Files) -> None:
    node = await stored_file(files, "f")
    files.api.faults.add(Fault(operation="CopyObject", status=403, code="AccessDenied"))

    await files.fs.set_attributes(node, CHMOD)

    with pytest.raises(AccessDenied):
        await files.fs.fsync_directory(files.root)


async def test_unmounting_stores_the_changes(files: Files) -> None:
    node = await stored_file(files, "f")

    await files.fs.set_attributes(node, CHMOD)
    await files.fs.close()

    assert stored_metadata(files.api, "f")["mode"] == str(0o100600)


async def test_change_that_cannot_be_stored_is_shown_no_longer(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    node = await stored_file(files, "f")
    files.api.faults.add(Fault(operation="CopyObject", status=403, code="AccessDenied"))

    await files.fs.set_attributes(node, CHMOD)
    await trio.sleep(2 * MOMENT_S)

    assert "attributes lost name=f" in caplog.text
    assert (await files.fs.attributes(node)).mode == 0o100644


async def test_more_changes_than_may_wait_are_stored_by_who_makes_them(files: Files) -> None:
    nodes = [await stored_file(files, f"f{number}") for number in range(300)]

    for node in nodes:
        await files.fs.set_attributes(node, CHMOD)

    assert len(asked(files.api, "CopyObject")) == 300 - 256
    await files.fs.close()
    assert all(stored_metadata(files.api, f"f{n}")["mode"] == str(0o100600) for n in range(300))


async def test_bug_in_storing_changes_ends_nothing_else(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    node = await stored_file(files, "f")

    async def broken(_node: Node) -> None:
        raise ZeroDivisionError

    lost: list[Node] = []
    late = LateAttributes(
        files.fs.namespace.inodes,
        broken,
        lambda node, _error: lost.append(node),
        files.engines.nursery,
    )
    files.fs.namespace.collect_attributes(node, CHMOD)
    await late.collected(node)
    await trio.sleep(1.5 * MOMENT_S)

    assert "ZeroDivisionError" in caplog.text
    assert node.late is None
    assert lost == [node]


async def test_opening_amid_a_burst_of_changes_asks_nothing(files: Files) -> None:
    """As rsync does: the temporary file is opened for a chmod between utimens and rename."""
    node = await stored_file(files, "f")

    await files.fs.set_attributes(node, TOUCH)
    await files.fs.release(await files.fs.open(node, writable=False, pid=1))
    assert asked(files.api) == []

    await files.fs.fsync_directory(files.root)
    await files.fs.release(await files.fs.open(node, writable=False, pid=1))
    assert asked(files.api) == ["CopyObject", "HeadObject"]


async def test_a_change_to_the_same_moves_ctime_of_a_file_that_is_being_written(
    files: Files,
) -> None:
    handle = files.create("f")
    await handle.file.write(0, b"content")
    before = await files.fs.attributes(handle.file.node)

    after = await files.fs.set_attributes(
        handle.file.node, AttributeChange(mode=before.mode & 0o7777)
    )

    assert after.ctime_ns > before.ctime_ns
    assert (after.mode, after.mtime_ns) == (before.mode, before.mtime_ns)
    await files.close(handle)
