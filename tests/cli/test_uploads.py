"""Unfinished uploads from the command line: what is shown, finished, given up, and left alone."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from cosfs.config import ServiceConfig
from cosfs.cos.client import CosClient
from cosfs.cos.credentials import Credentials, StaticCredentials
from cosfs.cos.model import Key, ObjectProperties, UploadId
from cosfs.transfer.journal import UploadJournal, bucket_journal
from tests.support.commands import Finished, cosfs
from tests.support.emulated import BUCKET, SECRET_ID, SECRET_KEY, EmulatorProcess
from tests.support.mounted import mount_environment
from tests.support.sdk import Sdk

MIB = 1 << 20
PART = 2 * MIB
PROPERTIES = ObjectProperties(content_type="text/plain", metadata={"mode": "33152"})
Uploads = Callable[..., Finished]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def uploads(emulator: EmulatorProcess, state: Path) -> Uploads:
    environment = mount_environment(emulator.url, COSFS_STATE_DIR=str(state))
    return lambda *words: cosfs("uploads", *words, environment=environment)


def service(emulator: EmulatorProcess) -> ServiceConfig:
    return ServiceConfig(bucket=BUCKET, endpoint=emulator.url)


def begin(
    emulator: EmulatorProcess, key: str, parts: list[bytes], journal: UploadJournal | None = None
) -> UploadId:
    """Begin an upload and send *parts*; without a *journal* as somebody else would."""

    async def upload() -> UploadId:
        credentials = StaticCredentials(Credentials(secret_id=SECRET_ID, secret_key=SECRET_KEY))
        async with CosClient(service(emulator), credentials) as client:
            upload_id = await client.initiate_multipart_upload(Key(key), properties=PROPERTIES)
            if journal is not None:
                await journal.begin(Key(key), upload_id, PROPERTIES)
            for number, part in enumerate(parts, 1):
                stored = await client.upload_part(Key(key), upload_id, number, [part])
                if journal is not None:
                    await journal.part_done(upload_id, stored, [part])
            return upload_id

    return trio.run(upload)


def interrupted(emulator: EmulatorProcess, state: Path, key: str, parts: list[bytes]) -> UploadId:
    with bucket_journal(state, service(emulator)) as journal:
        return begin(emulator, key, parts, journal)


def shown(uploads: Uploads, source: str) -> dict[str, object]:
    """Key, owner and bytes of each upload by its id."""
    done = uploads("list", source, "--json")
    assert done.code == 0, done
    return {
        item["id"]: (item["key"], item["owner"], item["bytes"]) for item in json.loads(done.output)
    }


def test_list_tells_whose_each_upload_is(
    uploads: Uploads, emulator: EmulatorProcess, state: Path
) -> None:
    foreign = begin(emulator, "list/a", [bytes(PART)])
    ours = interrupted(emulator, state, "list/b", [bytes(PART), bytes(PART)])
    with bucket_journal(state, service(emulator)) as journal:
        running = begin(emulator, "list/c", [], journal)

        found = shown(uploads, f"{BUCKET}/list")
        table = uploads("list", f"{BUCKET}/list").output.splitlines()

    assert found == {
        foreign: ("list/a", "foreign", PART),
        ours: ("list/b", "interrupted", 2 * PART),
        running: ("list/c", "running", 0),
    }
    assert [line.split()[0] for line in table] == ["KEY", "list/a", "list/b", "list/c"]
    assert table[2].split()[-1] == ours


def test_list_of_nothing_says_so(uploads: Uploads) -> None:
    done = uploads("list", f"{BUCKET}/nothing")

    assert (done.code, done.output) == (0, "no unfinished uploads\n")


def test_resume_finishes_from_a_local_file(
    uploads: Uploads, emulator: EmulatorProcess, state: Path, tmp_path: Path
) -> None:
    content = os.urandom(3 * PART + 5)
    file = tmp_path / "file"
    file.write_bytes(content)
    interrupted(emulator, state, "resume/a", [content[:PART], content[PART : 2 * PART]])
    emulator.forget_requests()

    done = uploads("resume", f"{BUCKET}/resume", "a", str(file), "--part-size", "2M")

    assert (done.code, done.output) == (0, "resumed: 2 of 4 parts were already there\n")
    sent = [r["bytes_in"] for r in emulator.requests() if r["operation"] == "UploadPart"]
    assert sorted(sent) == [5, PART]
    sdk = Sdk(emulator.port)
    assert sdk.get("resume/a") == content
    assert sdk.head("resume/a")["x-cos-meta-mode"] == "33152"
    assert shown(uploads, f"{BUCKET}/resume") == {}


def test_resume_of_what_is_not_ours_is_refused(
    uploads: Uploads, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    begin(emulator, "refuse/a", [bytes(PART)])
    file = tmp_path / "file"
    file.write_bytes(bytes(PART))

    done = uploads("resume", f"{BUCKET}/refuse", "a", str(file))

    assert done.code == 1
    assert "this machine has no interrupted upload of 'refuse/a'" in done.complaint


def test_resume_of_a_missing_file_is_told(uploads: Uploads) -> None:
    done = uploads("resume", BUCKET, "a", "/nonexistent/file")

    assert done.code == 1
    assert "/nonexistent/file" in done.complaint


def test_abort_takes_own_ones_and_with_all_the_others(
    uploads: Uploads, emulator: EmulatorProcess, state: Path
) -> None:
    source = f"{BUCKET}/abort"
    foreign = begin(emulator, "abort/a", [bytes(PART)])
    ours = interrupted(emulator, state, "abort/b", [bytes(PART)])
    with bucket_journal(state, service(emulator)) as journal:
        running = begin(emulator, "abort/c", [], journal)

        young = uploads("abort", source, "--older-than", "1h")
        mine = uploads("abort", source, "--older-than", "0s")
        left = shown(uploads, source).keys()
        everyone = uploads("abort", source, "--older-than", "0s", "--all")

    assert (young.code, young.output) == (0, "")
    assert (mine.code, mine.output) == (0, f"aborted abort/b {ours}\n")
    assert left == {foreign, running}
    assert everyone.code == 0
    assert shown(uploads, source) == {}


def test_abort_of_one_that_is_not_ours_needs_all(
    uploads: Uploads, emulator: EmulatorProcess
) -> None:
    foreign = begin(emulator, "one/a", [])

    refused = uploads("abort", f"{BUCKET}/one", "--id", foreign)
    done = uploads("abort", f"{BUCKET}/one", "--id", foreign, "--all")
    again = uploads("abort", f"{BUCKET}/one", "--id", foreign)

    assert refused.code == 1
    assert "was begun elsewhere; add --all" in refused.complaint
    assert done.code == 0
    assert again.code == 1
    assert "there is no upload" in again.complaint


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["list"], "SOURCE"),
        (["list", "nonsense"], "nonsense"),
        (["abort", BUCKET], "--id"),
        (["abort", BUCKET, "--older-than", "soon"], "give a time"),
    ],
)
def test_wrong_words_are_usage(words: list[str], complaint: str, uploads: Uploads) -> None:
    done = uploads(*words)

    assert done.code == 2
    assert complaint in done.complaint
