"""Which bucket, key and operation a request means."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from cosfs.emulator import buckets, multipart, objects
from cosfs.emulator.messages import Headers, Response
from cosfs.emulator.refusals import Refusal
from cosfs.emulator.service import Call, Service
from cosfs.emulator.store import Store

Handler = Callable[[Service, Call], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation under the name that faults and the log use."""

    name: str
    handler: Handler


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """What Host and path name. *bucket* and *key* are empty for the service and for a bucket."""

    bucket: str
    key: str


NO_ADDRESS: Final = Address(bucket="", key="")

# By method and the query name that decides; "" is the plain operation.
_SERVICE: Final = {("GET", ""): Operation("GetService", buckets.list_buckets)}
_BUCKET: Final = {
    ("GET", ""): Operation("GetBucket", buckets.list_objects),
    ("HEAD", ""): Operation("HeadBucket", buckets.head_bucket),
    ("PUT", ""): Operation("PutBucket", buckets.make_bucket),
    ("DELETE", ""): Operation("DeleteBucket", buckets.remove_bucket),
    ("GET", "uploads"): Operation("ListMultipartUploads", multipart.list_uploads),
    ("GET", "location"): Operation("GetBucketLocation", buckets.get_location),
    ("GET", "versioning"): Operation("GetBucketVersioning", buckets.get_versioning),
    ("GET", "acl"): Operation("GetBucketAcl", objects.get_acl),
    ("POST", "delete"): Operation("DeleteMultipleObjects", objects.delete_objects),
}
_OBJECT: Final = {
    ("GET", ""): Operation("GetObject", objects.get_object),
    ("HEAD", ""): Operation("HeadObject", objects.head_object),
    ("PUT", ""): Operation("PutObject", objects.put_object),
    ("DELETE", ""): Operation("DeleteObject", objects.delete_object),
    ("GET", "acl"): Operation("GetObjectAcl", objects.get_acl),
    ("POST", "uploads"): Operation("InitiateMultipartUpload", multipart.initiate),
    ("PUT", "uploadId"): Operation("UploadPart", multipart.upload_part),
    ("GET", "uploadId"): Operation("ListParts", multipart.list_parts),
    ("POST", "uploadId"): Operation("CompleteMultipartUpload", multipart.complete),
    ("DELETE", "uploadId"): Operation("AbortMultipartUpload", multipart.abort),
}
_COPIES: Final = {
    "PutObject": Operation("CopyObject", objects.copy_object),
    "UploadPart": Operation("UploadPartCopy", multipart.copy_part),
}
OPERATION_NAMES: Final = frozenset(
    operation.name
    for table in (_SERVICE, _BUCKET, _OBJECT, _COPIES)
    for operation in table.values()
)
# COS, "Request overview": names in the query that mean another operation than the plain one.
_SUBRESOURCES: Final = frozenset(
    {
        "accelerate",
        "acl",
        "append",
        "cors",
        "delete",
        "domain",
        "encryption",
        "intelligenttiering",
        "inventory",
        "legal-hold",
        "lifecycle",
        "live",
        "location",
        "logging",
        "notification",
        "object-lock",
        "origin",
        "policy",
        "referer",
        "replication",
        "restore",
        "retention",
        "select",
        "symlink",
        "tagging",
        "uploadId",
        "uploads",
        "versioning",
        "versions",
        "website",
    }
)
_BUCKET_AND_HOST: Final = re.compile(r"([a-z0-9-]+-\d+)\.cos[.-].*")
_BUCKET_SEGMENT: Final = re.compile(r"[a-z0-9-]+-\d{10,}")  # an APPID has ten digits
_SERVICE_HOST: Final = re.compile(r"(service\.)?cos[.-].*")


def locate(store: Store, host: str, path: str, *, names_bucket: bool) -> Address:
    """Read the address: virtual-hosted, path style, or a host of its own for the only bucket.

    *names_bucket*: whether the request, with the path "/", makes sense for a bucket alone.
    """
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    found = _BUCKET_AND_HOST.fullmatch(name.lower())
    if found is not None:
        return Address(bucket=found[1], key=path[1:])
    label = name.lower().partition(".")[0]
    if store.has_bucket(label):
        return Address(bucket=label, key=path[1:])
    segment, _, rest = path[1:].partition("/")
    if store.has_bucket(segment) or _BUCKET_SEGMENT.fullmatch(segment):
        return Address(bucket=segment, key=rest)
    return _own_domain(store, name, path, names_bucket=names_bucket)


def names_bucket(method: str, query: Mapping[str, str]) -> bool:
    """Not GET Service, which has no prefix; to list a bucket, SDKs send one, maybe empty."""
    return method != "GET" or "prefix" in query or not _SUBRESOURCES.isdisjoint(query)


def _own_domain(store: Store, name: str, path: str, *, names_bucket: bool) -> Address:
    """A custom domain stands for one bucket; an unknown host does if there is only one."""
    if _SERVICE_HOST.fullmatch(name.lower()) is None:
        known = store.buckets()
        if len(known) == 1 and (path != "/" or names_bucket or not _is_local(name)):
            return Address(bucket=known[0][0], key=path[1:])
    if path != "/":
        raise Refusal("NoSuchBucket")
    return NO_ADDRESS


def _is_local(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return name == "localhost"
    return True


def route(method: str, address: Address, query: Mapping[str, str], headers: Headers) -> Operation:
    """The operation meant. Raises Refusal for one that COS or the emulator does not have."""
    table = _OBJECT if address.key else _BUCKET if address.bucket else _SERVICE
    named = [name for name in query if name in _SUBRESOURCES]
    if "uploadId" in named:
        named = ["uploadId"]
    operation = table.get((method, named[0] if named else ""))
    if operation is None:
        raise Refusal("NotImplemented" if named else "MethodNotAllowed")
    if operation.name == "UploadPart" and "partNumber" not in query:
        raise Refusal("InvalidArgument", "partNumber is missing")
    if "x-cos-copy-source" in headers:
        return _COPIES.get(operation.name, operation)
    return operation
