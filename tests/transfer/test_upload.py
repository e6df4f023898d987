"""One multipart upload: parts side by side, failures that end it, memory that comes back."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from cosfs.cos.client import CosClient
from cosfs.cos.model import MAX_PARTS, Key
from cosfs.emulator.api import Api
from cosfs.emulator.faults import Fault
from cosfs.errors import AccessDenied, FileTooLarge, UploadFailed
from cosfs.transfer.journal import UploadJournal
from cosfs.transfer.memory import MemoryLimiter
from cosfs.transfer.parts import Buffered, Hole, SendPart
from cosfs.transfer.upload import UploadSession, UploadState, UploadTarget
from tests.support.engines import (
    MIB,
    PLAIN,
    asked,
    some_bytes,
    stored_bytes,
    unfinished_uploads,
)
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

KEY = Key("dir/file")
PARALLEL = 4


class Uploading:
    """A session, with its memory, in the nursery of a mount."""

    def __init__(self, client: CosClient, nursery: trio.Nursery) -> None:
        self.memory = MemoryLimiter(16 * MIB)
        self.journal = UploadJournal(None)
        target = UploadTarget(key=KEY, properties=PLAIN)
        self.session = UploadSession(client, self.memory, self.journal, target, parallel=PARALLEL)
        nursery.start_soon(self.session.run)

    def submit(self, data: bytes) -> None:
        assert self.memory.try_acquire(len(data))
        self.session.submit(SendPart([Buffered([data], len(data))]))

    def submit_parts(self, count: int) -> bytes:
        """Submit so many parts of 1 MiB; what they make together."""
        content = some_bytes(count * MIB)
        for number in range(count):
            self.submit(content[number * MIB : (number + 1) * MIB])
        return content


@pytest.fixture
async def uploading(client: CosClient) -> AsyncIterator[Uploading]:
    async with trio.open_nursery() as nursery:
        yield Uploading(client, nursery)
        nursery.cancel_scope.cancel()


def part_numbers(api: Api) -> list[int]:
    records = api.requests.records("UploadPart")
    return [int(record.query.partition("partNumber=")[2].partition("&")[0]) for record in records]


async def test_parts_make_the_object(api: Api, uploading: Uploading) -> None:
    content = uploading.submit_parts(5)
    uploading.submit(b"tail")

    stored = await uploading.session.complete()

    assert stored_bytes(api, KEY) == content + b"tail"
    assert stored.crc64 is not None
    assert uploading.memory.used == 0
    assert repr(uploading.session) == (
        f"<UploadSession {KEY} COMPLETED parts=6 in_flight=0 bytes={5 * MIB + 4}>"
    )


async def test_parts_go_out_side_by_side(api: Api, uploading: Uploading) -> None:
    api.faults.set([Fault(operation="UploadPart", delay=10)])
    begun = trio.current_time()
    uploading.submit_parts(2 * PARALLEL)

    await uploading.session.complete()

    assert trio.current_time() - begun == pytest.approx(20, abs=1)


async def test_parts_may_end_in_any_order(api: Api, uploading: Uploading) -> None:
    api.faults.set([Fault(operation="UploadPart", nth=1, delay=20)])
    content = uploading.submit_parts(PARALLEL)

    await uploading.session.complete()

    assert stored_bytes(api, KEY) == content


async def test_only_the_failed_part_is_sent_again(api: Api, uploading: Uploading) -> None:
    api.faults.set([Fault(operation="UploadPart", nth=2, status=503)])
    content = uploading.submit_parts(4)

    await uploading.session.complete()

    numbers = part_numbers(api)
    assert sorted(set(numbers)) == [1, 2, 3, 4]
    assert len(numbers) == 5
    assert stored_bytes(api, KEY) == content


@pytest.mark.parametrize("fault", [Fault(cut=1000, nth=1), Fault(corrupt=True, nth=1)])
async def test_damaged_part_is_sent_again(api: Api, uploading: Uploading, fault: Fault) -> None:
    api.faults.set([replace(fault, operation="UploadPart")])
    content = uploading.submit_parts(2)

    await uploading.session.complete()

    assert len(part_numbers(api)) == 3
    assert stored_bytes(api, KEY) == content


async def test_failed_part_stops_its_siblings(api: Api, uploading: Uploading) -> None:
    api.faults.set(
        [
            Fault(operation="UploadPart", nth=2, status=403, code="AccessDenied"),
            Fault(operation="UploadPart", delay=20),
        ]
    )
    begun = trio.current_time()
    uploading.submit_parts(8)

    with pytest.raises(UploadFailed) as caught:
        await uploading.session.complete()

    assert isinstance(caught.value.__cause__, AccessDenied)
    assert trio.current_time() - begun < 1
    assert len(part_numbers(api)) == PARALLEL
    assert (uploading.memory.used, uploading.memory.leaving) == (0, 0)
    assert uploading.session.state is UploadState.FAILED
    assert stored_bytes(api, KEY) is None


async def test_failure_is_known_before_anybody_asks(api: Api, uploading: Uploading) -> None:
    api.faults.set([Fault(operation="UploadPart", status=403, code="AccessDenied")])
    uploading.submit_parts(1)
    await wait_all_tasks_blocked(0.1)

    assert isinstance(uploading.session.error, AccessDenied)
    uploading.submit_parts(1)
    assert uploading.memory.used == 0


async def test_upload_that_cannot_begin_fails_with_its_cause(
    api: Api, client: CosClient, nursery: trio.Nursery
) -> None:
    api.faults.set([Fault(operation="InitiateMultipartUpload", status=403, code="AccessDenied")])
    uploading = Uploading(client, nursery)
    uploading.submit_parts(2)

    with pytest.raises(UploadFailed) as caught:
        await uploading.session.complete()
    await uploading.session.abort()

    assert isinstance(caught.value.__cause__, AccessDenied)
    assert uploading.memory.used == 0


async def test_failed_completion_leaves_the_old_object(
    api: Api, client: CosClient, uploading: Uploading
) -> None:
    await client.put_object(KEY, [b"old"], properties=PLAIN)
    api.faults.set(
        [Fault(operation="CompleteMultipartUpload", error_in_200=True, code="AccessDenied")]
    )
    uploading.submit_parts(2)

    with pytest.raises(UploadFailed):
        await uploading.session.complete()
    await uploading.session.abort()

    assert stored_bytes(api, KEY) == b"old"
    assert unfinished_uploads(api) == []


async def test_completion_whose_answer_is_lost_succeeds(api: Api, uploading: Uploading) -> None:
    api.faults.set([Fault(operation="CompleteMultipartUpload", nth=1, lose=True)])
    content = uploading.submit_parts(2)

    await uploading.session.complete()

    assert stored_bytes(api, KEY) == content


async def test_abort_in_the_middle_leaves_nothing(api: Api, uploading: Uploading) -> None:
    api.faults.set([Fault(operation="UploadPart", nth=3, delay=100)])
    uploading.submit_parts(6)
    with trio.move_on_after(5):
        await uploading.session.complete()
    assert unfinished_uploads(api) == [KEY]

    await uploading.session.abort()

    assert unfinished_uploads(api) == []
    assert uploading.memory.used == 0
    assert uploading.session.state is UploadState.ABORTED
    with pytest.raises(UploadFailed):
        await uploading.session.complete()


async def test_abort_while_it_begins_leaves_nothing(
    api: Api, client: CosClient, nursery: trio.Nursery
) -> None:
    """COS has made the upload, and its answer is on the way."""
    api.faults.set([Fault(operation="InitiateMultipartUpload", bandwidth=1000)])
    uploading = Uploading(client, nursery)
    uploading.submit_parts(2)
    await trio.sleep(0.1)
    assert unfinished_uploads(api) == [KEY]

    await uploading.session.abort()

    assert unfinished_uploads(api) == []
    assert asked(api, "UploadPart") == []
    assert uploading.memory.used == 0


@pytest.mark.parametrize("operation", ["InitiateMultipartUpload", "AbortMultipartUpload"])
async def test_abort_is_over_within_seconds_when_nothing_answers(
    api: Api, client: CosClient, operation: str
) -> None:
    api.faults.set([Fault(operation=operation, delay=1000)])
    begun = trio.current_time()
    async with trio.open_nursery() as mount:
        uploading = Uploading(client, mount)
        uploading.submit_parts(1)
        await trio.sleep(1)
        await uploading.session.abort()

    assert trio.current_time() - begun == pytest.approx(21)
    assert uploading.memory.used == 0


async def test_abort_after_completion_leaves_the_object(api: Api, uploading: Uploading) -> None:
    content = uploading.submit_parts(1)
    await uploading.session.complete()

    await uploading.session.abort()

    assert stored_bytes(api, KEY) == content
    assert asked(api, "AbortMultipartUpload") == []


async def test_end_of_the_mount_returns_the_memory(api: Api, client: CosClient) -> None:
    api.faults.set([Fault(operation="UploadPart", delay=100)])
    async with trio.open_nursery() as mount:
        uploading = Uploading(client, mount)
        uploading.submit_parts(6)
        await wait_all_tasks_blocked(0.1)
        mount.cancel_scope.cancel()

    with pytest.raises(UploadFailed):
        await uploading.session.complete()
    assert (uploading.memory.used, uploading.memory.leaving) == (0, 0)


async def test_more_parts_than_cos_takes_fail_the_upload(uploading: Uploading) -> None:
    for _ in range(MAX_PARTS + 1):
        uploading.session.submit(SendPart([Hole(1)]))
    uploading.submit(b"more")

    with pytest.raises(UploadFailed) as caught:
        await uploading.session.complete()

    assert isinstance(caught.value.__cause__, FileTooLarge)
    assert uploading.memory.used == 0
