"""Objects, parts and uploads as values, and their rows in the index."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, NewType

ContentId = NewType("ContentId", int)

OBJECT_COLUMNS: Final = "key, content, size, crc64, etag, modified, class, headers"
LISTED_COLUMNS: Final = "key, size, etag, modified, class"
PART_COLUMNS: Final = "number, content, size, crc64, etag, modified"
UPLOAD_COLUMNS: Final = "id, bucket, key, initiated, class, headers"

ObjectRow = tuple[bytes, int, int, str, str, float, str, str]
PartRow = tuple[int, int, int, str, str, float]
UploadRow = tuple[str, str, bytes, float, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """An immutable run of bytes."""

    id: ContentId
    size: int
    crc64: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Properties:
    """What is said about an object when it is made: *headers* are kept and given back."""

    headers: Mapping[str, str]
    storage_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """An object; *modified* in seconds since the epoch."""

    key: str
    content: Content
    etag: str
    modified: float
    properties: Properties


class Listed(NamedTuple):
    """An object as a listing shows it. A plain row: a page has a thousand of them."""

    raw_key: bytes
    size: int
    etag: str
    modified: float
    storage_class: str

    @property
    def key(self) -> str:
        return self.raw_key.decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of an open upload."""

    number: int
    content: Content
    etag: str
    modified: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """An open upload."""

    id: str
    bucket: str
    key: str
    initiated: float
    properties: Properties


def stored_of(row: ObjectRow) -> Stored:
    key, content, size, crc64, etag, modified, storage_class, headers = row
    return Stored(
        key=key.decode(),
        content=Content(id=ContentId(content), size=size, crc64=int(crc64)),
        etag=etag,
        modified=modified,
        properties=Properties(headers=json.loads(headers), storage_class=storage_class),
    )


def upload_of(row: UploadRow) -> Upload:
    upload_id, bucket, key, initiated, storage_class, headers = row
    return Upload(
        id=upload_id,
        bucket=bucket,
        key=key.decode(),
        initiated=initiated,
        properties=Properties(headers=json.loads(headers), storage_class=storage_class),
    )


def part_of(row: PartRow) -> Part:
    number, content, size, crc64, etag, modified = row
    return Part(
        number=number,
        content=Content(id=ContentId(content), size=size, crc64=int(crc64)),
        etag=etag,
        modified=modified,
    )
