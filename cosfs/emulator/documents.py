"""The XML that COS sends and takes, as text and values. Pure."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Final
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from cosfs.emulator.listing import Page, Window
from cosfs.emulator.messages import encode
from cosfs.emulator.records import Listed, Part, Stored, Upload
from cosfs.emulator.refusals import Refusal

_DECLARATION: Final = "<?xml version='1.0' encoding='utf-8' ?>\n"
_OWNER_ID: Final = "1250000000"
_OWNER: Final = f"<ID>{_OWNER_ID}</ID><DisplayName>{_OWNER_ID}</DisplayName>"

Naming = Callable[[str], str]
"""How keys are written in a listing: as text, or percent-encoded for encoding-type=url."""


def naming(encoding_type: str | None) -> Naming:
    """Raises Refusal if *encoding_type* is neither None nor "url"."""
    if encoding_type == "url":
        return lambda key: encode(key, safe="/")
    if encoding_type:
        raise Refusal("InvalidArgument", "encoding-type must be url")
    return str


def tag(name: str, text: object) -> str:
    return f"<{name}>{escape(str(text))}</{name}>"


def document(root: str, *children: str) -> str:
    return f"{_DECLARATION}<{root}>{''.join(children)}</{root}>"


def quoted(etag: str) -> str:
    return f'"{etag}"'


def iso_time(seconds: float) -> str:
    """To the second, as COS writes it."""
    return f"{datetime.fromtimestamp(int(seconds), UTC).isoformat()[:19]}.000Z"


def error(refusal: Refusal, *, resource: str, request_id: str) -> str:
    return document(
        "Error",
        tag("Code", refusal.code),
        tag("Message", refusal.message),
        tag("Resource", resource),
        tag("RequestId", request_id),
        tag("TraceId", request_id),
    )


def buckets(names: Sequence[tuple[str, float]], *, region: str) -> str:
    listed = "".join(
        f"<Bucket>{tag('Name', name)}{tag('Location', region)}"
        f"{tag('CreationDate', iso_time(created))}</Bucket>"
        for name, created in names
    )
    return document(
        "ListAllMyBucketsResult", f"<Owner>{_OWNER}</Owner>", f"<Buckets>{listed}</Buckets>"
    )


def objects(bucket: str, window: Window, page: Page[Listed], *, encoding_type: str | None) -> str:
    name = naming(encoding_type)
    return document(
        "ListBucketResult",
        tag("Name", bucket),
        tag("EncodingType", encoding_type) if encoding_type else "",
        tag("Prefix", name(window.prefix)),
        tag("Marker", name(window.after)),
        tag("MaxKeys", window.limit),
        tag("Delimiter", name(window.delimiter)) if window.delimiter else "",
        _truncated(truncated=page.truncated),
        tag("NextMarker", name(page.last)) if page.truncated else "",
        _groups(page.groups, name),
        "".join(_object(listed, name) for listed in page.entries),
    )


def uploads(
    bucket: str,
    window: Window,
    page: Page[Upload],
    *,
    markers: tuple[str, str],
    encoding_type: str | None,
) -> str:
    """*markers* are the request's key-marker and upload-id-marker."""
    name = naming(encoding_type)
    last_id = page.entries[-1].id if page.entries and page.last == page.entries[-1].key else ""
    return document(
        "ListMultipartUploadsResult",
        tag("Bucket", bucket),
        tag("Encoding-Type", encoding_type or ""),
        tag("KeyMarker", name(markers[0])),
        tag("UploadIdMarker", markers[1]),
        tag("NextKeyMarker", name(page.last)) if page.truncated else "",
        tag("NextUploadIdMarker", last_id) if page.truncated else "",
        tag("MaxUploads", window.limit),
        tag("Prefix", name(window.prefix)),
        tag("Delimiter", name(window.delimiter)),
        _truncated(truncated=page.truncated),
        "".join(_upload(upload, name) for upload in page.entries),
        _groups(page.groups, name),
    )


def parts(
    upload: Upload, listed: Sequence[Part], *, after: int, limit: int, truncated: bool
) -> str:
    return document(
        "ListPartsResult",
        tag("Bucket", upload.bucket),
        tag("Key", upload.key),
        tag("UploadId", upload.id),
        f"<Owner>{_OWNER}</Owner>",
        tag("PartNumberMarker", after),
        f"<Initiator>{_OWNER}</Initiator>",
        "".join(_part(part) for part in listed),
        "<StorageClass>Standard</StorageClass>",
        tag("MaxParts", limit),
        _truncated(truncated=truncated),
        tag("NextPartNumberMarker", listed[-1].number) if truncated else "",
    )


def initiated(upload: Upload) -> str:
    return document(
        "InitiateMultipartUploadResult",
        tag("Bucket", upload.bucket),
        tag("Key", upload.key),
        tag("UploadId", upload.id),
    )


def completed(upload: Upload, *, location: str, etag: str) -> str:
    """With COS's namespace: the only document that has one."""
    text = document(
        "CompleteMultipartUploadResult",
        tag("Location", location),
        tag("Bucket", upload.bucket),
        tag("Key", upload.key),
        tag("ETag", quoted(etag)),
    )
    namespace = ' xmlns="http://www.qcloud.com/document/product/436/7751"'
    return text.replace("UploadResult>", f"UploadResult{namespace}>", 1)


def copied(stored: Stored) -> str:
    return document(
        "CopyObjectResult",
        tag("ETag", quoted(stored.etag)),
        tag("CRC64", stored.content.crc64),
        tag("LastModified", iso_time(stored.modified)),
    )


def part_copied(part: Part) -> str:
    return document(
        "CopyPartResult",
        tag("ETag", quoted(part.etag)),
        tag("CRC64", part.content.crc64),
        tag("LastModified", iso_time(part.modified)),
    )


def deleted(keys: Sequence[str], *, quiet: bool) -> str:
    names = () if quiet else (f"<Deleted>{tag('Key', key)}</Deleted>" for key in keys)
    return document("DeleteResult", *names)


def access_control() -> str:
    schema = "http://www.w3.org/2001/XMLSchema-instance"
    return document(
        "AccessControlPolicy",
        f"<Owner>{_OWNER}</Owner>",
        f'<AccessControlList><Grant><Grantee xmlns:xsi="{schema}" xsi:type="CanonicalUser">'
        f"{_OWNER}</Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList>",
    )


def parse_delete(data: bytes) -> tuple[list[str], bool]:
    """The keys of DELETE Multiple Objects, and whether it is to be quiet about success."""
    root = _parse(data, "Delete")
    keys = [_text(node, "Key") for node in root if _local(node) == "Object"]
    quiet = any(_local(node) == "Quiet" and (node.text or "").strip() == "true" for node in root)
    if not 1 <= len(keys) <= 1000:  # COS, "DELETE Multiple Objects"
        raise Refusal("MalformedXML", "1 to 1000 objects can be deleted at once")
    return keys, quiet


def parse_complete(data: bytes) -> list[tuple[int, str]]:
    """Numbers and unquoted ETags of the parts to join."""
    root = _parse(data, "CompleteMultipartUpload")
    nodes = [node for node in root if _local(node) == "Part"]
    try:
        named = [
            (int(_text(node, "PartNumber")), _text(node, "ETag").strip().strip('"'))
            for node in nodes
        ]
    except ValueError as error:
        raise Refusal("MalformedXML") from error
    if not named:
        raise Refusal("MalformedXML", "no parts are named")
    return named


def _parse(data: bytes, root_name: str) -> ElementTree.Element:
    try:
        # Expat refuses entity bombs since 2.4.1, and the body's size is limited.
        root = ElementTree.fromstring(data)  # noqa: S314
    except ElementTree.ParseError as error:
        raise Refusal("MalformedXML") from error
    if _local(root) != root_name:
        raise Refusal("MalformedXML", f"{root_name} expected")
    return root


def _local(node: ElementTree.Element) -> str:
    return node.tag.rpartition("}")[2]


def _text(node: ElementTree.Element, name: str) -> str:
    text = next((child.text for child in node if _local(child) == name), None)
    if not text:
        raise Refusal("MalformedXML", f"{name} is missing")
    return text


def _truncated(*, truncated: bool) -> str:
    return tag("IsTruncated", "true" if truncated else "false")


def _groups(groups: Iterable[str], name: Naming) -> str:
    return "".join(
        f"<CommonPrefixes>{tag('Prefix', name(each))}</CommonPrefixes>" for each in groups
    )


def _object(listed: Listed, name: Naming) -> str:
    return (
        f"<Contents><Key>{escape(name(listed.key))}</Key>"
        f"<LastModified>{iso_time(listed.modified)}</LastModified>"
        f'<ETag>"{listed.etag}"</ETag><Size>{listed.size}</Size><Owner>{_OWNER}</Owner>'
        f"<StorageClass>{listed.storage_class}</StorageClass></Contents>"
    )


def _upload(upload: Upload, name: Naming) -> str:
    return (
        f"<Upload>{tag('Key', name(upload.key))}{tag('UploadId', upload.id)}"
        f"<Initiator>{_OWNER}</Initiator><Owner>{_OWNER}</Owner>"
        f"<StorageClass>Standard</StorageClass>{tag('Initiated', iso_time(upload.initiated))}"
        "</Upload>"
    )


def _part(part: Part) -> str:
    return (
        f"<Part>{tag('PartNumber', part.number)}{tag('LastModified', iso_time(part.modified))}"
        f"{tag('ETag', quoted(part.etag))}{tag('Size', part.content.size)}</Part>"
    )
