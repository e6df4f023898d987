"""The store's contents against plain bytes, and its rules."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest
from anycrc import Model
from hypothesis import given, settings
from hypothesis import strategies as st

from cosfs.emulator.bodies import Bodies, DiskBodies, MemoryBodies
from cosfs.emulator.index import open_index
from cosfs.emulator.intake import Received
from cosfs.emulator.records import Content, Part, Properties, Stored, Upload
from cosfs.emulator.refusals import Refusal
from cosfs.emulator.store import Store

BUCKET: Final = "examplebucket-1250000000"
PROPERTIES: Final = Properties(headers={}, storage_class="STANDARD")
UPLOAD: Final = Upload(id="1", bucket=BUCKET, key="k", initiated=0.0, properties=PROPERTIES)


@contextmanager
def memory_store() -> Iterator[Store]:
    with closing(Store(open_index(None), MemoryBodies())) as store:
        yield store


@contextmanager
def disk_store() -> Iterator[Store]:
    with TemporaryDirectory() as directory:
        index = open_index(Path(directory) / "index.sqlite")
        with closing(Store(index, DiskBodies(Path(directory) / "bodies"))) as store:
            yield store


def crc64(data: bytes) -> int:
    checksum: int = Model("CRC64-XZ").calc(data)
    return checksum


def received(bodies: Bodies, data: bytes) -> Received:
    """*data* in a file, written in two pieces."""
    writer = bodies.create()
    half = len(data) // 2
    writer.append([data[:half], data[half:]])
    writer.close()
    return Received(file=writer.file, size=len(data), crc64=crc64(data), md5=None)


def stored(key: str, content: Content) -> Stored:
    return Stored(key=key, content=content, etag="e", modified=0.0, properties=PROPERTIES)


def part(number: int, content: Content) -> Part:
    return Part(number=number, content=content, etag="e", modified=0.0)


def bytes_of(store: Store, content: Content, start: int, stop: int) -> bytes:
    pieces = store.pieces(content.id, start, stop)
    return b"".join(bytes(chunk) for piece in pieces for chunk in store.bodies.read(piece))


StoreMaker = Callable[[], AbstractContextManager[Store]]


@pytest.mark.parametrize("make_store", [memory_store, disk_store])
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_joined_and_cut_contents_are_the_bytes_they_stand_for(
    make_store: StoreMaker, data: st.DataObject
) -> None:
    with make_store() as store:
        store.make_bucket(BUCKET, now=0.0)
        store.begin_upload(UPLOAD)
        bodies = data.draw(st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=5))
        for number, body in enumerate(bodies, 1):
            store.put_part(UPLOAD, part(number, store.add_content(received(store.bodies, body))))
        whole = b"".join(bodies)
        start = data.draw(st.integers(0, len(whole) - 1))
        stop = data.draw(st.integers(start + 1, len(whole)))

        joined = store.join(store.parts(UPLOAD))
        store.complete(UPLOAD, stored("k", joined), forbid_overwrite=False)
        cut = store.slice_content(joined, start, stop, crc64=crc64(whole[start:stop]))
        store.put(BUCKET, stored("cut", cut))
        store.delete(BUCKET, "k")

        assert (joined.size, joined.crc64) == (len(whole), crc64(whole))
        assert bytes_of(store, cut, 0, cut.size) == whole[start:stop]
        assert bytes_of(store, cut, 1, cut.size) == whole[start + 1 : stop]


def test_replaced_part_gives_its_file_back() -> None:
    with memory_store() as store:
        store.make_bucket(BUCKET, now=0.0)
        store.begin_upload(UPLOAD)
        for body in (b"first", b"second"):
            store.put_part(UPLOAD, part(1, store.add_content(received(store.bodies, body))))

        assert repr(store.bodies) == "<MemoryBodies files=1>"


def test_part_of_an_upload_that_ended_meanwhile_gives_its_file_back() -> None:
    with memory_store() as store:
        store.make_bucket(BUCKET, now=0.0)
        store.begin_upload(UPLOAD)
        content = store.add_content(received(store.bodies, b"late"))
        store.abort(UPLOAD)

        with pytest.raises(Refusal, match="NoSuchUpload"):
            store.put_part(UPLOAD, part(1, content))

        assert repr(store.bodies) == "<MemoryBodies files=0>"


def test_pinned_content_outlives_its_object_until_it_is_unpinned() -> None:
    with memory_store() as store:
        store.make_bucket(BUCKET, now=0.0)
        content = store.add_content(received(store.bodies, b"12"))
        store.put(BUCKET, stored("k", content))
        store.pin(content.id)
        store.pin(content.id)

        store.delete(BUCKET, "k")
        store.unpin(content.id)
        kept = bytes_of(store, content, 0, 2)
        store.unpin(content.id)

        assert kept == b"12"
        assert repr(store.bodies) == "<MemoryBodies files=0>"


def test_bucket_with_an_unfinished_upload_is_not_removed() -> None:
    with memory_store() as store:
        store.make_bucket(BUCKET, now=0.0)
        store.begin_upload(UPLOAD)

        with pytest.raises(Refusal, match="BucketNotEmpty"):
            store.remove_bucket(BUCKET)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM objects WHERE bucket = 'b' AND key >= 'k' ORDER BY key",
        "SELECT * FROM uploads WHERE bucket = 'b' AND key >= 'k' ORDER BY key, id",
        "SELECT 1 FROM extents WHERE file = 'f' LIMIT 1",
        "SELECT 1 FROM objects WHERE content = 1",
        "SELECT 1 FROM parts WHERE content = 1",
    ],
)
def test_index_answers_by_searching_not_by_scanning_or_sorting(query: str) -> None:
    with closing(open_index(None)) as index:
        plan = [row[3] for row in index.execute(f"EXPLAIN QUERY PLAN {query}")]

    assert all(step.startswith("SEARCH") for step in plan), plan
