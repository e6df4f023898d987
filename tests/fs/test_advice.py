"""Every error that may surprise has words that help."""

import pytest

from cosfs import errors
from cosfs.fs.advice import advice_for, cos_error_in, reason_of, service_error_in


def denied(kind: type[errors.ServiceError] = errors.AccessDenied) -> errors.ServiceError:
    return kind("no", operation="Upload Part", key="k", status=403, code="C", request_id="r")


def failed_from(cause: BaseException) -> errors.UploadFailed:
    failure = errors.UploadFailed("k", str(cause))
    failure.__cause__ = cause
    return failure


def timed_out(cause: BaseException | None) -> errors.DeadlineExceeded:
    error = errors.DeadlineExceeded("gave up", operation="PUT Object", key="k")
    error.__cause__ = cause
    return error


def classes_below(kind: type[errors.CosError]) -> set[type[errors.CosError]]:
    return {kind}.union(*(classes_below(below) for below in kind.__subclasses__()))


REQUEST_ERRORS = [kind for kind in classes_below(errors.CosError) if kind is not errors.CosError]


@pytest.mark.parametrize("kind", REQUEST_ERRORS)
def test_every_error_of_a_request_has_advice(kind: type[errors.CosError]) -> None:
    error = (
        denied(kind)
        if issubclass(kind, errors.ServiceError)
        else kind("detail", operation="PUT Object")
    )

    assert advice_for(error)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (denied(), "cos:UploadPart"),
        (denied(errors.BadCredentials), "clock"),
        (denied(errors.QuotaExceeded), "account"),
        (denied(errors.ServiceBusy), "later"),
        (denied(errors.ObjectArchived), "restore"),
        (denied(errors.NoSuchUpload), "aborted"),
        (errors.StaleFile("'f' was replaced"), "on_conflict"),
        (errors.MetadataFull("'f'"), "2 KB"),
        (timed_out(None), "network"),
        (timed_out(denied(errors.ServiceBusy)), "overloaded"),
        (failed_from(denied()), "cos:UploadPart"),
        (failed_from(timed_out(denied(errors.ServiceBusy))), "overloaded"),
        (ExceptionGroup("all", [denied(errors.QuotaExceeded)]), "account"),
        (ZeroDivisionError(), "bug"),
    ],
)
def test_advice_is_about_what_happened(error: Exception, words: str) -> None:
    assert words in advice_for(error)


def test_rule_of_the_filesystem_needs_no_advice() -> None:
    assert advice_for(errors.DirectoryNotEmpty("'d'")) == ""


def test_request_and_answer_are_found_below_what_came_of_them() -> None:
    busy = denied(errors.ServiceBusy)
    deadline = timed_out(busy)
    failure = failed_from(deadline)

    assert reason_of(failure) is deadline
    assert cos_error_in(failure) is deadline
    assert service_error_in(failure) is busy


def test_nothing_is_found_where_no_request_was() -> None:
    assert cos_error_in(ZeroDivisionError()) is None
    assert service_error_in(timed_out(ZeroDivisionError())) is None


def test_error_that_is_its_own_cause_has_an_end() -> None:
    busy = denied(errors.ServiceBusy)
    busy.__cause__ = busy
    failure = errors.UploadFailed("k", "interrupted")
    failure.__cause__ = failure

    assert service_error_in(failed_from(busy)) is busy
    assert service_error_in(failure) is None
