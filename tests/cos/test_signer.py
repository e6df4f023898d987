"""The key that requests are signed with: when it is made anew, and by which clock."""

from dataclasses import replace
from email.utils import formatdate

import pytest

from cosfs.cos.credentials import Credentials
from cosfs.cos.endpoint import Endpoint
from cosfs.cos.exchange import Request
from cosfs.cos.signer import Signer
from tests.cos.scripted import KEYS, NOW

EARLY_S = 60


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer(clock: Clock) -> Signer:
    return Signer(clock)


def signed_at(signer: Signer, credentials: Credentials = KEYS) -> int:
    """By COS's clock, when the key was made that a request is signed with now."""
    endpoint = Endpoint(scheme="https", host="cos.example")
    request = Request(operation="HEAD Bucket", method="HEAD", endpoint=endpoint)
    authorization = signer.authorization(request, {}, credentials)["authorization"]
    _, _, window = authorization.partition("q-sign-time=")
    return int(window.partition(";")[0]) + EARLY_S


def test_key_is_used_again_for_ten_minutes(signer: Signer, clock: Clock) -> None:
    assert signed_at(signer) == NOW

    clock.now = NOW + 599
    assert signed_at(signer) == NOW
    clock.now = NOW + 600
    assert signed_at(signer) == NOW + 600


def test_other_credentials_have_a_key_of_their_own(signer: Signer, clock: Clock) -> None:
    signed_at(signer)

    clock.now = NOW + 1
    assert signed_at(signer, replace(KEYS, secret_key="another")) == NOW + 1


def test_clock_is_set_from_a_date_and_keys_with_it(signer: Signer) -> None:
    signed_at(signer)

    signer.set_clock(formatdate(NOW + 300, usegmt=True))

    assert signer.offset_s == 300  # within which the key would be used again
    assert signed_at(signer) == NOW + 300


def test_date_that_cannot_be_read_changes_nothing(signer: Signer) -> None:
    signer.set_clock("yesterday")

    assert signer.offset_s == 0
    assert not signer.is_off("yesterday", 0)


@pytest.mark.parametrize(("ahead_s", "is_off"), [(900, False), (901, True), (-901, True)])
def test_clock_is_off_past_what_cos_allows(signer: Signer, ahead_s: int, *, is_off: bool) -> None:
    date = formatdate(NOW + ahead_s, usegmt=True)

    assert signer.is_off(date, 0) is is_off
    assert not signer.is_off(date, ahead_s)
