"""What is remembered of calls that failed, and what is everyday life."""

import pytest

from cosfs import errors
from cosfs.errors import AccessDenied
from cosfs.fs.troubles import MOST_PATHS, Troubles


def denied(request_id: str = "r") -> AccessDenied:
    error = AccessDenied(
        "not yours",
        operation="PUT Object",
        key="p/f",
        status=403,
        code="AccessDenied",
        request_id=request_id,
    )
    error.attempts = 2
    return error


def test_trouble_tells_request_answer_and_call() -> None:
    troubles = Troubles()

    troubles.note("f", "close", denied(), "EACCES")

    found = troubles.find("f")
    assert found is not None
    assert (found.path, found.call, found.errno) == ("f", "close", "EACCES")
    assert (found.error, found.message) == ("AccessDenied", "not yours")
    assert (found.operation, found.key, found.attempts) == ("PUT Object", "p/f", 2)
    assert (found.status, found.code, found.request_id) == (403, "AccessDenied", "r")
    assert "cos:PutObject" in found.advice


def test_attempts_of_what_ended_by_its_deadline_are_told() -> None:
    troubles = Troubles()
    error = errors.DeadlineExceeded("gave up", operation="PUT Object", key="f")
    error.__cause__ = denied()

    troubles.note("f", "close", error)

    found = troubles.find("f")
    assert found is not None
    assert (found.error, found.attempts, found.request_id) == ("DeadlineExceeded", 2, "r")


def test_first_call_is_kept_while_the_same_error_is_raised_again() -> None:
    troubles = Troubles()

    for call in ("write", "write", "close"):
        troubles.note("f", call, denied(), "EACCES")

    found = troubles.find("f")
    assert found is not None
    assert (found.call, found.times) == ("write", 3)


def test_another_answer_is_another_trouble() -> None:
    troubles = Troubles()

    troubles.note("f", "write", denied("first"))
    troubles.note("f", "close", denied("second"))

    found = troubles.find("f")
    assert found is not None
    assert (found.call, found.request_id, found.times) == ("close", "second", 1)


@pytest.mark.parametrize(
    "error", [errors.NoSuchEntry("f"), errors.EntryExists("f"), errors.NotPermitted("f")]
)
def test_everyday_refusals_are_not_remembered(error: errors.CosfsError) -> None:
    troubles = Troubles()

    troubles.note("f", "open", error, "ENOENT")

    assert troubles.find("f") is None
    assert troubles.count == 0


@pytest.mark.parametrize(
    "error", [errors.StaleFile("f"), errors.MetadataFull("f"), ZeroDivisionError()]
)
def test_what_surprises_is_remembered(error: Exception) -> None:
    troubles = Troubles()

    troubles.note("f", "read", error)

    assert troubles.find("f") is not None


def test_paths_that_failed_lately_are_kept_within_bounds() -> None:
    troubles = Troubles()

    for number in range(MOST_PATHS + 1):
        troubles.note(str(number), "open", denied())

    assert troubles.find("0") is None
    assert troubles.find(str(MOST_PATHS)) is not None
    assert troubles.count == MOST_PATHS + 1
