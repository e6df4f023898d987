"""An error answer → the error of errors.py that stands for it. Pure.

COS's code decides, then the status: HEAD has no body, and front ends answer without XML.
"""

from collections.abc import Mapping
from typing import Final

from cosfs.cos.wire import error_of
from cosfs.errors import (
    AccessDenied,
    AlreadyExists,
    BadCredentials,
    EntityTooLarge,
    InvalidRange,
    KeyTooLong,
    NoSuchBucket,
    NoSuchUpload,
    NotFound,
    ObjectArchived,
    PreconditionFailed,
    QuotaExceeded,
    ServiceBusy,
    ServiceError,
)

REQUEST_ID: Final = "x-cos-request-id"
CLOCK_SKEWED: Final = "RequestTimeTooSkewed"
REQUEST_EXPIRED: Final = "Request has expired"  # COS spells this "code" with spaces

_BY_CODE: Final[Mapping[str, type[ServiceError]]] = {
    "NoSuchBucket": NoSuchBucket,
    "NoSuchUpload": NoSuchUpload,
    "NoSuchKey": NotFound,
    "NoSuchVersion": NotFound,
    "NoSuchCopySource": NotFound,
    "InvalidAccessKeyId": BadCredentials,
    "SignatureDoesNotMatch": BadCredentials,
    "ExpiredToken": BadCredentials,
    CLOCK_SKEWED: AccessDenied,
    REQUEST_EXPIRED: AccessDenied,
    "InvalidObjectState": ObjectArchived,
    "PreconditionFailed": PreconditionFailed,
    "FileAlreadyExists": AlreadyExists,
    "InvalidRange": InvalidRange,
    "KeyTooLong": KeyTooLong,
    "EntityTooLarge": EntityTooLarge,
    "PaymentRequired": QuotaExceeded,
    "UnavailableForLegalReasons": QuotaExceeded,
    "DomainAuditFailed": QuotaExceeded,
    "SlowDown": ServiceBusy,
    "ServiceUnavailable": ServiceBusy,
    "KmsFreqControl": ServiceBusy,
    "InternalError": ServiceBusy,
    "KmsInternalException": ServiceBusy,
}
_BY_STATUS: Final[Mapping[int, type[ServiceError]]] = {
    402: QuotaExceeded,
    403: AccessDenied,
    404: NotFound,
    412: PreconditionFailed,
    416: InvalidRange,
    429: ServiceBusy,
    451: QuotaExceeded,
    501: ServiceError,  # COS cannot do it; asking again does not help
}
_MOST_SHOWN: Final = 300  # characters of a message
# COS, "403 troubleshooting": these come as AccessDenied too, with the words in the message.
_REASONS_OF_DENIAL: Final = (
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    CLOCK_SKEWED,
    REQUEST_EXPIRED,
    "InvalidObjectState",
)


def service_error(
    status: int, headers: Mapping[str, str], body: bytes, *, operation: str, key: str = ""
) -> ServiceError:
    """The error of an answer whose header names are in lower case."""
    code, message, request_id = map(_printable, error_of(body) or ("", "", ""))
    code = _reason(code, message)
    detail = message or _unexplained(status, headers)
    error = _class_of(status, code, is_object=bool(key))(
        detail,
        operation=operation,
        key=key,
        status=status,
        code=code or "without a code",
        request_id=_printable(headers.get(REQUEST_ID, request_id)),
    )
    if isinstance(error, ServiceBusy):
        error.retry_after_s = _seconds(headers.get("retry-after", ""))
    return error


def is_busy(status: int) -> bool:
    """Whether a status says that trying again later may help, whoever answered."""
    return status == 429 or status >= 500


def _printable(text: str) -> str:
    """What may go into a line of a log: of a server that we do not know, it may hold anything."""
    return "".join(char if char.isprintable() else "?" for char in text[:_MOST_SHOWN])


def _reason(code: str, message: str) -> str:
    if code not in ("AccessDenied", ""):
        return code
    return next((reason for reason in _REASONS_OF_DENIAL if reason in message), code)


def _class_of(status: int, code: str, *, is_object: bool) -> type[ServiceError]:
    if code in _BY_CODE:
        return _BY_CODE[code]
    if status == 404 and not is_object:
        return NoSuchBucket
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    return ServiceBusy if status >= 500 else ServiceError


def _unexplained(status: int, headers: Mapping[str, str]) -> str:
    if 300 <= status < 400 and "location" in headers:
        return f"redirected to {headers['location'][:200]!r}; is the endpoint right?"
    if REQUEST_ID not in headers:
        return f"answered {status}, not by COS; is the endpoint right?"
    return f"answered {status}"


def _seconds(text: str) -> float | None:
    """Retry-After in seconds; its other form, a date, is not worth a clock here."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else None
