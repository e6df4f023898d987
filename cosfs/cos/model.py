"""The nouns of COS as values: keys, ranges, objects, listings, parts.

Knows no HTTP and no files. Sizes and offsets are bytes; times are nanoseconds since the epoch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NewType

Key = NewType("Key", str)
"""An object's key: UTF-8 text of 1 to 850 bytes, without a leading slash."""

ETag = NewType("ETag", str)
"""An object's change token, without its quotes. Opaque: the content's MD5 only for a plain PUT."""

UploadId = NewType("UploadId", str)

Body = Sequence[bytes]
"""What is sent: chunks in order, kept by the caller, so that any attempt can send them again."""

MAX_KEY_BYTES: Final = 850  # COS, "Object overview": 1 to 850 bytes of UTF-8
MAX_PARTS: Final = 10_000  # COS, "Upload Part": partNumber is 1 to 10000
MIN_PART_SIZE: Final = 1 << 20  # COS, "Complete Multipart Upload": 1 MiB, except for the last part
MAX_PART_SIZE: Final = 5 << 30  # COS, "Upload Part": 5 GiB; also the limit of PUT and PUT - Copy
MAX_OBJECT_SIZE: Final = 50_000 << 30  # COS, "Limits": 48.82 TB
MAX_METADATA_BYTES: Final = 2048  # COS, "PUT Object": names and values of x-cos-meta-* together
MAX_LIST_KEYS: Final = 1000  # COS, "GET Bucket": max-keys
MAX_DELETE_KEYS: Final = 1000  # COS, "DELETE Multiple Objects"


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from *start* up to, not including, *stop*. Never empty."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        assert 0 <= self.start < self.stop, (self.start, self.stop)

    @property
    def size(self) -> int:
        return self.stop - self.start

    def header(self) -> str:
        """The value of Range and x-cos-copy-source-range, whose last byte is inclusive."""
        return f"bytes={self.start}-{self.stop - 1}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectProperties:
    """What is stored beside an object's bytes and fixed when it is made.

    *metadata* holds x-cos-meta-* without that prefix, names in lower case. *entity* holds the
    other stored headers (cache-control, content-disposition, content-encoding, content-language,
    expires), names in lower case. *storage_class* None means the mount's own choice.
    """

    content_type: str = "application/octet-stream"
    metadata: Mapping[str, str] = field(default_factory=dict)
    entity: Mapping[str, str] = field(default_factory=dict)
    storage_class: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """An object as HEAD shows it."""

    key: Key
    size: int
    etag: ETag
    modified_ns: int
    crc64: int | None  # absent on objects older than the feature
    properties: ObjectProperties


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """What an upload or a copy made. *crc64* None: COS did not say."""

    etag: ETag
    crc64: int | None
    modified_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedObject:
    """An object as a listing shows it: no metadata, time to the second."""

    key: Key
    size: int
    etag: ETag
    modified_ns: int
    storage_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingPage:
    """One page of a listing. *next_marker* None means that it was the last."""

    objects: Sequence[ListedObject]
    prefixes: Sequence[str]
    next_marker: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CopySource:
    """An object of the same bucket to copy from; *span* None means all of it."""

    key: Key
    span: ByteRange | None = None
    if_match: ETag | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part that COS holds for an unfinished upload."""

    number: int
    size: int
    etag: ETag
    crc64: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingUpload:
    """An unfinished multipart upload as a listing shows it."""

    key: Key
    upload_id: UploadId
    initiated_ns: int
    storage_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketInfo:
    """A bucket of the account."""

    name: str
    region: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteFailure:
    """A key that DELETE Multiple Objects could not remove."""

    key: Key
    code: str
    message: str
