import pytest

from cosfs import errors
from cosfs.cos.failures import service_error


def error_body(code: str, message: str = "") -> bytes:
    return (
        f"<Error><Code>{code}</Code><Message>{message}</Message>"
        "<RequestId>in-body</RequestId></Error>"
    ).encode()


def failure(
    status: int, body: bytes = b"", headers: dict[str, str] | None = None, key: str = "k"
) -> errors.ServiceError:
    return service_error(status, headers or {}, body, operation="GET Object", key=key)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (404, "NoSuchKey", errors.NotFound),
        (404, "NoSuchBucket", errors.NoSuchBucket),
        (404, "NoSuchUpload", errors.NoSuchUpload),
        (404, "NoSuchCopySource", errors.NotFound),
        (403, "AccessDenied", errors.AccessDenied),
        (403, "InvalidAccessKeyId", errors.BadCredentials),
        (403, "SignatureDoesNotMatch", errors.BadCredentials),
        (400, "ExpiredToken", errors.BadCredentials),
        (403, "InvalidObjectState", errors.ObjectArchived),
        (412, "PreconditionFailed", errors.PreconditionFailed),
        (409, "FileAlreadyExists", errors.AlreadyExists),
        (416, "InvalidRange", errors.InvalidRange),
        (400, "KeyTooLong", errors.KeyTooLong),
        (400, "EntityTooLarge", errors.EntityTooLarge),
        (402, "PaymentRequired", errors.QuotaExceeded),
        (451, "UnavailableForLegalReasons", errors.QuotaExceeded),
        (503, "SlowDown", errors.ServiceBusy),
        (200, "InternalError", errors.ServiceBusy),
        (501, "NotImplemented", errors.ServiceError),
        (409, "PathConflict", errors.ServiceError),
    ],
)
def test_error_class_follows_the_code(
    status: int, code: str, kind: type[errors.ServiceError]
) -> None:
    error = failure(status, error_body(code))
    assert (type(error), error.code, error.status) == (kind, code, status)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (403, errors.AccessDenied),
        (404, errors.NotFound),
        (412, errors.PreconditionFailed),
        (416, errors.InvalidRange),
        (429, errors.ServiceBusy),
        (500, errors.ServiceBusy),
        (501, errors.ServiceError),
        (504, errors.ServiceBusy),
        (302, errors.ServiceError),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>no</html>", b'{"code": 1}'])
def test_error_class_follows_the_status_without_a_code(
    status: int, kind: type[errors.ServiceError], body: bytes
) -> None:
    assert type(failure(status, body)) is kind


def test_not_found_without_key_or_code_is_about_the_bucket() -> None:
    assert type(failure(404, key="")) is errors.NoSuchBucket


@pytest.mark.parametrize(
    "code", ["InvalidAccessKeyId", "RequestTimeTooSkewed", "Request has expired"]
)
def test_reason_of_a_denial_is_found_in_its_message(code: str) -> None:
    assert failure(403, error_body("AccessDenied", f"Oh: {code}.")).code == code


def test_retry_after_is_kept() -> None:
    error = failure(503, error_body("SlowDown"), {"retry-after": "7"})
    assert isinstance(error, errors.ServiceBusy)
    assert error.retry_after_s == 7.0


def test_request_id_comes_from_the_header_first() -> None:
    body = error_body("NoSuchKey")
    assert failure(404, body, {"x-cos-request-id": "in-header"}).request_id == "in-header"
    assert failure(404, body).request_id == "in-body"


def test_redirect_is_named_and_not_followed() -> None:
    error = failure(302, headers={"location": "http://elsewhere/"})
    assert "http://elsewhere/" in str(error)
