"""A run of bytes against the same run as one bytearray."""

from hypothesis import given
from hypothesis import strategies as st

from cosfs.fs.buffer import Buffer
from tests.support.engines import some_bytes

KIB = 1024
SIZES = st.one_of(
    st.integers(1, 300),
    st.sampled_from([64 * KIB - 1, 64 * KIB, 200 * KIB, 256 * KIB, 300 * KIB]),
)
STEPS = st.lists(
    st.tuples(st.sampled_from(["append", "overwrite", "take", "read"]), st.floats(0, 1), SIZES),
    min_size=1,
    max_size=12,
)


@given(STEPS)
def test_buffer_holds_what_a_bytearray_would(steps: list[tuple[str, float, int]]) -> None:
    buffer, model = Buffer(), bytearray()
    for seed, (step, place, size) in enumerate(steps):
        position = int(place * len(model))
        data = some_bytes(size, seed)
        if step == "append":
            buffer.append(data)
            model += data
        elif step == "overwrite":
            data = data[: len(model) - position]
            buffer.overwrite(position, data)
            model[position : position + len(data)] = data
        elif step == "take":
            assert b"".join(buffer.take(size)) == model[:size]
            del model[:size]
        else:
            wanted = min(size, len(model) - position)
            assert buffer.read(position, wanted) == model[position : position + wanted]
        assert buffer.size == len(model)
    assert buffer.read(0, buffer.size) == model


def test_large_write_is_kept_not_copied() -> None:
    data = some_bytes(1 << 20)
    buffer = Buffer()

    buffer.append(data)

    assert buffer.take(len(data))[0] is data


def test_small_writes_become_few_chunks() -> None:
    buffer = Buffer()
    for _ in range(1024):
        buffer.append(bytes(1024))

    assert len(buffer.take(1 << 20)) <= 8


def test_taken_bytes_do_not_change_with_the_buffer() -> None:
    buffer = Buffer()
    buffer.append(b"aaaa")
    taken = buffer.take(2)
    buffer.overwrite(0, b"b")

    assert taken == [b"aa"]
    assert buffer.read(0, 2) == b"ba"


def test_overwriting_leaves_the_bytes_that_were_handed_in_alone() -> None:
    data = bytes(128 * KIB)
    buffer = Buffer()
    buffer.append(data)

    buffer.overwrite(1, b"x")

    assert data == bytes(128 * KIB)
    assert buffer.read(0, 3) == b"\0x\0"
