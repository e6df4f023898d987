import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final, TypedDict
from urllib.parse import quote

import pytest

from cosfs.emulator.messages import split_target
from cosfs.emulator.refusals import Refusal
from cosfs.emulator.signature import Account, Signed, check


class Vector(TypedDict):
    name: str
    kind: str
    method: str
    path: str
    params: dict[str, str]
    headers: dict[str, str]
    secret_id: str
    secret_key: str
    start: int
    end: int
    expected_authorization: str


class Presigned(Vector):
    expected_url: str


VECTORS_FILE: Final = Path(__file__).parents[1] / "support" / "signature_vectors.json"
ALL: Final[list[Vector]] = json.loads(VECTORS_FILE.read_text())
PRESIGNED: Final[list[Presigned]] = [
    v for v in json.loads(VECTORS_FILE.read_text()) if v["kind"] == "presigned"
]
SIMPLE: Final = ALL[0]


def signed(vector: Vector, *, authorization: str | None = None) -> Signed:
    """The vector's request, with Authorization in its header."""
    text = vector["expected_authorization"] if authorization is None else authorization
    headers = {name.lower(): value for name, value in vector["headers"].items()}
    return Signed(
        method=vector["method"],
        paths=[vector["path"]],
        query=list(vector["params"].items()),
        headers=[*headers.items(), ("authorization", text)],
    )


def accounts(vector: Vector) -> Mapping[str, Account]:
    account = Account(secret_id=vector["secret_id"], secret_key=vector["secret_key"])
    return {account.secret_id: account}


def refused(request: Signed, known: Mapping[str, Account], *, now: float) -> str:
    with pytest.raises(Refusal) as refusal:
        check(request, known, now=now)
    return refusal.value.code


def test_there_are_all_vectors() -> None:
    assert (len(ALL), len(PRESIGNED)) == (73, 4)


@pytest.mark.parametrize("vector", ALL, ids=lambda vector: vector["name"])
def test_check_accepts_what_the_sdk_signs(vector: Vector) -> None:
    account = check(signed(vector), accounts(vector), now=vector["start"] + 1)

    assert account is not None
    assert account.secret_id == vector["secret_id"]


@pytest.mark.parametrize("vector", ALL, ids=lambda vector: vector["name"])
def test_check_refuses_another_path(vector: Vector) -> None:
    request = replace(signed(vector), paths=[vector["path"] + "x"])

    assert refused(request, accounts(vector), now=vector["start"]) == "SignatureDoesNotMatch"


@pytest.mark.parametrize("vector", PRESIGNED, ids=lambda vector: vector["name"])
def test_check_accepts_a_presigned_url(vector: Presigned) -> None:
    path, query = split_target(vector["expected_url"].removeprefix("https:/"))
    path = path[path.index("/", 1) :]
    request = replace(signed(vector, authorization=""), paths=[path], query=query)

    assert check(request, accounts(vector), now=vector["start"]) is not None


def test_check_accepts_the_whole_authorization_as_one_parameter() -> None:
    _, query = split_target("/?sign=" + quote(SIMPLE["expected_authorization"], safe=""))
    request = replace(signed(SIMPLE, authorization=""), query=query)

    assert check(request, accounts(SIMPLE), now=SIMPLE["start"]) is not None


def test_check_accepts_fields_in_any_order() -> None:
    fields = reversed(SIMPLE["expected_authorization"].split("&"))

    request = signed(SIMPLE, authorization="&".join(fields))

    assert check(request, accounts(SIMPLE), now=SIMPLE["start"]) is not None


def test_check_accepts_a_host_signed_without_its_port() -> None:
    headers = [*signed(SIMPLE).headers]
    with_port = [(n, v + ":9000" if n == "host" else v) for n, v in headers]

    request = replace(signed(SIMPLE), headers=with_port)

    assert check(request, accounts(SIMPLE), now=SIMPLE["start"]) is not None


def test_check_takes_an_empty_authorization_for_nobody() -> None:
    assert check(signed(SIMPLE, authorization=""), accounts(SIMPLE), now=0) is None


def test_check_refuses_an_unknown_id() -> None:
    assert refused(signed(SIMPLE), {}, now=SIMPLE["start"]) == "InvalidAccessKeyId"


def test_check_refuses_a_missing_signed_header() -> None:
    request = signed(SIMPLE)
    bare = replace(request, headers=[h for h in request.headers if h[0] != "host"])

    assert refused(bare, accounts(SIMPLE), now=SIMPLE["start"]) == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("offset", "code"), [(3601, "AccessDenied"), (-901, "RequestTimeTooSkewed")]
)
def test_check_refuses_outside_the_window(offset: int, code: str) -> None:
    assert refused(signed(SIMPLE), accounts(SIMPLE), now=SIMPLE["start"] + offset) == code


@pytest.mark.parametrize(
    ("token", "now", "code"),
    [
        ("right", 1700000100, None),
        ("wrong", 1700000100, "AccessDenied"),
        ("right", 1700000501, "ExpiredToken"),
    ],
)
def test_check_wants_the_token_of_a_temporary_account(
    token: str, now: float, code: str | None
) -> None:
    temporary = replace(accounts(SIMPLE)[SIMPLE["secret_id"]], token="right", expires=1700000500)
    known = {temporary.secret_id: temporary}
    request = signed(SIMPLE)
    with_token = replace(request, headers=[*request.headers, ("x-cos-security-token", token)])

    if code is None:
        assert check(with_token, known, now=now) == temporary
    else:
        assert refused(with_token, known, now=now) == code
