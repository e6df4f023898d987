"""The journal of uploads: who may go on with which, whatever became of who began it."""

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cosfs.cos.model import ETag, Key, ObjectProperties, Part, UploadId
from cosfs.transfer.journal import UploadJournal, opened_journal

Caplog = pytest.LogCaptureFixture
KEY = Key("dir/file")
ID = UploadId("1700000000abc")
PROPERTIES = ObjectProperties(content_type="text/plain", metadata={"mode": "33188"})
BODY = [b"part"]
MD5 = "f4c9385f1902f7334b00b9b4ecd164de"
PARTS = [
    Part(number=number, size=number << 20, etag=ETag(MD5), crc64=(1 << 64) - number)
    for number in (1, 2)
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "bucket.uploads"


@pytest.fixture
def journal(file: Path) -> Iterator[UploadJournal]:
    with opened_journal(file) as journal:
        yield journal


async def note(journal: UploadJournal, key: Key = KEY, upload_id: UploadId = ID) -> None:
    await journal.begin(key, upload_id, PROPERTIES)
    for part in PARTS:
        await journal.part_done(upload_id, part, BODY)


async def test_claim_tells_all_that_was_noted(file: Path, journal: UploadJournal) -> None:
    with opened_journal(file) as first:
        await note(first)

    claimed = journal.claim(KEY)

    assert claimed is not None
    assert (claimed.upload_id, claimed.key, claimed.properties) == (ID, KEY, PROPERTIES)
    assert claimed.parts == {1: PARTS[0], 2: PARTS[1]}
    assert claimed.sizes == {1: 1 << 20, 2: 2 << 20}
    assert claimed.has_md5_etags


async def test_etags_that_are_no_md5_are_known(journal: UploadJournal) -> None:
    await journal.begin(KEY, ID, PROPERTIES)
    await journal.part_done(ID, PARTS[0], [b"something else"])

    assert not journal.uploads()[0].has_md5_etags


async def test_upload_of_a_living_owner_is_nobody_elses(
    file: Path, journal: UploadJournal
) -> None:
    with opened_journal(file) as first:
        await note(first)

        assert journal.claim(KEY) is None
        assert journal.claim_upload(ID) is None
        assert [upload.is_alive for upload in journal.uploads()] == [True]
    assert [upload.is_alive for upload in journal.uploads()] == [False]


async def test_own_upload_is_claimed_only_after_it_was_left(journal: UploadJournal) -> None:
    await note(journal)

    assert journal.claim(KEY) is None
    await journal.leave(ID)
    assert journal.claim(KEY) is not None


async def test_claim_is_the_first_claimants(file: Path, journal: UploadJournal) -> None:
    with opened_journal(file) as first:
        await note(first)
    with opened_journal(file) as second:
        assert second.claim(KEY) is not None

        assert journal.claim(KEY) is None


async def test_ended_upload_is_forgotten(journal: UploadJournal) -> None:
    await note(journal)
    await journal.end(ID)

    assert journal.uploads() == []
    assert journal.claim(KEY) is None


async def test_newest_upload_of_a_key_is_claimed_first(journal: UploadJournal) -> None:
    for upload_id in (UploadId("1"), UploadId("2")):
        await note(journal, upload_id=upload_id)
        await journal.leave(upload_id)

    claimed = [journal.claim(KEY), journal.claim(KEY)]

    assert [upload and upload.upload_id for upload in claimed] == ["2", "1"]


async def test_upload_begun_on_other_terms_is_left_alone(file: Path) -> None:
    with opened_journal(file, terms="class=STANDARD") as first:
        await note(first)

    with opened_journal(file, terms="class=ARCHIVE") as second:
        assert second.claim(KEY) is None


@pytest.mark.parametrize(
    ("before", "after"), [("d/.f.Ab1xYz", "d/.f.Q99zzz"), (".f.Ab1xYz", ".f.Q99zzz")]
)
async def test_temporary_names_of_rsync_stand_for_each_other(
    journal: UploadJournal, before: str, after: str
) -> None:
    await note(journal, Key(before))
    await journal.leave(ID)

    assert journal.claim(Key(after)) is not None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("d/.f.Ab1xYz", "e/.f.Q99zzz"),
        ("d/.f.Ab1xYz", "d/.g.Q99zzz"),
        ("d/f.Ab1xYz", "d/f.Q99zzz"),
        ("d/.f.Ab1xYz", "d/f"),
    ],
)
async def test_other_names_do_not(journal: UploadJournal, before: str, after: str) -> None:
    await note(journal, Key(before))
    await journal.leave(ID)

    assert journal.claim(Key(after)) is None


async def test_own_key_goes_before_another_temporary_name(journal: UploadJournal) -> None:
    for number, key in enumerate(("d/.f.Ab1xYz", "d/.f.Q99zzz")):
        await note(journal, Key(key), UploadId(str(number)))
        await journal.leave(UploadId(str(number)))

    claimed = journal.claim(Key("d/.f.Ab1xYz"))

    assert claimed is not None
    assert claimed.key == "d/.f.Ab1xYz"


KILLED = """
import sys, trio
from pathlib import Path
from cosfs.cos.model import Key, ObjectProperties, UploadId
from cosfs.transfer.journal import UploadJournal

journal = UploadJournal(Path(sys.argv[1]))
trio.run(journal.begin, Key("dir/file"), UploadId("killed"), ObjectProperties())
print("begun", flush=True)
sys.stdin.read()
"""


def test_upload_of_a_killed_process_can_be_claimed(file: Path, journal: UploadJournal) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        while_alive = journal.claim(KEY)
        process.kill()
        process.wait(timeout=20)

    assert while_alive is None
    claimed = journal.claim(KEY)
    assert claimed is not None
    assert claimed.upload_id == "killed"


@pytest.fixture
def damaged(file: Path) -> Path:
    file.write_bytes(b"no database" * 1000)
    return file


async def test_damaged_file_is_put_aside(damaged: Path) -> None:
    damaged.with_name(damaged.name + "-wal").write_bytes(b"of the damaged one")

    with opened_journal(damaged) as journal:
        await note(journal)

        assert len(journal.uploads()) == 1
    assert damaged.with_suffix(".damaged").exists()


async def test_file_of_another_version_is_put_aside(file: Path, caplog: Caplog) -> None:
    with closing(sqlite3.connect(file)) as database:
        database.execute("PRAGMA user_version = 99")

    with opened_journal(file) as journal:
        await note(journal)

    assert "its tables are of version 99" in caplog.text


async def test_journal_that_cannot_be_written_is_kept_in_memory(tmp_path: Path) -> None:
    with opened_journal(tmp_path / "missing" / "bucket.uploads") as journal:
        await note(journal)
        await journal.leave(ID)

        assert journal.claim(KEY) is not None


async def test_error_of_the_disk_fails_no_upload(journal: UploadJournal, caplog: Caplog) -> None:
    await note(journal)
    journal._database.execute("DROP TABLE parts")

    await journal.part_done(ID, PARTS[0], BODY)
    await journal.part_done(ID, PARTS[1], BODY)

    assert [record.message for record in caplog.records if "journal" in record.message] == [
        "journal of uploads failed, they will not be resumed error=no such table: parts"
    ]


async def test_files_are_the_users_alone(file: Path, journal: UploadJournal) -> None:
    await note(journal)

    modes = {stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    assert modes <= {0o600, 0o700}


async def test_locks_of_the_dead_are_cleared_away(file: Path) -> None:
    owners = file.parent / "owners"
    with opened_journal(file):
        assert len(list(owners.iterdir())) == 1
        (owners / "0123456789abcdef").touch()

        with opened_journal(file):
            assert len(list(owners.iterdir())) == 2
    assert list(owners.iterdir()) == []
