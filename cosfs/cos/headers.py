"""Properties and answers of objects ↔ HTTP headers. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from cosfs.cos.model import ByteRange, ETag, Key, ObjectInfo, ObjectProperties, StoredObject
from cosfs.cos.wire import Malformed, parse_crc64, parse_etag, parse_size, parse_time
from cosfs.errors import ConfigError

METADATA_PREFIX: Final = "x-cos-meta-"
CRC64: Final = "x-cos-hash-crc64ecma"
STORAGE_CLASS: Final = "x-cos-storage-class"
_ENTITY: Final = (  # COS, "PUT Object": the headers kept with the object, besides Content-Type
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
)
_SSE: Final = "x-cos-server-side-encryption"
# COS, "PUT Object": letters, digits, hyphens. What other programs stored must be kept, so all that
# HTTP lets a name hold is sent.
_METADATA_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(?:\d{1,19}|\*)", re.ASCII)
_PRINTABLE: Final = "".join(map(chr, range(0x20, 0x7F)))


def property_headers(properties: ObjectProperties, *, default_class: str | None) -> dict[str, str]:
    """The headers that store *properties*; *default_class* is for those that name no class.

    A value is sent as it is if it is printable ASCII, else what is not is percent-encoded, so
    that a value read and written back does not change.
    """
    headers = {"content-type": header_value(properties.content_type)}
    headers.update((name, header_value(value)) for name, value in properties.entity.items())
    for name, value in properties.metadata.items():
        if not _METADATA_NAME.fullmatch(name):
            raise ValueError(f"metadata name {name!r}: not a header name")
        headers[METADATA_PREFIX + name.lower()] = header_value(value)
    storage_class = properties.storage_class or default_class
    if storage_class is not None:
        headers[STORAGE_CLASS] = header_value(storage_class)
    return headers


def encryption_headers(sse: str | None) -> dict[str, str]:
    """The headers of the option sse: "cos", "kms" or "kms:KEY-ID". ConfigError on another."""
    kind, _, key_id = (sse or "").partition(":")
    if sse is None:
        return {}
    if sse == "cos":
        return {_SSE: "AES256"}
    if kind != "kms" or sse == "kms:":
        raise ConfigError(f"sse {sse!r}: use cos, kms or kms:KEY-ID")
    return {_SSE: "cos/kms"} | ({f"{_SSE}-cos-kms-key-id": header_value(key_id)} if key_id else {})


def header_value(text: str) -> str:
    """*text* with what a header cannot hold percent-encoded."""
    if text.isascii() and text.isprintable() and text == text.strip():
        return text
    inner = text.strip(" ")
    before, after = len(text) - len(text.lstrip(" ")), len(text) - len(text.rstrip(" "))
    if not inner:
        return "%20" * len(text)
    return "%20" * before + quote(inner, safe=_PRINTABLE) + "%20" * after


def header_fields(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """An answer's headers, names in lower case, values of the same name joined."""
    try:
        return _decoded(raw, "utf-8")
    except UnicodeDecodeError:
        return _decoded(raw, "latin-1")


def _decoded(raw: Sequence[tuple[bytes, bytes]], encoding: str) -> dict[str, str]:
    # As httpx's items(), which takes four times as long.
    fields: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode(encoding).lower(), raw_value.decode(encoding)
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def object_info(key: Key, headers: Mapping[str, str]) -> ObjectInfo:
    """What the headers of HEAD Object say, names in lower case. Malformed if that is no sense."""
    return ObjectInfo(
        key=key,
        size=parse_size(headers.get("content-length", ""), "Content-Length"),
        etag=parse_etag(headers.get("etag", "")),
        modified_ns=parse_time(headers.get("last-modified", "")),
        crc64=parse_crc64(headers.get(CRC64, "")),
        properties=ObjectProperties(
            content_type=headers.get("content-type", "application/octet-stream"),
            metadata={
                name.removeprefix(METADATA_PREFIX): value
                for name, value in headers.items()
                if name.startswith(METADATA_PREFIX)
            },
            entity={name: headers[name] for name in _ENTITY if name in headers},
            storage_class=headers.get(STORAGE_CLASS, "STANDARD"),
        ),
    )


def stored_object(headers: Mapping[str, str]) -> StoredObject:
    """What the answer to PUT says of the object that it made, just before it was sent."""
    return StoredObject(
        etag=parse_etag(headers.get("etag", "")),
        crc64=parse_crc64(headers.get(CRC64, "")),
        modified_ns=_date(headers.get("date", "")),
    )


def _date(text: str) -> int | None:
    """None for what is no time: no upload fails for that."""
    try:
        return parse_time(text)
    except Malformed:
        return None


def etag_of(headers: Mapping[str, str]) -> ETag:
    return parse_etag(headers.get("etag", ""))


def content_range(headers: Mapping[str, str]) -> ByteRange:
    """The bytes that a 206 answer carries."""
    text = headers.get("content-range", "")
    match = _CONTENT_RANGE.fullmatch(text)
    if match is None or int(match[2]) < int(match[1]):
        raise Malformed(f"Content-Range {text!r}")
    return ByteRange(int(match[1]), int(match[2]) + 1)
