"""What other machines do to the names and objects that a mount knows."""

import pytest
import trio

from cosfs.cos.model import Key, ObjectProperties
from cosfs.emulator.faults import Fault
from cosfs.errors import DeadlineExceeded, NoSuchEntry, ObjectArchived
from cosfs.namespace.changes import LISTING_LAG_S
from tests.support.engines import Files
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)


async def names(files: Files) -> list[str]:
    return [entry.name for entry in await files.fs.namespace.entries(files.root)]


async def test_name_made_elsewhere_shows_after_its_time_to_live(files: Files) -> None:
    assert await names(files) == []
    await files.put("f", b"theirs")
    assert await names(files) == []

    await trio.sleep(files.fs.namespace.ttl_s)

    assert await names(files) == ["f"]


async def test_name_made_here_and_removed_elsewhere_shows_while_listings_may_lag(
    files: Files,
) -> None:
    handle = files.create("f")
    await handle.file.write(0, b"ours")
    await files.close(handle)
    await files.client.delete_object(Key("f"))

    await trio.sleep(files.fs.namespace.ttl_s)
    assert await names(files) == ["f"]
    await trio.sleep(LISTING_LAG_S)
    assert await names(files) == []


@pytest.mark.parametrize("later_s", [1, 6], ids=["known", "listed anew"])
async def test_name_removed_elsewhere_cannot_be_opened(files: Files, later_s: int) -> None:
    handle = files.create("f")
    await handle.file.write(0, b"ours")
    await files.close(handle)
    await files.client.delete_object(Key("f"))
    await trio.sleep(later_s)

    with pytest.raises(NoSuchEntry):
        await files.open("f")


async def test_archived_object_is_listed_and_cannot_be_read(files: Files) -> None:
    archived = ObjectProperties(storage_class="ARCHIVE")
    await files.client.put_object(Key("f"), [b"content"], properties=archived)

    assert await names(files) == ["f"]
    handle = await files.open("f", writable=False)
    with pytest.raises(ObjectArchived):
        await files.fs.read(handle, 0, 10)
    await files.close(handle)


async def test_attributes_of_an_open_file_outlive_an_outage(files: Files) -> None:
    """The kernel asks for them before it reads, and reads have more patience."""
    await files.put("f", b"0123")
    reader = await files.open("f", writable=False)
    node = reader.file.node
    files.fs.namespace.inodes.remember(node)
    await trio.sleep(100)
    files.api.faults.set([Fault(stall=0)])

    with trio.fail_after(61):
        assert (await files.fs.attributes(node)).size == 4

    await files.fs.release(reader)
    with pytest.raises(DeadlineExceeded):
        await files.fs.attributes(node)
