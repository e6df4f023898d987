"""COS request signatures ("q-sign-algorithm=sha1"): request + credentials + time → Authorization.

Pure. Knows no HTTP library and no clock. COS, "Request signature".
"""

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from typing import Final
from urllib.parse import quote

# The server checks whatever the signature lists. Listed is what says what the request does, as
# Tencent's SDKs do it; not listed is what a proxy may change: Date, Accept, User-Agent.
_SIGNED_HEADERS: Final = frozenset(
    {
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-length",
        "content-md5",
        "content-type",
        "expect",
        "expires",
        "host",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-unmodified-since",
        "origin",
        "pic-operations",
        "range",
        "transfer-encoding",
    }
)
_SIGNED_PREFIXES: Final = ("x-cos-", "x-ci-")

Pairs = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Window:
    """When a signature holds, in Unix seconds: from *start* to *end*."""

    start: int
    end: int

    def __str__(self) -> str:
        return f"{self.start};{self.end}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningKey:
    """A secret key narrowed to one window; good for any number of requests in it."""

    secret_id: str
    window: Window
    key: bytes

    def __repr__(self) -> str:
        return f"<SigningKey {self.window}>"


def signing_key(secret_id: str, secret_key: str, window: Window) -> SigningKey:
    digest = _hmac_sha1(secret_key.encode(), str(window).encode())
    return SigningKey(secret_id=secret_id, window=window, key=digest.encode())


def sign(
    method: str, path: str, *, query: Pairs, headers: Mapping[str, str], key: SigningKey
) -> str:
    """The Authorization of a request.

    *path* is the decoded path, beginning with one slash. All of *query* is signed, and those of
    *headers* (no name twice) that describe the request.
    """
    parameters = sorted((encode_name(name), encode(value)) for name, value in query)
    signed = sorted(
        (encode_name(name), encode(value.strip()))
        for name, value in headers.items()
        if _is_signed(name.lower())
    )
    request = f"{method.lower()}\n{path}\n{_joined(parameters)}\n{_joined(signed)}\n"
    digest = sha1(request.encode(), usedforsecurity=False).hexdigest()
    signature = _hmac_sha1(key.key, f"sha1\n{key.window}\n{digest}\n".encode())
    return (
        f"q-sign-algorithm=sha1&q-ak={key.secret_id}&q-sign-time={key.window}"
        f"&q-key-time={key.window}&q-header-list={';'.join(name for name, _ in signed)}"
        f"&q-url-param-list={';'.join(name for name, _ in parameters)}&q-signature={signature}"
    )


def presigned_query(authorization: str) -> str:
    """The query-string form of an Authorization, for a URL that needs no headers."""
    fields = (field.partition("=") for field in authorization.split("&"))
    return "&".join(f"{name}={encode(value)}" for name, _, value in fields)


def encode(text: str) -> str:
    """Percent-encode all but letters, digits and "-_.~", with upper-case hexadecimal digits."""
    return quote(text, safe="-_.~")


@lru_cache(maxsize=1024)
def encode_name(name: str) -> str:
    return encode(name).lower()


@lru_cache(maxsize=1024)
def _is_signed(name: str) -> bool:
    return name in _SIGNED_HEADERS or name.startswith(_SIGNED_PREFIXES)


def _joined(pairs: Pairs) -> str:
    return "&".join(f"{name}={value}" for name, value in pairs)


def _hmac_sha1(key: bytes, message: bytes) -> str:
    return hmac.digest(key, message, "sha1").hex()
