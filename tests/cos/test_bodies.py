"""Bodies on their way out: in which pieces, and what is told of them."""

from cosfs.cos.bodies import RequestBody

LARGE = bytes(1 << 20)


async def test_small_chunks_are_joined_and_large_ones_left_alone() -> None:
    body = RequestBody([b"a" * 4096] * 100 + [LARGE] + [b"b"], lambda _: None)

    pieces = [piece async for piece in body]

    assert [len(piece) for piece in pieces] == [64 * 4096, 36 * 4096, 1 << 20, 1]
    assert pieces[2] is LARGE


async def test_sent_is_told_of_what_was_taken_before() -> None:
    told: list[int] = []

    async for _ in RequestBody([LARGE, LARGE, b"b"], told.append):
        pass

    assert told == [0, 1 << 20, 2 << 20, (2 << 20) + 1]


async def test_body_goes_out_again_for_another_attempt() -> None:
    body = RequestBody([LARGE, b"b"], lambda _: None)

    assert [piece async for piece in body] == [piece async for piece in body]
