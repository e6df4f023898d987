"""Operations on single objects: put, get, head, delete, copy, and deleting many."""

import re
from collections.abc import Iterator
from email.utils import formatdate
from typing import Final

from cosfs.emulator import documents
from cosfs.emulator.conditions import (
    COPY_SOURCE_PREFIX,
    NotModified,
    Span,
    check_conditions,
    requested_span,
)
from cosfs.emulator.intake import receive, whole
from cosfs.emulator.messages import Response, answer, no_content, split_target, xml_answer
from cosfs.emulator.records import ContentId, Properties, Stored
from cosfs.emulator.refusals import Refusal
from cosfs.emulator.service import (
    ARCHIVE_CLASSES,
    ENTITY_HEADERS,
    MIB,
    Call,
    Service,
    check_key,
    class_of,
    encryption_of,
    forbids_overwrite,
    opaque_etag,
    properties_of,
    written_headers,
)
from cosfs.emulator.store import Store
from cosfs.emulator.streams import Buffer, Chunks

_BUCKET_HOST: Final = re.compile(r"([a-z0-9][a-z0-9-]*-\d+)\.[^/]*")
_OVERRIDES: Final = "response-"
_OVERRIDABLE: Final = frozenset(f"{_OVERRIDES}{name}" for name in ENTITY_HEADERS)


async def put_object(service: Service, call: Call) -> Response:
    check_key(call.key, service.limits)
    properties = properties_of(call.headers, service.limits)
    received = await receive(
        call.request.body,
        service.store.bodies,
        limit=service.limits.max_single,
        content_md5=call.headers.get("content-md5"),
        md5=service.md5,
    )
    stored = Stored(
        key=call.key,
        content=service.store.add_content(received),
        etag=received.etag,
        modified=service.clock(),
        properties=properties,
    )
    service.store.put(call.bucket, stored, forbid_overwrite=forbids_overwrite(call.headers))
    return answer(200, written_headers(stored))


async def head_object(service: Service, call: Call) -> Response:
    stored = existing(service.store, call.bucket, call.key)
    try:
        check_conditions(stored, call.headers)
    except NotModified:
        return answer(304)
    headers = _object_headers(stored)
    headers["Content-Length"] = str(stored.content.size)
    return Response(status=200, headers=headers, body=Chunks([]))


async def get_object(service: Service, call: Call) -> Response:
    stored = existing(service.store, call.bucket, call.key)
    headers = _object_headers(stored)
    try:
        check_conditions(stored, call.headers)
    except NotModified:
        return answer(304, {"ETag": headers["ETag"]})
    if stored.properties.storage_class in ARCHIVE_CLASSES:
        raise Refusal("InvalidObjectState")
    size = stored.content.size
    span = requested_span(call.headers["range"], size) if "range" in call.headers else None
    if span is not None:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{size}"
    headers |= _overrides(call)
    status = 200 if span is None else 206
    return _read_response(service.store, stored, span or Span(0, size), status, headers)


async def delete_object(service: Service, call: Call) -> Response:
    service.store.delete(call.bucket, call.key)
    return no_content()


async def delete_objects(service: Service, call: Call) -> Response:
    if "content-md5" not in call.headers:
        raise Refusal("InvalidRequest", "Content-MD5 is missing")
    body = await whole(call.request.body, limit=2 * MIB)
    keys, quiet = documents.parse_delete(body)
    for key in keys:
        service.store.delete(call.bucket, key)
    return xml_answer(documents.deleted(keys, quiet=quiet))


async def copy_object(service: Service, call: Call) -> Response:
    check_key(call.key, service.limits)
    source = copy_source(service, call)
    if source.content.size > service.limits.max_single:
        raise Refusal("EntityTooLarge", "copy an object of this size by parts")
    properties = _copied_properties(service, call, source)
    stored = Stored(
        key=call.key,
        content=source.content,
        etag=opaque_etag(1) if "-" in source.etag else source.etag,
        modified=service.clock(),
        properties=properties,
    )
    service.store.put(call.bucket, stored, forbid_overwrite=forbids_overwrite(call.headers))
    headers = encryption_of(properties.headers)
    return xml_answer(documents.copied(stored), headers, chunked=True)


async def get_acl(_service: Service, _call: Call) -> Response:
    return xml_answer(documents.access_control(), {"x-cos-acl": "default"})


def existing(store: Store, bucket: str, key: str) -> Stored:
    stored = store.find(bucket, key)
    if stored is None:
        raise Refusal("NoSuchKey")
    return stored


def copy_source(service: Service, call: Call) -> Stored:
    """The object that x-cos-copy-source names, its conditions checked."""
    bucket, key = _split_source(call.headers["x-cos-copy-source"])
    if not service.store.has_bucket(bucket):
        raise Refusal("NoSuchBucket", f"there is no bucket {bucket}")
    source = service.store.find(bucket, key)
    if source is None:
        raise Refusal("NoSuchCopySource" if bucket != call.bucket else "NoSuchKey")
    check_conditions(source, call.headers, prefix=COPY_SOURCE_PREFIX)
    if source.properties.storage_class in ARCHIVE_CLASSES:
        raise Refusal("InvalidObjectState")
    return source


def _split_source(header: str) -> tuple[str, str]:
    """Bucket and key of ``<bucket>.<host>/<key>`` or ``[<host>]/<bucket>/<key>``."""
    host, separator, path = header.strip().partition("/")
    found = _BUCKET_HOST.fullmatch(host)
    if found is not None:
        return found[1], split_target("/" + path)[0][1:]
    if separator:
        bucket, _, key = split_target("/" + path)[0][1:].partition("/")
        if bucket and key:
            return bucket, key
    raise Refusal("InvalidCopySource")


def _copied_properties(service: Service, call: Call, source: Stored) -> Properties:
    """Class and encryption are the request's in any case; the rest with the Replaced directive."""
    directive = call.headers.get("x-cos-metadata-directive", "Copy").lower()
    if directive in ("replaced", "replace"):
        return properties_of(call.headers, service.limits)
    if directive != "copy":
        raise Refusal("InvalidArgument", "x-cos-metadata-directive must be Copy or Replaced")
    if _split_source(call.headers["x-cos-copy-source"]) == (call.bucket, call.key):
        raise Refusal("InvalidRequest", "a copy onto itself must replace the metadata")
    old = encryption_of(source.properties.headers)
    kept = {name: v for name, v in source.properties.headers.items() if name not in old}
    return Properties(
        headers=kept | encryption_of(call.headers), storage_class=class_of(call.headers)
    )


def _object_headers(stored: Stored) -> dict[str, str]:
    kept = stored.properties.headers
    headers = {
        **{n if n.startswith("x-cos-") else n.title(): value for n, value in kept.items()},
        **written_headers(stored),
        "Last-Modified": formatdate(int(stored.modified), usegmt=True),
        "Accept-Ranges": "bytes",
    }
    if stored.properties.storage_class != "STANDARD":
        headers["x-cos-storage-class"] = stored.properties.storage_class
    return headers


def _overrides(call: Call) -> dict[str, str]:
    """The headers of the answer that response-* parameters ask for."""
    headers = {
        name.removeprefix(_OVERRIDES).title(): value.strip()
        for name, value in call.query.items()
        if name in _OVERRIDABLE
    }
    if any(not value.isprintable() for value in headers.values()):
        raise Refusal("InvalidArgument", "a response header holds control characters")
    return headers


def _read_response(
    store: Store, stored: Stored, span: Span, status: int, headers: dict[str, str]
) -> Response:
    """The bytes of *span*, which stay readable while the object is replaced or deleted."""
    content = stored.content.id
    store.pin(content)
    return Response(
        status=status,
        headers={**headers, "Content-Length": str(span.stop - span.start)},
        body=Chunks(_read(store, content, span)),
        on_close=[lambda: store.unpin(content)],
    )


def _read(store: Store, content: ContentId, span: Span) -> Iterator[Buffer]:
    for piece in store.pieces(content, span.start, span.stop):
        yield from store.bodies.read(piece)
