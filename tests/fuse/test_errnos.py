"""What a caller is told for each error, and that no error gets past the boundary."""

import errno
import logging
from collections.abc import Sequence

import pyfuse3
import pytest
import trio

from cosfs import errors
from cosfs.fuse.errnos import errno_for, handler, notification, query

# A decision for every class of errors.py; None: it cannot come out of a handler.
EXPECTED: dict[type[errors.CosfsError], int | None] = {
    errors.CosfsError: errno.EIO,
    errors.ConfigError: None,
    errors.MountFailed: None,
    errors.MountDenied: None,
    errors.FuseMissing: None,
    errors.MountInterrupted: None,
    errors.FilesLost: None,
    errors.FileChanged: None,
    errors.UploadConflict: None,
    errors.CosError: errno.EIO,
    errors.ServiceError: errno.EIO,
    errors.NotFound: errno.ENOENT,
    errors.NoSuchBucket: errno.EIO,
    errors.NoSuchUpload: errno.EIO,
    errors.AccessDenied: errno.EACCES,
    errors.BadCredentials: errno.EACCES,
    errors.ObjectArchived: errno.EACCES,
    errors.PreconditionFailed: errno.ESTALE,
    errors.AlreadyExists: errno.EEXIST,
    errors.InvalidRange: errno.EIO,
    errors.KeyTooLong: errno.ENAMETOOLONG,
    errors.EntityTooLarge: errno.EFBIG,
    errors.QuotaExceeded: errno.EDQUOT,
    errors.ServiceBusy: errno.EIO,
    errors.TransportError: errno.EIO,
    errors.DeadlineExceeded: errno.ETIMEDOUT,
    errors.ServiceAway: errno.ETIMEDOUT,
    errors.ProtocolError: errno.EIO,
    errors.IntegrityError: errno.EIO,
    errors.UploadFailed: errno.EIO,
    errors.FilesystemError: errno.EIO,
    errors.NoSuchEntry: errno.ENOENT,
    errors.EntryExists: errno.EEXIST,
    errors.NotADirectory: errno.ENOTDIR,
    errors.IsADirectory: errno.EISDIR,
    errors.DirectoryNotEmpty: errno.ENOTEMPTY,
    errors.NotPermitted: errno.EPERM,
    errors.NotSupported: errno.EOPNOTSUPP,
    errors.InvalidArgument: errno.EINVAL,
    errors.NameTooLong: errno.ENAMETOOLONG,
    errors.UnencodableName: errno.EILSEQ,
    errors.FileTooLarge: errno.EFBIG,
    errors.MetadataFull: errno.ENOSPC,
    errors.NoSuchAttribute: errno.ENODATA,
    errors.StaleFile: errno.ESTALE,
}


class Handlers:
    """Handlers that end as they are told."""

    timeout_s = 10.0

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error
        self.noted: list[tuple[str, Sequence[object], Exception, str]] = []

    def note_failure(
        self, call: str, arguments: Sequence[object], error: Exception, errno_name: str
    ) -> None:
        self.noted.append((call, arguments, error, errno_name))

    @handler
    async def read(self, size: int) -> bytes:
        if self._error is not None:
            raise self._error
        return bytes(size)

    @query
    async def lookup(self, seconds: float) -> str:
        await trio.sleep(seconds)
        return "found"

    @notification
    async def forget(self) -> None:
        if self._error is not None:
            raise self._error


def make(kind: type[errors.CosfsError]) -> errors.CosfsError:
    if issubclass(kind, errors.UploadFailed):
        return kind("key", "reason")
    if issubclass(kind, errors.ServiceError):
        return kind("detail", operation="GET Object", status=400, code="Code")
    if issubclass(kind, errors.CosError):
        return kind("detail", operation="GET Object")
    return kind("detail")


def classes_below(kind: type[errors.CosfsError]) -> set[type[errors.CosfsError]]:
    return {kind}.union(*(classes_below(below) for below in kind.__subclasses__()))


async def errno_from(error: BaseException) -> int:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        await Handlers(error).read(1)
    number: int = caught.value.errno
    return number


def test_every_error_has_a_decision() -> None:
    defined = {
        kind for kind in classes_below(errors.CosfsError) if kind.__module__ == "cosfs.errors"
    }

    assert defined == EXPECTED.keys()


@pytest.mark.parametrize("kind", [kind for kind in EXPECTED if EXPECTED[kind] is not None])
def test_error_has_its_errno(kind: type[errors.CosfsError]) -> None:
    assert errno_for(make(kind)) == EXPECTED[kind]


def test_failed_upload_has_the_errno_of_its_cause() -> None:
    error = errors.UploadFailed("key", "denied")
    error.__cause__ = make(errors.AccessDenied)

    assert errno_for(error) == errno.EACCES


def test_group_has_the_errno_of_its_first_error() -> None:
    group = ExceptionGroup("two", [make(errors.AccessDenied), make(errors.NotFound)])

    assert errno_for(ExceptionGroup("nested", [group])) == errno.EACCES


async def test_handler_passes_answers_on() -> None:
    assert await Handlers().read(3) == bytes(3)


async def test_handler_passes_its_own_errno_on() -> None:
    assert await errno_from(pyfuse3.FUSEError(errno.ENOTTY)) == errno.ENOTTY


async def test_bug_in_a_handler_is_eio_with_its_traceback_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await errno_from(ZeroDivisionError("planted")) == errno.EIO
    assert "handler broke operation=read" in caplog.text
    assert "Traceback" in caplog.text
    assert "planted" in caplog.text


async def test_bug_in_a_group_is_eio_with_its_traceback_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    group = ExceptionGroup("both", [make(errors.AccessDenied), ZeroDivisionError("planted")])

    assert await errno_from(group) == errno.EIO
    assert "Traceback" in caplog.text
    assert "planted" in caplog.text


async def test_broken_rule_is_not_worth_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)

    assert await errno_from(ExceptionGroup("one", [make(errors.NoSuchEntry)])) == errno.ENOENT
    assert caplog.text == ""


async def test_error_of_the_service_is_one_line_without_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert await errno_from(make(errors.AccessDenied)) == errno.EACCES
    assert len(caplog.text.splitlines()) == 1
    assert "GET Object" in caplog.text


async def test_query_has_the_timeout_for_all_its_requests(
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert await Handlers().lookup(9) == "found"
    began = autojump_clock.current_time()

    with pytest.raises(pyfuse3.FUSEError) as caught:
        await Handlers().lookup(11)

    assert caught.value.errno == errno.ETIMEDOUT
    assert autojump_clock.current_time() - began == pytest.approx(10)


async def test_notification_lets_nothing_out(caplog: pytest.LogCaptureFixture) -> None:
    await Handlers(ZeroDivisionError("planted")).forget()

    assert "planted" in caplog.text


async def test_failure_is_noted_with_its_call_and_errno() -> None:
    error = make(errors.AccessDenied)
    handlers = Handlers(error)

    with pytest.raises(pyfuse3.FUSEError):
        await handlers.read(7)

    assert handlers.noted == [("read", (7,), error, "EACCES")]


async def test_failure_that_cannot_be_noted_is_answered_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Forgetful(Handlers):
        def note_failure(self, *_anything: object) -> None:
            raise ZeroDivisionError

    with pytest.raises(pyfuse3.FUSEError) as caught:
        await Forgetful(make(errors.AccessDenied)).read(1)

    assert caught.value.errno == errno.EACCES
    assert "failure not noted operation=read" in caplog.text
