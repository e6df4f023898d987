"""A service that fails: what is copied is right, or the program is told."""

import mmap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.mounted.programs import attempt, content, digest, digests, eventually, run, shell
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import Mounted, mounted
from tests.support.sdk import Sdk

MIB = 1 << 20


# Not that of Initiate: nothing tells whose upload it was that is begun again then.
LOST_ANSWERS = "\n".join(
    f"operation={operation} probability=0.05 lose"
    for operation in (
        "PutObject",
        "UploadPart",
        "CompleteMultipartUpload",
        "CopyObject",
        "DeleteObject",
        "HeadObject",
        "GetBucket",
    )
)

LOST_INITIATE = "operation=InitiateMultipartUpload every=2 lose"


@pytest.fixture
def mount(own_emulator: EmulatorProcess) -> Iterator[Mounted]:
    with mounted(own_emulator, options=["--part-size", "1M"]) as mount:
        yield mount


@pytest.mark.parametrize(
    "rules",
    [
        "probability=0.1 status=503 code=SlowDown",
        f"probability=0.05 reset\nprobability=0.05 cut=1000\n{LOST_ANSWERS}",
        "operation=UploadPart every=20 corrupt\noperation=PutObject every=5 corrupt",
        "operation=CompleteMultipartUpload every=2 error_in_200 code=InternalError",
        "operation=CopyObject every=2 error_in_200 code=InternalError",
        LOST_INITIATE,
    ],
    ids=["503", "connections", "corrupt", "complete", "copy", "initiate"],
)
def test_copies_are_right_whatever_fails(
    own_emulator: EmulatorProcess, mount: Mounted, tmp_path: Path, rules: str
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(30):
        (source / f"small{number}").write_bytes(content(number * 1000, seed=number))
    for number in range(3):
        (source / f"large{number}").write_bytes(content(12 * MIB + number, seed=number))
    own_emulator.set_faults(rules)

    run("cp", "-r", source, mount.path / "copy")
    shell("mv copy moved; sed -i 's/x/y/' moved/small3; cat moved/* | wc -c", mount.path)
    shell("mv moved/large1 moved/renamed; mv moved/renamed moved/large1", mount.path)

    expected = {name: found for name, found in digests(source).items() if name != "small3"}
    here = digests(mount.path / "moved")
    own_emulator.set_faults("")
    lines = (source / "small3").read_bytes().split(b"\n")
    expected["small3"] = digest(b"\n".join(line.replace(b"x", b"y", 1) for line in lines))
    assert here == expected
    assert Sdk(own_emulator.port).digests("moved/") == expected
    with mounted(own_emulator) as fresh:
        assert digests(fresh.path / "moved") == expected
    orphans = Sdk(own_emulator.port).uploads()
    assert orphans == [] or rules == LOST_INITIATE


@pytest.mark.parametrize("size", [100, 20 * MIB])
def test_cp_says_permission_denied_when_cos_does(
    own_emulator: EmulatorProcess, mount: Mounted, tmp_path: Path, size: int
) -> None:
    (tmp_path / "source").write_bytes(content(size))
    sdk = Sdk(own_emulator.port)
    sdk.put("f", b"old")
    own_emulator.set_faults(
        "operation=UploadPart status=403 code=AccessDenied\n"
        "operation=PutObject status=403 code=AccessDenied"
    )

    over_old = attempt("cp", tmp_path / "source", mount.path / "f")
    to_new = attempt("cp", tmp_path / "source", mount.path / "g")

    for done in (over_old, to_new):
        assert done.returncode == 1
        assert "Permission denied" in done.stderr
    assert sdk.keys() == ["f"]
    assert sdk.get("f") == b"old"
    eventually(lambda: sdk.uploads() == [])
    own_emulator.set_faults("")
    assert (mount.path / "f").read_bytes() == b"old"
    run("cp", tmp_path / "source", mount.path / "g")
    assert sdk.get("g") == content(size)


def test_a_failing_completion_fails_close_and_keeps_the_old_object(
    own_emulator: EmulatorProcess, mount: Mounted
) -> None:
    sdk = Sdk(own_emulator.port)
    sdk.put("f", b"old")
    own_emulator.set_faults("operation=CompleteMultipartUpload status=400 code=InvalidPart")

    file = (mount.path / "f").open("wb")
    file.write(content(20 * MIB))
    with pytest.raises(OSError, match="Input/output error"):
        file.close()

    assert sdk.get("f") == b"old"
    eventually(lambda: sdk.uploads() == [])


def test_a_bucket_without_rights_reads_as_permission_denied(
    own_emulator: EmulatorProcess, mount: Mounted
) -> None:
    Sdk(own_emulator.port).put("f", b"secret")
    own_emulator.set_faults("operation=GetObject status=403 code=AccessDenied")

    done = attempt("cat", mount.path / "f")

    assert "Permission denied" in done.stderr


def test_an_object_that_became_shorter_does_not_end_its_readers_early(
    own_emulator: EmulatorProcess, mount: Mounted
) -> None:
    """What the kernel has of the old object is of no use to readers of the new one, either."""
    sdk = Sdk(own_emulator.port)
    old, new = content(40 * MIB), content(4 * MIB, seed=2)
    sdk.put("f", old)

    with (mount.path / "f").open("rb", buffering=0) as file:
        assert file.read(MIB) == old[:MIB]
        sdk.put("f", new)
        with (
            (mount.path / "f").open("rb") as other,
            mmap.mmap(other.fileno(), 0, prot=mmap.PROT_READ) as mapped,
        ):
            assert mapped[:] == new
        file.seek(30 * MIB)
        with pytest.raises(OSError, match="Stale file handle"):
            file.read(MIB)
    assert (mount.path / "f").read_bytes() == new


def test_an_object_replaced_while_it_is_read_is_stale(
    own_emulator: EmulatorProcess, mount: Mounted
) -> None:
    sdk = Sdk(own_emulator.port)
    sdk.put("f", content(80 * MIB))

    with (mount.path / "f").open("rb") as file:
        assert file.read(MIB) == content(80 * MIB)[:MIB]
        sdk.put("f", content(80 * MIB, seed=2))
        file.seek(70 * MIB)
        with pytest.raises(OSError, match="Stale file handle"):
            file.read(MIB)
    assert (mount.path / "f").read_bytes() == content(80 * MIB, seed=2)
