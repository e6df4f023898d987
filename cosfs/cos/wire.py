"""COS's XML ↔ values. Pure.

Whatever comes in is read without namespaces and trusted with nothing: what cannot be understood is
a Malformed, which names the fault; the caller knows which operation it belongs to.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final
from urllib.parse import unquote
from xml.sax.saxutils import escape

from cosfs.cos.model import (
    MAX_PARTS,
    BucketInfo,
    DeleteFailure,
    ETag,
    Key,
    ListedObject,
    ListingPage,
    Part,
    PendingUpload,
    StoredObject,
    UploadId,
)

_MAX_CRC64: Final = (1 << 64) - 1
_MAX_SIZE: Final = 1 << 50  # bytes; COS holds 48.8 TB an object, and more than this is no size
# A full page of a listing has 23 thousand. More would take hundreds of times the answer's memory.
_MAX_TAGS: Final = 200_000
_MAX_UPLOAD_ID: Final = 1024  # characters; COS's have 74
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
# Initiate and Complete repeat the key as it is, also when XML 1.0 cannot hold its characters.
_ILLEGAL_BYTES: Final = bytes(byte for byte in range(0x20) if byte not in b"\t\n\r")
_ILLEGAL_TEXT: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class Malformed(ValueError):
    """An answer makes no sense; the text says where."""


def error_of(body: bytes) -> tuple[str, str, str] | None:
    """Code, message and request id of an <Error> document; None if *body* is no such thing."""
    try:
        root = _parse(body)
    except Malformed:
        return None
    if _name(root) != "Error":
        return None
    return _text(root, "Code"), _text(root, "Message"), _text(root, "RequestId")


def parse_buckets(body: bytes) -> list[BucketInfo]:
    root = _root(body, "ListAllMyBucketsResult")
    return [
        BucketInfo(name=_required(bucket, "Name"), region=_text(bucket, "Location"))
        for buckets in _children(root, "Buckets")
        for bucket in _children(buckets, "Bucket")
    ]


def parse_listing(body: bytes) -> ListingPage:
    """A page of GET Bucket, which must have been asked for with encoding-type=url."""
    root = _root(body, "ListBucketResult")
    return ListingPage(
        objects=[_listed(contents) for contents in _children(root, "Contents")],
        prefixes=[unquote(_required(p, "Prefix")) for p in _children(root, "CommonPrefixes")],
        next_marker=unquote(_required(root, "NextMarker")) if _is_truncated(root) else None,
    )


def parse_delete_failures(body: bytes) -> list[DeleteFailure]:
    root = _root(body, "DeleteResult")
    return [
        DeleteFailure(
            key=Key(_required(failure, "Key")),
            code=_required(failure, "Code"),
            message=_text(failure, "Message"),
        )
        for failure in _children(root, "Error")
    ]


def parse_initiated(body: bytes) -> UploadId:
    return _upload_id(_root(body, "InitiateMultipartUploadResult"))


def parse_copied(body: bytes) -> StoredObject:
    """The result of PUT Object - Copy or of Upload Part - Copy; both have the same children."""
    root = _root(body, "CopyObjectResult", "CopyPartResult")
    modified = _text(root, "LastModified")
    return StoredObject(
        etag=parse_etag(_required(root, "ETag")),
        crc64=parse_crc64(_text(root, "CRC64")),
        modified_ns=parse_time(modified) if modified else None,
    )


def parse_completed(body: bytes) -> ETag:
    return parse_etag(_required(_root(body, "CompleteMultipartUploadResult"), "ETag"))


def parse_parts(body: bytes) -> tuple[list[Part], int | None]:
    """A page of List Parts, and the number to go on after; None after the last page."""
    root = _root(body, "ListPartsResult")
    parts = [
        Part(
            number=_part_number(part, "PartNumber"),
            size=parse_size(_text(part, "Size"), "Size"),
            etag=parse_etag(_required(part, "ETag")),
            crc64=None,
        )
        for part in _children(root, "Part")
    ]
    return parts, _part_number(root, "NextPartNumberMarker") if _is_truncated(root) else None


def parse_uploads(body: bytes) -> tuple[list[PendingUpload], tuple[str, str] | None]:
    """A page of List Multipart Uploads, and the key and upload id to go on after."""
    root = _root(body, "ListMultipartUploadsResult")
    uploads = [
        PendingUpload(
            key=Key(unquote(_required(upload, "Key"))),
            upload_id=_upload_id(upload),
            initiated_ns=parse_time(_required(upload, "Initiated")),
            storage_class=_text(upload, "StorageClass").upper(),
        )
        for upload in _children(root, "Upload")
    ]
    if not _is_truncated(root):
        return uploads, None
    return uploads, (unquote(_required(root, "NextKeyMarker")), _text(root, "NextUploadIdMarker"))


def is_expressible(key: str) -> bool:
    """Whether XML 1.0 can hold *key*; one that it cannot is deleted by itself."""
    return _ILLEGAL_TEXT.search(key) is None


def delete_body(keys: Sequence[str]) -> bytes:
    # A carriage return written raw would be read back as a newline, so it goes as a reference.
    objects = "".join(
        f"<Object><Key>{escape(key, {chr(13): '&#13;'})}</Key></Object>" for key in keys
    )
    return f"<Delete><Quiet>true</Quiet>{objects}</Delete>".encode()


def complete_body(parts: Sequence[Part]) -> bytes:
    listed = "".join(
        f"<Part><PartNumber>{part.number}</PartNumber><ETag>&quot;{escape(part.etag)}&quot;</ETag>"
        "</Part>"
        for part in parts
    )
    return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()


def parse_etag(text: str) -> ETag:
    etag = text.strip().removeprefix("W/").strip('"')
    # It goes back in If-Match, so it must fit a header and its quotes.
    if not etag or not (etag.isascii() and etag.isprintable()) or '"' in etag:
        raise Malformed(f"ETag {text[:80]!r}")
    return ETag(etag)


def parse_crc64(text: str) -> int | None:
    """The decimal CRC64 of x-cos-hash-crc64ecma; None if *text* is empty: COS did not say."""
    return _unsigned(text, "CRC64", limit=_MAX_CRC64) if text.strip() else None


def parse_size(text: str, what: str) -> int:
    return _unsigned(text, what, limit=_MAX_SIZE)


def parse_time(text: str) -> int:
    """Nanoseconds since the epoch, of ISO 8601, RFC 1123 or asctime: COS's samples have all."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = _parse_spelled_time(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    elapsed = moment - _EPOCH
    return (elapsed.days * 86_400 + elapsed.seconds) * 10**9 + elapsed.microseconds * 1000


@lru_cache(maxsize=1024)
def _parse_spelled_time(text: str) -> datetime:
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise Malformed(f"time {text[:80]!r}") from error


def _listed(contents: ET.Element) -> ListedObject:
    # All children at once: a page has a thousand of these, and a lookup for each doubles its cost.
    texts = {_name(child): child.text or "" for child in contents}
    key = texts.get("Key", "")
    if not key:
        raise Malformed("<Contents> without <Key>")
    return ListedObject(
        key=Key(unquote(key)),
        size=parse_size(texts.get("Size", ""), "Size"),
        etag=parse_etag(texts.get("ETag", "")),
        modified_ns=parse_time(texts.get("LastModified", "")),
        storage_class=texts.get("StorageClass") or "STANDARD",
    )


def _parse(body: bytes) -> ET.Element:
    # Entities are declared in a document type alone. A NUL is no XML, and the mark of UTF-16, in
    # which a document type would go unseen.
    if b"<!DOCTYPE" in body or b"\0" in body:
        raise Malformed("XML with a document type")
    if body.count(b"<") > _MAX_TAGS:
        raise Malformed(f"XML with over {_MAX_TAGS} tags")
    try:
        # White space comes before a slow Complete's answer.
        return ET.fromstring(body.strip().translate(None, _ILLEGAL_BYTES))  # noqa: S314 - no DTD
    except (ET.ParseError, ValueError, LookupError) as error:
        raise Malformed(f"broken XML: {error}") from error


def _root(body: bytes, *names: str) -> ET.Element:
    root = _parse(body)
    if _name(root) not in names:
        raise Malformed(f"<{_name(root)}> instead of <{names[0]}>")
    return root


def _name(element: ET.Element) -> str:
    tag = element.tag
    return tag.rpartition("}")[2] if tag[0] == "{" else tag


def _children(element: ET.Element, name: str) -> Iterator[ET.Element]:
    return (child for child in element if _name(child) == name)


def _text(element: ET.Element, name: str) -> str:
    """The text of the first child called *name*, "" without one."""
    for child in element:
        if _name(child) == name:
            return child.text or ""
    return ""


def _required(element: ET.Element, name: str) -> str:
    text = _text(element, name)
    if not text:
        raise Malformed(f"<{_name(element)}> without <{name}>")
    return text


def _part_number(element: ET.Element, name: str) -> int:
    return _unsigned(_text(element, name), name, limit=MAX_PARTS)


def _upload_id(element: ET.Element) -> UploadId:
    text = _required(element, "UploadId")
    if len(text) > _MAX_UPLOAD_ID or not (text.isascii() and text.isprintable()):
        raise Malformed(f"<UploadId> {text[:80]!r}")
    return UploadId(text)


def _is_truncated(root: ET.Element) -> bool:
    return _text(root, "IsTruncated").strip().lower() == "true"


def _unsigned(text: str, what: str, *, limit: int) -> int:
    digits = text.strip()
    # int() alone would take "-1", "1_000" and Arabic digits; and refuse to read very long ones.
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 20 or int(digits) > limit:
        raise Malformed(f"{what} {text[:40]!r}")
    return int(digits)
