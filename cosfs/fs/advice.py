"""From an error to what its reader can do about it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Final

from cosfs import errors

_OF_A_BUG: Final = "this is a bug in cosfs: the log has its traceback; please report it"
_ADVICE: Final[Mapping[type[BaseException], str]] = {
    errors.BadCredentials: (
        "check the secret id, the secret key and, for temporary keys, that the token has not"
        " expired; and the clock of this machine"
    ),
    errors.ObjectArchived: "restore the object from its archive class first",
    errors.AccessDenied: "give the key the right to it{action}",
    errors.QuotaExceeded: (
        "look at the account in the Tencent Cloud console: overdue, blocked, or out of quota"
    ),
    errors.NoSuchBucket: "the bucket is gone: check its name and region in the console",
    errors.NoSuchUpload: (
        "somebody aborted the upload while it ran (another program, or a lifecycle rule of the"
        " bucket): write the file again"
    ),
    errors.NotFound: "somebody else removed the object: list the directory again",
    errors.StaleFile: (
        "somebody else replaced or removed the object: open the file again; for edited files the"
        " mount option on_conflict decides who wins"
    ),
    errors.PreconditionFailed: (
        "somebody else replaced the object while it was edited here: open the file again, or"
        " mount with on_conflict=overwrite"
    ),
    errors.AlreadyExists: "somebody else made an object of that name first: choose another",
    errors.EntityTooLarge: "COS takes no object of that size",
    errors.FileTooLarge: "COS holds 48.8 TB in an object: split the file",
    errors.MetadataFull: "COS keeps 2 KB beside an object: remove extended attributes",
    errors.ServiceBusy: "COS is overloaded or limits this account: try again later",
    errors.DeadlineExceeded: (
        "check the network and the endpoint; if they are only slow, mount with a longer timeout"
    ),
    errors.TransportError: "check the network, the region and the endpoint",
    errors.ProtocolError: "something else than COS answers: check the endpoint and proxies",
    errors.IntegrityError: "bytes were damaged on the way: write the file again",
    errors.ServiceError: "look the code up in COS's list of error codes, or ask its support",
}
# CAM's name for what the operation needs, where the operation's own name is another.
_ACTIONS: Final[Mapping[str, str]] = {
    "PUT Object": "cos:PutObject",
    "PUT Object - Copy": "cos:PutObject and cos:GetObject",
    "GET Object": "cos:GetObject",
    "HEAD Object": "cos:HeadObject",
    "DELETE Object": "cos:DeleteObject",
    "DELETE Multiple Objects": "cos:DeleteMultipleObjects",
    "GET Bucket": "cos:GetBucket",
    "Initiate Multipart Upload": "cos:InitiateMultipartUpload",
    "Upload Part": "cos:UploadPart",
    "Upload Part - Copy": "cos:UploadPartCopy",
    "Complete Multipart Upload": "cos:CompleteMultipartUpload",
    "Abort Multipart Upload": "cos:AbortMultipartUpload",
}


def advice_for(error: BaseException) -> str:
    """What to do about *error*, in words; of what ended by its deadline, about what COS said."""
    reason = reason_of(error)
    if isinstance(reason, errors.DeadlineExceeded):
        reason = service_error_in(error) or reason
    for kind in type(reason).__mro__:
        if kind in _ADVICE:
            return _ADVICE[kind].format(action=_action(reason))
    return "" if isinstance(reason, errors.CosfsError) else _OF_A_BUG


def reason_of(error: BaseException) -> BaseException:
    """What happened: the first error that is no group and no failed upload from another."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif isinstance(error, errors.UploadFailed) and error.__cause__ not in (None, error):
            error = error.__cause__
        else:
            return error


def cos_error_in(error: BaseException) -> errors.CosError | None:
    """The request that failed, if one did."""
    return next((each for each in _causes(error) if isinstance(each, errors.CosError)), None)


def service_error_in(error: BaseException) -> errors.ServiceError | None:
    """What COS answered, if it did."""
    return next((each for each in _causes(error) if isinstance(each, errors.ServiceError)), None)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """*error*'s reason and what that came from, each once: an error may be its own cause."""
    step: BaseException | None = error
    seen: list[BaseException] = []
    while step is not None and (step := reason_of(step)) not in seen:
        seen.append(step)
        yield step
        step = step.__cause__


def _action(reason: BaseException) -> str:
    operation = reason.operation if isinstance(reason, errors.CosError) else ""
    return f" ({_ACTIONS[operation]})" if operation in _ACTIONS else ""
