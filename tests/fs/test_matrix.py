"""Every fault at every step: the old object or the new one, whole; whoever must be told is.

One file is written under the fault, and one after it.
"""

import pytest
import trio
import trio.testing

from cosfs.emulator.faults import parse_faults
from cosfs.errors import CosfsError
from tests.support.engines import PART, Files, some_bytes, unfinished_uploads
from tests.support.jumping import run_jumping

pytestmark = pytest.mark.trio(run=run_jumping)

OLD = some_bytes(2 * PART + 10, seed=1)
LARGE = some_bytes(3 * PART + 3, seed=2)
EDITED = some_bytes(PART, seed=3) + OLD[PART:]

# Which requests each way of writing takes.
STEPS = [
    ("small", "PutObject"),
    ("small", "HeadObject"),
    ("large", "InitiateMultipartUpload"),
    ("large", "UploadPart"),
    ("large", "CompleteMultipartUpload"),
    ("edited", "HeadObject"),
    ("edited", "InitiateMultipartUpload"),
    ("edited", "UploadPart"),
    ("edited", "UploadPartCopy"),
    ("edited", "CompleteMultipartUpload"),
]
SENT = [("small", "PutObject"), ("large", "UploadPart"), ("large", "CompleteMultipartUpload")]

PASSING = {  # what another attempt mends
    "429": "status=429 times=3",
    "500": "status=500 times=3",
    "503": "status=503 code=SlowDown retry_after=7 times=2",
    "reset": "reset times=2",
    "stall": "stall=0 times=1",
    "lose": "lose times=1",
    "html": "body=<html/> no_request_id times=1",
    "not cos": "status=404 body=<html/> no_request_id times=3",
    "502": "status=502 body=<html/> no_request_id times=3",
    "slow": "delay=25 times=3",
}
LASTING = {  # what lasts, and is told
    "403": "status=403 code=AccessDenied",
    "no upload": "status=404 code=NoSuchUpload",
    "500": "status=500",
    "503": "status=503 code=SlowDown retry_after=100",
    "black hole": "stall=0",
    "reset": "reset",
    "redirect": "status=307 no_request_id",
    "teapot": "status=418 body=short",
}


async def write(files: Files, kind: str) -> bytes:
    """Write as programs do; what the file then is. Raises what they would be told."""
    handle = await files.open("f") if kind == "edited" else None
    if kind == "small":
        handle, content = files.create("new"), b"small"
        await files.fs.write(handle, 0, content)
    elif kind == "large":
        handle, content = files.create("new"), LARGE
        for start in range(0, len(LARGE), PART // 2):
            await files.fs.write(handle, start, LARGE[start : start + PART // 2])
    else:
        assert handle is not None
        content = EDITED
        await files.fs.write(handle, 0, EDITED[:PART])
    await files.close(handle)
    return content


async def told(files: Files, kind: str) -> bytes | CosfsError:
    """What ``write`` made, or why it did not."""
    try:
        return await write(files, kind)
    except CosfsError as error:
        return error


def name_of(kind: str) -> str:
    return "f" if kind == "edited" else "new"


async def start(files: Files) -> None:
    await files.put("f", OLD)
    await files.client.head_bucket()  # COS has named itself


async def check_the_next_file(files: Files, *, lost: int = 0) -> None:
    """Nothing of what went before is left but *lost* uploads that nobody knows, and it works."""
    files.api.faults.set([])
    await trio.sleep(30)  # the circuit breaker's longest pause, and what is being aborted
    await trio.testing.wait_all_tasks_blocked()
    handle = files.create("next")
    await files.fs.write(handle, 0, LARGE)
    await files.close(handle)
    assert files.stored("next") == LARGE
    assert files.memory.leaving == 0
    assert files.memory.used == 0
    journaled = [upload.key for upload in files.engines.journal.uploads()]
    assert len(unfinished_uploads(files.api)) <= len(journaled) + lost


@pytest.mark.parametrize(("kind", "operation"), STEPS)
@pytest.mark.parametrize("fault", list(PASSING))
async def test_fault_that_passes_is_not_noticed(
    files: Files, operation: str, fault: str, kind: str
) -> None:
    await start(files)
    files.api.faults.set(parse_faults(f"operation={operation} {PASSING[fault]}"))

    content = await write(files, kind)

    assert files.stored(name_of(kind)) == content
    is_orphan = operation == "InitiateMultipartUpload" and fault in ("lose", "html")
    await check_the_next_file(files, lost=1 if is_orphan else 0)


@pytest.mark.parametrize(("kind", "operation"), STEPS)
@pytest.mark.parametrize("fault", list(LASTING))
async def test_fault_that_lasts_is_told_and_leaves_the_old_object(
    files: Files, operation: str, fault: str, kind: str
) -> None:
    await start(files)
    old = files.stored(name_of(kind))
    rule = f"operation={operation} {LASTING[fault]}"
    files.api.faults.set(parse_faults(rule))
    began = trio.current_time()

    result = await told(files, kind)

    stored = files.stored(name_of(kind))
    assert stored == (old if isinstance(result, CosfsError) else result)
    assert trio.current_time() - began <= 3 * 60 + 60
    await check_the_next_file(files)


@pytest.mark.parametrize(("kind", "operation"), SENT)
@pytest.mark.parametrize("damage", ["corrupt", "wrong_crc64", "cut=100", "stall=100"])
@pytest.mark.parametrize("times", ["times=2", ""])
async def test_damage_is_mended_or_told(
    files: Files, operation: str, damage: str, kind: str, times: str
) -> None:
    await start(files)
    old = files.stored(name_of(kind))
    files.api.faults.set(parse_faults(f"operation={operation} {damage} {times}"))

    result = await told(files, kind)

    stored = files.stored(name_of(kind))
    if isinstance(result, bytes):
        assert stored == result
    elif operation == "PutObject" and damage in ("corrupt", "wrong_crc64"):
        # A PUT is seen to be wrong when it is done: this is the one case where neither is left.
        assert not times
    else:
        assert stored == old
    assert isinstance(result, bytes) or not times
    await check_the_next_file(files)
