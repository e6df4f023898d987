"""Pages of listings are read once while they stay as they are, and only if they answer."""

from dataclasses import replace

import pytest

from cosfs.cos.pages import PageQuestion, PageReader
from cosfs.cos.wire import Malformed

QUESTION = PageQuestion(prefix="d/", delimiter="/", marker="d/f", max_keys=1000)


def listing(
    *keys: str, size: int = 1, prefixes: tuple[str, ...] = (), following: str = ""
) -> bytes:
    objects = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f"<ETag>&quot;e&quot;</ETag><Size>{size}</Size></Contents>"
        for key in keys
    )
    below = "".join(
        f"<CommonPrefixes><Prefix>{each}</Prefix></CommonPrefixes>" for each in prefixes
    )
    more = f"<IsTruncated>true</IsTruncated><NextMarker>{following}</NextMarker>"
    end = more if following else "<IsTruncated>false</IsTruncated>"
    return f"<ListBucketResult>{objects}{below}{end}</ListBucketResult>".encode()


def test_page_that_stays_as_it_was_is_read_once() -> None:
    reader = PageReader()
    first = reader.read(QUESTION, listing("d/g", "d/h"))

    assert [listed.key for listed in first.objects] == ["d/g", "d/h"]
    assert reader.read(QUESTION, listing("d/g", "d/h")) is first


def test_page_that_has_changed_is_read_again() -> None:
    reader = PageReader()
    reader.read(QUESTION, listing("d/g", size=1))

    assert reader.read(QUESTION, listing("d/g", size=2)).objects[0].size == 2
    assert reader.read(QUESTION, listing("d/g", size=1)).objects[0].size == 1


def test_page_of_another_question_has_to_answer_that_one() -> None:
    reader = PageReader()
    reader.read(QUESTION, listing("d/g"))
    other = PageQuestion(prefix="e/", delimiter="/", marker="", max_keys=1000)

    with pytest.raises(Malformed, match="key 'd/g' is not below 'e/'"):
        reader.read(other, listing("d/g"))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (listing("e/g"), "key 'e/g' is not below 'd/'"),
        (listing(prefixes=("d/",)), "prefix 'd/' is none of 'd/'"),
        (listing(prefixes=("e/a/",)), "prefix 'e/a/' is none of 'd/'"),
        (listing(prefixes=("d/a",)), "prefix 'd/a' is none of 'd/'"),
        (listing("d/g", following="d/f"), "next marker 'd/f' after 'd/f'"),
    ],
)
def test_page_that_does_not_answer_is_malformed_each_time(body: bytes, message: str) -> None:
    reader = PageReader()
    for _ in range(2):
        with pytest.raises(Malformed, match=message):
            reader.read(QUESTION, body)


def test_pages_that_are_kept_are_bounded_by_their_names() -> None:
    """The one that was asked for the longest time ago goes first."""
    reader = PageReader()
    body = listing(prefixes=tuple(f"d/g{number:05}/" for number in range(9_000)))
    questions = [replace(QUESTION, marker=f"d/{letter}") for letter in "abc"]
    first, second, third = (reader.read(question, body) for question in questions)

    assert reader.read(questions[2], body) is third
    assert reader.read(questions[1], body) is second
    assert reader.read(questions[0], body) is not first


def test_page_that_is_larger_than_all_that_may_be_kept_is_read_each_time() -> None:
    reader = PageReader()
    body = listing(prefixes=tuple(f"d/g{number:05}/" for number in range(20_000)))

    assert reader.read(QUESTION, body) is not reader.read(QUESTION, body)
