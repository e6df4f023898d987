"""The server's own check of COS request signatures (XML API v5, "q-sign-algorithm=sha1").

Written from the documentation, not from a client: a shared mistake would go unseen.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from cosfs.emulator.messages import encode
from cosfs.emulator.refusals import Refusal

MAX_SKEW_S: Final = 900  # COS, "Error codes": RequestTimeTooSkewed; judged by the window's start
_TOKEN: Final = "x-cos-security-token"  # noqa: S105  # a header's name, not a secret
_FIELDS: Final = (
    "q-sign-algorithm",
    "q-ak",
    "q-sign-time",
    "q-key-time",
    "q-header-list",
    "q-url-param-list",
    "q-signature",
)

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A key pair that the server knows; *token* and *expires* (epoch seconds) if temporary."""

    secret_id: str
    secret_key: str
    token: str | None = None
    expires: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What of a request a signature may cover. Several *paths* or hosts: any of them may match."""

    method: str
    paths: Sequence[str]
    query: Pairs
    headers: Pairs


def authorization_of(signed: Signed) -> dict[str, str] | None:
    """The fields of the request's signature, None if it is anonymous."""
    header = next((value for name, value in signed.headers if name == "authorization"), "")
    query = dict(signed.query)
    if header.strip():
        return _fields(header.strip())
    if "sign" in query:
        return _fields(query["sign"])
    if "q-signature" in query:
        return {name: query.get(name, "") for name in _FIELDS}
    return None


def check(signed: Signed, accounts: Mapping[str, Account], *, now: float) -> Account | None:
    """Who sent this: an account, or None for nobody. Raises Refusal for a bad signature."""
    fields = authorization_of(signed)
    if fields is None:
        return None
    account = accounts.get(fields["q-ak"])
    if account is None:
        raise Refusal("InvalidAccessKeyId")
    _check_time(fields, now=now)
    _check_token(account, signed, now=now)
    candidates = (
        signature(signed, fields, path=path, headers=headers, secret_key=account.secret_key)
        for path in signed.paths
        for headers in _host_variants(signed.headers)
    )
    if not any(hmac.compare_digest(each, fields["q-signature"]) for each in candidates):
        raise Refusal("SignatureDoesNotMatch")
    return account


def signature(
    signed: Signed, fields: Mapping[str, str], *, path: str, headers: Pairs, secret_key: str
) -> str:
    """The signature that belongs to these *fields*, over exactly the names that they list."""
    query = [pair for pair in signed.query if pair[0] not in _FIELDS and pair[0] != "sign"]
    parameters = _listed(fields["q-url-param-list"], query)
    values = _listed(fields["q-header-list"], [(name, value.strip()) for name, value in headers])
    text = f"{signed.method.lower()}\n{path}\n{parameters}\n{values}\n"
    digest = hashlib.sha1(text.encode("utf-8", "surrogateescape")).hexdigest()  # noqa: S324  # COS
    sign_key = _hmac(secret_key, fields["q-key-time"])
    return _hmac(sign_key, f"sha1\n{fields['q-sign-time']}\n{digest}\n")


def _hmac(key: str, message: str) -> str:
    return hmac.new(key.encode(), message.encode(), hashlib.sha1).hexdigest()


def _fields(text: str) -> dict[str, str]:
    """Authorization's fields in any order; a missing one is empty."""
    parsed = dict.fromkeys(_FIELDS, "")
    for item in text.split("&"):
        name, separator, value = item.partition("=")
        if not separator:
            raise Refusal("InvalidArgument", "the Authorization header is malformed")
        parsed[name.strip()] = value.strip()
    return parsed


def _listed(names: str, pairs: Pairs) -> str:
    """``k=v&…`` of the *names*, each of which must be present; signed names are in lower case."""
    wanted = {unquote(name).lower() for name in names.split(";") if name}
    chosen = [(encode(name).lower(), encode(v)) for name, v in pairs if name.lower() in wanted]
    if len({name.lower() for name, _ in pairs} & wanted) != len(wanted):
        raise Refusal("SignatureDoesNotMatch", "a signed header or parameter is missing")
    return "&".join(f"{name}={value}" for name, value in sorted(chosen))


def _host_variants(headers: Pairs) -> Iterable[Pairs]:
    """With the port, as sent; and without it, as Tencent's Python SDK signs."""
    yield headers
    if any(name == "host" and ":" in value for name, value in headers):
        yield [(n, v.rpartition(":")[0].lower() if n == "host" else v) for n, v in headers]


def _check_time(fields: Mapping[str, str], *, now: float) -> None:
    try:
        start, end = (int(text) for text in fields["q-sign-time"].split(";"))
    except ValueError as error:
        raise Refusal("InvalidArgument", "q-sign-time is malformed") from error
    if start > now + MAX_SKEW_S:
        raise Refusal("RequestTimeTooSkewed")
    if now > end:
        raise Refusal("AccessDenied", "Request has expired")


def _check_token(account: Account, signed: Signed, *, now: float) -> None:
    if account.token is None:
        return
    sent = next((v for n, v in (*signed.headers, *signed.query) if n.lower() == _TOKEN), None)
    if sent != account.token:
        raise Refusal("AccessDenied", "the security token does not belong to the secret id")
    if account.expires is not None and now > account.expires:
        raise Refusal("ExpiredToken")
