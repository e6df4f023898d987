"""The one error boundary: exceptions become errno here, and nothing passes unturned.

pyfuse3 ends the mount when a handler raises anything but FUSEError, so the boundary is total: a
bug is logged with its traceback and answered with EIO.
"""

import errno
import functools
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Concatenate, Final, ParamSpec, Protocol, TypeVar

import pyfuse3
import trio

from cosfs import errors

_log = logging.getLogger(__name__)

_ERRNOS: Final[dict[type[errors.CosfsError], int]] = {
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
    # setxattr(2) has E2BIG for a value that no filesystem takes; ext4 says ENOSPC when its block
    # is full, which is what has happened here.
    errors.MetadataFull: errno.ENOSPC,
    errors.NoSuchAttribute: errno.ENODATA,
    errors.StaleFile: errno.ESTALE,
    errors.NoSuchBucket: errno.EIO,
    errors.NoSuchUpload: errno.EIO,
    errors.NotFound: errno.ENOENT,
    errors.AccessDenied: errno.EACCES,
    errors.PreconditionFailed: errno.ESTALE,
    errors.AlreadyExists: errno.EEXIST,
    errors.KeyTooLong: errno.ENAMETOOLONG,
    errors.EntityTooLarge: errno.EFBIG,
    errors.QuotaExceeded: errno.EDQUOT,
    errors.DeadlineExceeded: errno.ETIMEDOUT,
}


def errno_for(error: BaseException) -> int:
    """The errno of an exception: its nearest class in the table; of UploadFailed, its cause's."""
    error = _gravest(error)
    if isinstance(error, errors.UploadFailed) and error.__cause__ is not None:
        return errno_for(error.__cause__)
    for kind in type(error).__mro__:
        if kind in _ERRNOS:
            return _ERRNOS[kind]
    return errno.EIO


class Noting(Protocol):
    """Whoever has handlers hears what they failed with, before the kernel does."""

    def note_failure(
        self, call: str, arguments: Sequence[object], error: Exception, errno_name: str
    ) -> None:
        """Remember that *call* of *arguments* was answered *errno_name*. Raises nothing."""


Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")
Self = TypeVar("Self", bound=Noting)
Handler = Callable[Concatenate[Self, Arguments], Coroutine[object, object, Answer]]


def handler(function: Handler[Self, Arguments, Answer]) -> Handler[Self, Arguments, Answer]:
    """Let nothing but FUSEError out of a FUSE handler."""

    @functools.wraps(function)
    async def bounded(self: Self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        try:
            return await function(self, *args, **kwargs)
        except Exception as error:
            failure = _as_fuse_error(function.__name__, error)
            name = errno.errorcode.get(failure.errno, str(failure.errno))
            try:
                self.note_failure(function.__name__, args, error, name)
            except Exception:  # noqa: BLE001 - the call has its own error to tell
                _log.exception("failure not noted operation=%s", function.__name__)
            raise failure from error

    return bounded


class Impatient(Noting, Protocol):
    """Whose ``query`` handlers end within *timeout_s* seconds."""

    timeout_s: float


Asker = TypeVar("Asker", bound=Impatient)


def query(function: Handler[Asker, Arguments, Answer]) -> Handler[Asker, Arguments, Answer]:
    """A handler that changes nothing: it may take several requests, but not more time than one."""

    @functools.wraps(function)
    async def limited(self: Asker, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        with trio.move_on_after(self.timeout_s):
            return await function(self, *args, **kwargs)
        raise errors.DeadlineExceeded(
            f"not done within {self.timeout_s:g} s", operation=function.__name__
        )

    return handler(limited)


def notification(function: Handler[Self, Arguments, None]) -> Handler[Self, Arguments, None]:
    """Let nothing at all out of a handler whose request has no answer: it has no errno either."""

    @functools.wraps(function)
    async def bounded(self: Self, /, *args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        try:
            await function(self, *args, **kwargs)
        except Exception:  # noqa: BLE001 - this is the boundary
            _log.exception("handler broke operation=%s", function.__name__)

    return bounded


def _as_fuse_error(operation: str, error: Exception) -> pyfuse3.FUSEError:
    cause = _gravest(error)
    if isinstance(cause, pyfuse3.FUSEError):
        return cause
    number = errno_for(cause)
    if not isinstance(cause, errors.CosfsError):
        _log.error("handler broke operation=%s", operation, exc_info=error)
    elif isinstance(cause, errors.FilesystemError):
        _log.debug("call refused operation=%s error=%s", operation, cause)
    else:
        _log.warning("call failed operation=%s errno=%d error=%s", operation, number, cause)
    return pyfuse3.FUSEError(number)


def _gravest(error: BaseException) -> BaseException:
    """Of a group, a bug if there is one, else its first exception; anything else as it is."""
    expected = (errors.CosfsError, BaseExceptionGroup)
    while isinstance(error, BaseExceptionGroup):
        bugs = error.subgroup(lambda each: not isinstance(each, expected))
        error = (bugs or error).exceptions[0]
    return error
