"""The operations of multipart upload."""

import secrets
from collections.abc import Iterator, Sequence
from itertools import pairwise

from cosfs.emulator import documents
from cosfs.emulator.conditions import copy_span
from cosfs.emulator.intake import checksum, receive, whole
from cosfs.emulator.listing import Window, read_page
from cosfs.emulator.messages import Response, answer, decimal, no_content, xml_answer
from cosfs.emulator.objects import copy_source
from cosfs.emulator.records import Content, Part, Stored, Upload
from cosfs.emulator.refusals import Refusal
from cosfs.emulator.service import (
    MIB,
    Call,
    Limits,
    Service,
    check_key,
    encryption_of,
    forbids_overwrite,
    opaque_etag,
    properties_of,
    written_headers,
)


async def initiate(service: Service, call: Call) -> Response:
    check_key(call.key, service.limits)
    properties = properties_of(call.headers, service.limits)
    now = service.clock()
    upload = Upload(
        id=f"{int(now)}{secrets.token_hex(32)}",
        bucket=call.bucket,
        key=call.key,
        initiated=now,
        properties=properties,
    )
    service.store.begin_upload(upload)
    return xml_answer(documents.initiated(upload), encryption_of(properties.headers))


async def upload_part(service: Service, call: Call) -> Response:
    upload, number = _upload(service, call), _part_number(service, call)
    received = await receive(
        call.request.body,
        service.store.bodies,
        limit=service.limits.max_single,
        content_md5=call.headers.get("content-md5"),
        md5=service.md5,
    )
    content = service.store.add_content(received)
    part = Part(number=number, content=content, etag=received.etag, modified=service.clock())
    service.store.put_part(upload, part)
    headers = {
        "ETag": documents.quoted(part.etag),
        "x-cos-hash-crc64ecma": str(content.crc64),
        **encryption_of(upload.properties.headers),
    }
    return answer(200, headers)


async def copy_part(service: Service, call: Call) -> Response:
    upload, number = _upload(service, call), _part_number(service, call)
    source = copy_source(service, call)
    content = await _copied_content(service, call, source)
    part = Part(
        number=number,
        content=content,
        etag=f"{content.crc64:016x}{content.size:016x}",
        modified=service.clock(),
    )
    service.store.put_part(upload, part)
    return xml_answer(documents.part_copied(part), chunked=True)


async def _copied_content(service: Service, call: Call, source: Stored) -> Content:
    """The range that is to become a part; its bytes are read for the CRC64, never copied."""
    store, whole_size = service.store, source.content.size
    header = call.headers.get("x-cos-copy-source-range")
    span = None if header is None else copy_span(header, whole_size)
    start, stop = (0, whole_size) if span is None else (span.start, span.stop)
    if stop - start > service.limits.max_single:
        raise Refusal("EntityTooLarge")
    if stop - start == whole_size:
        return store.slice_content(source.content, start, stop, crc64=source.content.crc64)
    store.pin(source.content.id)
    try:
        pieces = store.pieces(source.content.id, start, stop)
        crc64 = await checksum(chunk for piece in pieces for chunk in store.bodies.read(piece))
        return store.slice_content(source.content, start, stop, crc64=crc64)
    finally:
        store.unpin(source.content.id)


async def complete(service: Service, call: Call) -> Response:
    body = await whole(call.request.body, limit=4 * MIB)
    upload = _upload(service, call)
    chosen = _chosen(documents.parse_complete(body), service.store.parts(upload), service.limits)
    stored = Stored(
        key=upload.key,
        content=service.store.join(chosen),
        etag=opaque_etag(len(chosen)),
        modified=service.clock(),
        properties=upload.properties,
    )
    service.store.complete(upload, stored, forbid_overwrite=forbids_overwrite(call.headers))
    location = f"http://{call.host}/{upload.key}"
    headers = written_headers(stored)
    del headers["ETag"]  # COS names it in the document alone
    text = documents.completed(upload, location=location, etag=stored.etag)
    return xml_answer(text, headers, chunked=True)


def _chosen(named: Sequence[tuple[int, str]], held: Sequence[Part], limits: Limits) -> list[Part]:
    """The parts that Complete names. Raises Refusal unless they can be joined."""
    numbers = [number for number, _ in named]
    if any(first >= second for first, second in pairwise(numbers)):
        raise Refusal("InvalidPartOrder")
    if numbers != list(range(1, len(numbers) + 1)):
        raise Refusal("InvalidPart", "part numbers must be 1, 2, 3 and so on")
    by_number = {part.number: part for part in held}
    for number, etag in named:
        if number not in by_number or by_number[number].etag != etag:
            raise Refusal("InvalidPart", f"part {number} is missing or has another ETag")
    chosen = [by_number[number] for number in numbers]
    if any(part.content.size < limits.min_part for part in chosen[:-1]):
        raise Refusal("EntityTooSmall")
    return chosen


async def abort(service: Service, call: Call) -> Response:
    service.store.abort(_upload(service, call))
    return no_content()


async def list_parts(service: Service, call: Call) -> Response:
    upload = _upload(service, call)
    after = call.number("part-number-marker", default=0, least=0, most=1 << 31)
    limit = call.number("max-parts", default=1000, least=1, most=1000)
    found = service.store.parts(upload, after=after, limit=limit + 1)
    return xml_answer(
        documents.parts(
            upload, found[:limit], after=after, limit=limit, truncated=len(found) > limit
        )
    )


async def list_uploads(service: Service, call: Call) -> Response:
    query = call.query
    markers = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
    window = Window(
        prefix=query.get("prefix", ""),
        delimiter=query.get("delimiter", ""),
        after="" if markers[1] else markers[0],
        limit=call.number("max-uploads", default=1000, least=1, most=1000),
    )

    def seek(start: bytes) -> Iterator[Upload]:
        if not markers[1]:
            return service.store.uploads_from(call.bucket, start)
        found = service.store.uploads_from(call.bucket, max(start, markers[0].encode()))
        return (upload for upload in found if (upload.key, upload.id) > markers)

    page = read_page(seek, window)
    encoding_type = query.get("encoding-type")
    return xml_answer(
        documents.uploads(call.bucket, window, page, markers=markers, encoding_type=encoding_type)
    )


def _upload(service: Service, call: Call) -> Upload:
    return service.store.upload(call.bucket, call.key, call.query["uploadId"])


def _part_number(service: Service, call: Call) -> int:
    number = decimal(call.query["partNumber"])
    if number is None or not 1 <= number <= service.limits.max_parts:
        raise Refusal("InvalidArgument", "partNumber must be 1 to 10000")
    return number
