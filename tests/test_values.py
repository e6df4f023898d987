"""Sizes, durations and the other texts of options."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cosfs import values
from cosfs.config import Network


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("8388608", 8 << 20),
        ("512B", 512),
        ("8M", 8 << 20),
        ("8m", 8 << 20),
        ("8MB", 8 << 20),
        ("8MiB", 8 << 20),
        ("1GiB", 1 << 30),
        ("64K", 64 << 10),
        ("2T", 2 << 40),
    ],
)
def test_size_understands(text: str, expected: int) -> None:
    assert values.size(text) == expected


@pytest.mark.parametrize("text", ["", "M", "-1", "1.5G", "8 M", "8X", "8iB", "1e6", "٣"])
def test_size_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="give a size"):
        values.size(text)


@given(st.integers(min_value=0, max_value=1 << 50))
def test_formatted_size_reads_back(size: int) -> None:
    assert values.size(values.format_size(size).replace(" ", "")) == size


@pytest.mark.parametrize(
    ("text", "expected"), [("30", 30), ("30s", 30), ("1.5m", 90), ("2h", 7200), ("7d", 604800)]
)
def test_duration_understands(text: str, expected: float) -> None:
    assert values.duration(text) == expected


@pytest.mark.parametrize("text", ["", "s", "-1", "1w", "inf", "nan", "1 s"])
def test_duration_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="give a time"):
        values.duration(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("0", 0.0), ("2m", 120.0), ("minimal", 0.1), ("Indefinite", math.inf)]
)
def test_lifetime_understands(text: str, expected: float) -> None:
    assert values.lifetime(text, most=600) == expected


@pytest.mark.parametrize("text", ["601", "11m", "for ever", "", "-1"])
def test_lifetime_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="minimal or indefinite"):
        values.lifetime(text, most=600)


def test_size_between_names_the_bounds() -> None:
    with pytest.raises(ValueError, match="from 1 MiB to 5 GiB"):
        values.size_between("1K", least=1 << 20, most=5 << 30)


@pytest.mark.parametrize("text", ["0", "129", "-1", "x", "1.0", ""])
def test_count_refuses(text: str) -> None:
    with pytest.raises(ValueError, match="from 1 to 128"):
        values.count(text, least=1, most=128)


@pytest.mark.parametrize("text", ["8", "1777", "0o22", "-1", ""])
def test_permission_bits_refuse(text: str) -> None:
    with pytest.raises(ValueError, match="octal"):
        values.permission_bits(text)


def test_choice_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match="public, internal, accelerate"):
        values.choice("private", Network)


def test_file_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.chdir(str(tmp_path))

    assert str(values.file("keys")) == f"{tmp_path}/keys"
