import ssl

import pytest

from cosfs import errors
from cosfs.cos.retry import MAX_DELAY_S, Attempts, Remedy, backoff_s, remedy_for


def service(
    code: str, status: int = 400, kind: type[errors.ServiceError] = errors.ServiceError
) -> errors.ServiceError:
    return kind("detail", operation="PUT Object", status=status, code=code)


def other(kind: type[errors.CosError]) -> errors.CosError:
    return kind("detail", operation="PUT Object")


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (service("SlowDown", 503, errors.ServiceBusy), Remedy.BACK_OFF),
        (service("IncompleteBody"), Remedy.BACK_OFF),
        (service("RequestTimeout"), Remedy.BACK_OFF),
        (service("UserNetworkTooSlow"), Remedy.BACK_OFF),
        (service("PathConflict", 409), Remedy.BACK_OFF),
        (service("UploadConflict", 409), Remedy.BACK_OFF),
        (other(errors.TransportError), Remedy.BACK_OFF),
        (service("BadDigest"), Remedy.SEND_AGAIN),
        (other(errors.IntegrityError), Remedy.SEND_AGAIN),
        (other(errors.ProtocolError), Remedy.SEND_AGAIN),
        (service("ExpiredToken", 400, errors.BadCredentials), Remedy.RELOAD_CREDENTIALS),
        (service("InvalidAccessKeyId", 403, errors.BadCredentials), Remedy.RELOAD_CREDENTIALS),
        (service("SignatureDoesNotMatch", 403, errors.BadCredentials), None),
        (service("RequestTimeTooSkewed", 403, errors.AccessDenied), Remedy.SET_CLOCK),
        (service("Request has expired", 403, errors.AccessDenied), Remedy.SET_CLOCK),
        (service("AccessDenied", 403, errors.AccessDenied), None),
        (service("NotImplemented", 501), None),
        (service("NoSuchKey", 404, errors.NotFound), None),
    ],
)
def test_remedy_is_what_can_help(error: errors.CosError, remedy: Remedy | None) -> None:
    assert remedy_for(error) is remedy


def test_remedy_for_an_untrusted_certificate_is_none() -> None:
    error = other(errors.TransportError)
    error.__cause__ = ssl.SSLCertVerificationError("self-signed")
    assert remedy_for(error) is None


def test_remedy_for_an_error_that_is_its_own_cause_is_found() -> None:
    """As one is that was raised again from what the attempt to resolve it had met."""
    error, doubt = other(errors.TransportError), other(errors.TransportError)
    error.__cause__, doubt.__context__ = doubt, error

    assert remedy_for(error) is Remedy.BACK_OFF


@pytest.mark.parametrize(
    ("attempt", "bound_s"), [(1, 0.1), (2, 0.2), (5, 1.6), (8, MAX_DELAY_S), (5000, MAX_DELAY_S)]
)
def test_backoff_doubles_up_to_its_bound(attempt: int, bound_s: float) -> None:
    assert backoff_s(attempt, 0.0) == 0.0
    assert backoff_s(attempt, 1.0) == pytest.approx(bound_s)


def test_attempts_wait_as_long_as_the_server_says() -> None:
    error = service("SlowDown", 503, errors.ServiceBusy)
    assert isinstance(error, errors.ServiceBusy)
    error.retry_after_s = 7.0
    retry = Attempts(jitter=lambda: 0.5).after(error)
    assert retry is not None
    assert retry.delay_s == 7.0


def test_attempts_spend_a_correction_once() -> None:
    attempts = Attempts(jitter=lambda: 0.0)
    assert attempts.after(service("ExpiredToken", 400, errors.BadCredentials)) is not None
    assert attempts.after(other(errors.TransportError)) is not None
    assert attempts.after(service("ExpiredToken", 400, errors.BadCredentials)) is None
    assert attempts.count == 3


def test_attempts_send_a_damaged_body_three_times_more() -> None:
    attempts = Attempts(jitter=lambda: 0.0)
    retries = [attempts.after(service("BadDigest")) for _ in range(4)]
    assert [retry is None for retry in retries] == [False, False, False, True]
