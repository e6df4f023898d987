"""What every operation works with: the store, the limits, the request as it was understood."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from cosfs.emulator import documents
from cosfs.emulator.messages import Headers, Request, decimal
from cosfs.emulator.records import Properties, Stored
from cosfs.emulator.refusals import Refusal
from cosfs.emulator.store import Store

MIB: Final = 1 << 20
GIB: Final = 1 << 30
STORAGE_CLASSES: Final = frozenset(  # COS, "Storage classes"
    {
        "STANDARD",
        "STANDARD_IA",
        "INTELLIGENT_TIERING",
        "ARCHIVE",
        "DEEP_ARCHIVE",
        "MAZ_STANDARD",
        "MAZ_STANDARD_IA",
        "MAZ_INTELLIGENT_TIERING",
    }
)
ARCHIVE_CLASSES: Final = frozenset({"ARCHIVE", "DEEP_ARCHIVE"})
META_PREFIX: Final = "x-cos-meta-"
ENTITY_HEADERS: Final = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
_ENCRYPTION: Final = "x-cos-server-side-encryption"
_FORBIDDEN_IN_KEYS: Final = frozenset("\x18\x19\x1a\x1b")  # COS, "Object overview": bytes 24 to 27


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """COS's own, in bytes; tests make them smaller to reach them."""

    min_part: int = MIB  # COS, "Complete Multipart Upload"; the last part may be smaller
    max_single: int = 5 * GIB  # COS: PUT, Upload Part and their copies
    max_parts: int = 10_000
    max_key: int = 850
    max_metadata: int = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The running service, without HTTP."""

    store: Store
    clock: Callable[[], float]  # seconds since the epoch
    limits: Limits = field(default_factory=Limits)
    region: str = "ap-guangzhou"
    listing_lag_s: float = 0.0  # listings do not show objects younger than this
    md5: bool = True  # without: ETags derived from the CRC64, for benchmarks


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request to a bucket or object; *host* is what copies and locations are named by."""

    request: Request
    host: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Headers

    def number(self, name: str, *, default: int, least: int, most: int) -> int:
        """An integer of the query. Raises Refusal where it is none or under *least*."""
        text = self.query.get(name, "")
        if not text:
            return default
        number = decimal(text)
        if number is None or number < least:
            raise Refusal("InvalidArgument", f"{name} must be a number from {least}")
        return min(number, most)


def check_key(key: str, limits: Limits) -> None:
    """Raises Refusal for a key that may not be written."""
    if len(key.encode()) > limits.max_key:
        raise Refusal("KeyTooLong")
    if not _FORBIDDEN_IN_KEYS.isdisjoint(key):
        raise Refusal("InvalidObjectName")


def properties_of(headers: Headers, limits: Limits) -> Properties:
    """What a writing request says about the new object."""
    kept = {
        name: value
        for name, value in headers.items()
        if name in ENTITY_HEADERS or name.startswith(META_PREFIX)
    }
    used = sum(len(n) + len(v) for n, v in kept.items() if n.startswith(META_PREFIX))
    if used > limits.max_metadata:
        raise Refusal("MetadataTooLarge")
    kept.setdefault("content-type", "application/octet-stream")
    return Properties(headers=kept | encryption_of(headers), storage_class=class_of(headers))


def class_of(headers: Headers) -> str:
    """The storage class that a writing request asks for."""
    storage_class = headers.get("x-cos-storage-class", "STANDARD").upper()
    if storage_class not in STORAGE_CLASSES:
        raise Refusal("NotSupportedStorageClass")
    return storage_class


def encryption_of(headers: Headers) -> dict[str, str]:
    """The encryption headers that COS repeats in its answers: all but keys."""
    return {
        name: value
        for name, value in headers.items()
        if name.startswith(_ENCRYPTION) and not name.endswith(("customer-key", "-context"))
    }


def forbids_overwrite(headers: Headers) -> bool:
    return headers.get("x-cos-forbid-overwrite", "").lower() == "true"


def opaque_etag(parts: int) -> str:
    """A multipart ETag: nothing can be concluded from it, as with COS."""
    return f"{secrets.token_hex(16)}-{parts}"


def written_headers(stored: Stored) -> dict[str, str]:
    """What PUT Object and Complete say about the new object."""
    return {
        "ETag": documents.quoted(stored.etag),
        "x-cos-hash-crc64ecma": str(stored.content.crc64),
        **encryption_of(stored.properties.headers),
    }
