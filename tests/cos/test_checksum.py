from hypothesis import given
from hypothesis import strategies as st

from cosfs.cos.checksum import combine, crc64


def test_crc64_is_the_one_of_the_documentation() -> None:
    assert crc64([b"[Object Content]"]) == 16749565679157681890


def test_crc64_of_nothing_is_zero() -> None:
    assert crc64([]) == 0


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_crc64_does_not_depend_on_the_chunks(chunks: list[bytes]) -> None:
    assert crc64(chunks) == crc64([b"".join(chunks)])


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_combine_joins_two_checksums(first: bytes, second: bytes) -> None:
    joined = combine(crc64([first]), crc64([second]), len(second))
    assert joined == crc64([first, second])
