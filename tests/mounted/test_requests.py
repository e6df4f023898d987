"""What programs cost in requests and bytes sent, as the emulator's log tells it."""

import itertools
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.mounted.conftest import Place
from tests.mounted.programs import content, run, shell
from tests.support.emulated import BUCKET, RequestRecord, emulator_process
from tests.support.mounted import mounted
from tests.support.sdk import Sdk

MIB = 1 << 20
PART = 8 * MIB  # the default part size
QUESTIONS = {"GetBucket", "HeadObject"}


@dataclass(slots=True)
class Cost:
    """The requests of a block, known once it has ended."""

    requests: list[RequestRecord] = field(default_factory=list)

    @property
    def operations(self) -> Counter[str]:
        return Counter(request["operation"] for request in self.requests)

    @property
    def changes(self) -> Counter[str]:
        """What changes the bucket or reads content; the questions depend on what is known."""
        return Counter({o: n for o, n in self.operations.items() if o not in QUESTIONS})

    def of(self, operation: str) -> list[RequestRecord]:
        return [request for request in self.requests if request["operation"] == operation]


@contextmanager
def cost(place: Place) -> Iterator[Cost]:
    """The requests that the block makes; what is collected for a moment is stored in it."""
    found = Cost()
    place.emulator.forget_requests()
    yield found
    run("sync", ".", cwd=place.path)
    found.requests += place.emulator.requests()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A file with a mode and a time of its own."""
    source = tmp_path / "small"
    source.write_bytes(content(3000))
    source.chmod(0o640)
    run("touch", "-d", "2001-02-03 04:05:06.789 UTC", source)
    return source


def test_appending_sends_what_is_new_and_copies_the_rest(place: Place) -> None:
    data, more = content(64 * MIB), content(MIB, seed=2)
    (place.path / "f").write_bytes(data)

    with cost(place) as spent, (place.path / "f").open("ab") as file:
        file.write(more)

    sent = sum(request["bytes_in"] for request in spent.of("UploadPart"))
    assert sent == MIB
    assert spent.of("GetObject") == []
    place.assert_stored({"f": data + more})


def test_changing_a_byte_sends_one_part(place: Place) -> None:
    data = bytearray(content(64 * MIB))
    (place.path / "f").write_bytes(data)
    data[33 * MIB + 5] ^= 1

    with cost(place) as spent, (place.path / "f").open("r+b", buffering=0) as file:
        file.seek(33 * MIB + 5)
        file.write(data[33 * MIB + 5 : 33 * MIB + 6])

    (part,) = spent.of("UploadPart")
    assert part["bytes_in"] <= PART
    assert sum(request["bytes_out"] for request in spent.of("GetObject")) <= PART
    place.assert_stored({"f": bytes(data)})


def test_cp_with_attributes_is_one_put(place: Place, small: Path) -> None:
    with cost(place) as spent:
        run("cp", "-p", small, place.path / "f")

    assert spent.changes == {"PutObject": 1}
    assert_same_attributes(place, small, "f")


def test_install_costs_a_copy_for_the_mode_it_sets_after_close(place: Place, small: Path) -> None:
    with cost(place) as spent:
        run("install", "-p", "-m", "640", small, place.path / "f")

    assert spent.changes == {"PutObject": 1, "CopyObject": 1}
    assert_same_attributes(place, small, "f")


def test_tar_unpacks_a_small_file_with_one_put(place: Place, small: Path, tmp_path: Path) -> None:
    run("tar", "--format=posix", "-cf", tmp_path / "archive", "-C", tmp_path, small.name)

    with cost(place) as spent:
        run("tar", "-xpf", tmp_path / "archive", "-C", place.path)

    assert spent.changes == {"PutObject": 1}
    assert_same_attributes(place, small, small.name)


def test_rsync_of_a_small_file_costs_its_rename(place: Place, small: Path) -> None:
    with cost(place) as spent:
        run("rsync", "-a", small, place.path)

    assert spent.changes == {"PutObject": 1, "CopyObject": 1, "DeleteObject": 1}
    assert_same_attributes(place, small, small.name)


def test_a_header_rewritten_last_sends_its_part_twice(place: Place) -> None:
    data = bytearray(content(32 * MIB))

    with cost(place) as spent, (place.path / "f").open("wb", buffering=0) as file:
        for start in range(0, len(data), MIB):
            file.write(data[start : start + MIB])
        file.seek(100)
        file.write(b"header")

    data[100:106] = b"header"
    numbers = Counter(
        int(request["query"].partition("partNumber=")[2].partition("&")[0])
        for request in spent.of("UploadPart")
    )
    assert len(spent.of("InitiateMultipartUpload")) == 1
    assert numbers == {1: 2, 2: 1, 3: 1, 4: 1}
    assert spent.of("UploadPartCopy") == spent.of("GetObject") == []
    place.assert_stored({"f": bytes(data)})


def assert_same_attributes(place: Place, source: Path, name: str) -> None:
    """In a fresh mount: the file's content, mode, owner and time are *source*'s."""
    with place.fresh() as path:
        copy, wanted = (path / name).stat(), source.stat()
        assert (path / name).read_bytes() == source.read_bytes()
    assert copy.st_mtime_ns == wanted.st_mtime_ns
    assert (copy.st_mode, copy.st_uid, copy.st_gid) == (
        wanted.st_mode,
        wanted.st_uid,
        wanted.st_gid,
    )


README = Path(__file__).parents[2] / "README.md"
OPERATIONS = {
    "LIST": "GetBucket",
    "HEAD": "HeadObject",
    "GET": "GetObject",
    "PUT": "PutObject",
    "COPY": "CopyObject",
    "DELETE": "DeleteObject",
}
TTL_S = 2.0  # longer than any of the programs takes where nothing else runs


def documented_costs() -> list[tuple[str, Counter[str]]]:
    """The rows of the README's table of requests: a command line, and what it sends."""
    table = README.read_text().partition(
        "| in a directory of 20 files and one directory | requests |\n"
    )[2]
    rows = itertools.takewhile(lambda line: line.startswith("|"), table.splitlines()[1:])
    cells = [re.fullmatch(r"\| `([^`]+)`[^|]* \| (.*) \|", row) for row in rows]
    return [
        (cell[1], Counter({OPERATIONS[name]: int(n) for n, name in _counts(cell[2])}))
        for cell in cells
        if cell is not None
    ]


def _counts(text: str) -> list[tuple[str, str]]:
    return [] if text == "none" else [(n, name) for n, name in map(str.split, text.split(", "))]


@pytest.fixture(scope="module")
def used() -> Iterator[Place]:
    """A directory that the mount has seen, and that nobody has changed for a while."""
    with emulator_process() as emulator:
        sdk = Sdk(emulator.port)
        old = {"x-cos-meta-mode": "33188", "x-cos-meta-mtime": "1000000000"}
        for name in (*(f"f{number:02}" for number in range(20)), "tree/a", "tree/b/c", "tree/d/e"):
            sdk.put(f"d/{name}", content(3000), metadata=old)
        time.sleep(2.1)  # what is younger may change without a trace in a listing
        options = ["--metadata-ttl", f"{TTL_S}s", "--negative-ttl", f"{TTL_S}s"]
        with mounted(emulator, source=f"{BUCKET}/d", options=options, limit_s=240) as mount:
            run("ls", "-lR", cwd=mount.path)
            yield Place(mount.path, "d/", emulator, sdk)


@pytest.fixture(scope="module")
def repository() -> Iterator[Place]:
    """A git repository with two directories, in a mount in which git was used before."""
    with emulator_process() as emulator:
        options = ["--metadata-ttl", f"{TTL_S}s", "--negative-ttl", f"{TTL_S}s"]
        with mounted(emulator, source=f"{BUCKET}/r", options=options, limit_s=240) as mount:
            shell("git init -q; mkdir -p a/b; touch f a/f a/b/f", mount.path)
            commit = "git -c user.name=a -c user.email=b commit -qm c"
            shell(f"touch -d yesterday f a/f a/b/f; git add .; {commit}; git gc -q", mount.path)
            time.sleep(2.1)
            shell("git status", mount.path)
            yield Place(mount.path, "r/", emulator, Sdk(emulator.port))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the README calls /tmp: a small file, and a directory of 20."""
    directory = tmp_path_factory.mktemp("sources")
    (directory / "many").mkdir()
    for name in ("new", "one", *(f"many/n{number:02}" for number in range(20))):
        (directory / name).write_bytes(content(3000))
    return directory


@pytest.mark.parametrize(("command", "expected"), documented_costs())
def test_program_costs_what_the_readme_says(
    request: pytest.FixtureRequest, sources: Path, command: str, expected: Counter[str]
) -> None:
    """The rows in their order: some need what those before have made.

    Where a busy machine makes a program last longer than what COS has said, it is asked again.
    """
    used: Place = request.getfixturevalue("repository" if "git" in command else "used")
    time.sleep(TTL_S + 0.1)  # what was known of names and attributes is to be confirmed again
    began = time.monotonic()

    with cost(used) as spent:
        shell(f"{command.replace('/tmp', str(sources))} > /dev/null", used.path)

    more = spent.operations - expected
    may_ask_again = time.monotonic() >= began + TTL_S
    assert spent.operations >= expected, spent.requests
    assert not more or (may_ask_again and more.keys() <= QUESTIONS), spent.requests


def test_a_walk_through_small_directories_costs_a_request_for_many(place: Place) -> None:
    for number in range(120):
        place.sdk.put(f"{place.prefix}{number // 20}/{number % 20:02}/f", b"x")

    with place.fresh() as path:
        place.emulator.forget_requests()
        found = shell("find . -mindepth 3 | wc -l", path)

    asked = [request["operation"] for request in place.emulator.requests()]
    assert found == "120\n"
    assert asked.count("GetBucket") < 25
