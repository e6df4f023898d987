"""Extended attributes as text: Tencent's format, and what becomes of what is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosfs.namespace.xattrs import decode, encode

ONE = "%7B%22user.a%22%3A%22YQ%3D%3D%22%7D"  # as C++ cosfs writes {"user.a":"YQ=="}


def test_one_attribute_is_written_as_the_older_cosfs_does() -> None:
    assert encode({b"user.a": b"a"}) == ONE
    assert decode(ONE) == {b"user.a": b"a"}


def test_several_attributes_are_separated_by_bare_commas() -> None:
    text = encode({b"user.a": b"", b"user.b-c_d/e~": b"\xff"})

    assert text == "%7B%22user.a%22%3A%22%22%2C%22user.b-c_d/e~%22%3A%22/w%3D%3D%22%7D"


def test_no_attributes_are_no_text() -> None:
    assert encode({}) == ""
    assert decode("") == decode("%7B%7D") == {}


@given(st.dictionaries(st.binary(min_size=1, max_size=20), st.binary(max_size=20), max_size=4))
def test_any_name_and_value_can_be_read_back(attributes: dict[bytes, bytes]) -> None:
    text = encode(attributes)

    assert text.isascii()
    assert decode(text) == attributes


@pytest.mark.parametrize(
    "text",
    [
        "%7B%22user.bad%22%3A%22*%22%2C%22user.a%22%3A%22YQ%3D%3D%22%7D",
        "%7B%22user.bad%22%3A%22YQ%22%2C%22user.a%22%3A%22YQ%3D%3D%22%7D",
        "%22user.a%22%3A%22YQ%3D%3D%22",
        '{"user.a":"YQ=="}',
    ],
)
def test_what_cannot_be_read_does_not_hide_the_rest(text: str) -> None:
    assert decode(text) == {b"user.a": b"a"}


@given(st.text(max_size=100))
def test_any_text_can_be_read(text: str) -> None:
    assert isinstance(decode(text), dict)
