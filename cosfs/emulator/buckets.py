"""Operations on buckets: listing their objects, making and removing them."""

import re
from collections.abc import Iterator
from typing import Final

from cosfs.emulator import documents
from cosfs.emulator.listing import Window, read_page
from cosfs.emulator.messages import Response, answer, no_content, xml_answer
from cosfs.emulator.records import Listed
from cosfs.emulator.refusals import Refusal
from cosfs.emulator.service import Call, Service

_BUCKET_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?-[0-9]+")  # COS, "Naming"


async def list_buckets(service: Service, _call: Call) -> Response:
    return xml_answer(documents.buckets(service.store.buckets(), region=service.region))


async def list_objects(service: Service, call: Call) -> Response:
    query = call.query
    window = Window(
        prefix=query.get("prefix", ""),
        delimiter=query.get("delimiter", ""),
        after=query.get("marker", ""),
        limit=call.number("max-keys", default=1000, least=1, most=1000),
    )
    if len(window.delimiter) > 1:
        raise Refusal("InvalidDelimiter")
    newest = service.clock() - service.listing_lag_s

    def seek(start: bytes) -> Iterator[Listed]:
        found = service.store.objects_from(call.bucket, start)
        return (listed for listed in found if listed.modified <= newest)

    page = read_page(seek, window)
    text = documents.objects(call.bucket, window, page, encoding_type=query.get("encoding-type"))
    return xml_answer(text, _region(service))


async def head_bucket(service: Service, _call: Call) -> Response:
    return answer(200, _region(service))


async def make_bucket(service: Service, call: Call) -> Response:
    check_bucket_name(call.bucket)
    service.store.make_bucket(call.bucket, now=service.clock())
    return answer(200)


async def remove_bucket(service: Service, call: Call) -> Response:
    service.store.remove_bucket(call.bucket)
    return no_content()


async def get_location(service: Service, _call: Call) -> Response:
    return xml_answer(f"<LocationConstraint>cos.{service.region}</LocationConstraint>")


async def get_versioning(_service: Service, _call: Call) -> Response:
    return xml_answer(documents.document("VersioningConfiguration"))


def check_bucket_name(name: str) -> None:
    """Raises Refusal unless *name* is ``<name>-<appid>``."""
    if _BUCKET_NAME.fullmatch(name) is None:
        raise Refusal("InvalidBucketName", f"{name}: a bucket is <name>-<appid>, in lower case")


def _region(service: Service) -> dict[str, str]:
    return {"x-cos-bucket-region": service.region}
