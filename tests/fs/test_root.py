"""The mountpoint itself answers, whatever COS does."""

import stat

import pytest
import trio

from cosfs.emulator.api import Api
from cosfs.emulator.faults import Fault
from cosfs.namespace.attributes import Attributes
from tests.support.engines import Files, asked, opened_files
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)


async def root_attributes(files: Files) -> Attributes:
    return await files.fs.attributes(files.root)


async def test_root_of_a_bucket_asks_nothing(api: Api) -> None:
    async with opened_files(api) as files:
        await trio.sleep(100)
        await root_attributes(files)
        await trio.testing.wait_all_tasks_blocked()
        assert asked(api) == []


async def test_root_of_a_prefix_is_looked_at_while_nobody_waits(api: Api) -> None:
    async with opened_files(api, prefix="a/") as files:
        await files.put("a/", b"", metadata={"mode": str(stat.S_IFDIR | 0o700)})
        await trio.sleep(100)
        began = trio.current_time()
        api.faults.add(Fault(delay=3))

        before = await root_attributes(files)
        assert trio.current_time() == began
        await trio.sleep(4)
        after = await root_attributes(files)

        assert (before.mode & 0o777, after.mode & 0o777) == (0o755, 0o700)
        assert asked(api) == ["HeadObject"]


async def test_root_of_a_prefix_that_cannot_be_seen_stays_as_it_was(api: Api) -> None:
    async with opened_files(api, prefix="a/") as files:
        await trio.sleep(100)
        api.faults.add(Fault(status=500))
        await root_attributes(files)
        await trio.sleep(100)
        assert (await root_attributes(files)).mode & 0o777 == 0o755
