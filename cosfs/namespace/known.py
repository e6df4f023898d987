"""What past HEADs and own changes told of objects, kept for as long as listings confirm it.

An object is known by its version: key, ETag and Last-Modified as a listing shows them. Invariant:
what is handed out belongs to the very version that was asked for. A KnownFile keeps it over a
restart; only what a HEAD told may go there, as it is proven to be final.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import trio
from cachetools import LRUCache, TTLCache

from cosfs.config import ServiceConfig
from cosfs.cos.model import ETag, Key, ListedObject, ObjectInfo
from cosfs.namespace.attributes import NS_PER_S
from cosfs.namespace.knownfile import KnownFile
from cosfs.state import file_name

log = logging.getLogger(__name__)

# A change of attributes leaves a small object its ETag, and Last-Modified has seconds: what HEAD
# shows of an object this new may be followed by a change that looks the same.
RACY_NS: Final = 2 * NS_PER_S
MAX_BYTES: Final = 32 << 20  # estimated; some 40 000 objects with the metadata of a copied file
_OBJECT_BYTES: Final = 700  # of an ObjectInfo without its texts, measured
_MAX_RACY: Final = 5_000


class Version(NamedTuple):
    """What tells one state of an object from another, as far as LIST shows it."""

    key: Key
    etag: ETag
    modified_s: int  # as HEAD and LIST show it; what an upload made may be known more precisely


def version_of(known: ListedObject | ObjectInfo) -> Version:
    return Version(known.key, known.etag, known.modified_ns // NS_PER_S)


class KnownObjects:
    """ObjectInfos by version, the least recently used given up first."""

    def __init__(self, file: KnownFile | None = None, *, max_bytes: int = MAX_BYTES) -> None:
        self._file = file
        self._known: LRUCache[Version, ObjectInfo] = LRUCache(max_bytes, getsizeof=_bytes_of)
        self._racy: TTLCache[Version, ObjectInfo] = TTLCache(0, 0)
        self._has_stored = False
        self._has_racy = False  # a listing asks for each of its names: most mounts have none

    def expire_racy_after(self, ttl_s: float) -> None:
        """How long to trust what HEAD shows of objects that were stored a moment before."""
        self._racy = TTLCache(_MAX_RACY, ttl_s, timer=trio.current_time)

    def get(self, listed: ListedObject) -> ObjectInfo | None:
        """What is known of the object that a listing shows. Does not yield."""
        version = version_of(listed)
        known = self._known.get(version)
        if known is None and self._has_stored:
            # What was stored here is known by the time of the answer, a moment later.
            known = self._known.get(version._replace(modified_s=version.modified_s + 1))
        return self._racy.get(version) if known is None and self._has_racy else known

    def stored(self, info: ObjectInfo) -> None:
        """This mount has made the object. Does not yield."""
        self._has_stored = True
        self._keep(version_of(info), info)

    def seen(self, info: ObjectInfo) -> None:
        """HEAD has shown the object. Does not yield."""
        version = version_of(info)
        if time.time_ns() - info.modified_ns >= RACY_NS:
            self._keep(version, info)
            if self._file is not None:
                self._file.put(info)
        else:
            self._known.pop(version, None)
            if self._racy.maxsize:
                self._racy[version] = info
                self._has_racy = True

    async def load(self, listed: Iterable[ListedObject]) -> None:
        """Have what the file knows of these objects at hand."""
        if self._file is None:
            return
        missing = {version for each in listed if (version := version_of(each)) not in self._known}
        if not missing:
            return
        for info in await self._file.get([version.key for version in missing]):
            version = version_of(info)
            if version in missing:
                self._keep(version, info)

    def forget(self, key: str) -> None:
        """Know no more of the object *key*, or below it if it ends with "/" or is empty."""
        if self._file is not None:
            self._file.forget(key)
        for objects in (self._known, self._racy):
            for version in [each for each in objects if _is_within(each.key, key)]:
                objects.pop(version, None)

    async def keep_writing(self) -> None:
        """Let the file have what it is to keep, for ever."""
        if self._file is not None:
            await self._file.keep_writing()

    def _keep(self, version: Version, info: ObjectInfo) -> None:
        with suppress(ValueError):  # larger than all of it
            self._known[version] = info


@contextmanager
def known_objects(directory: Path | None, service: ServiceConfig) -> Iterator[KnownObjects]:
    """What is known of a bucket, kept in *directory*; in memory alone if that is not possible."""
    place = service.endpoint or service.region or ""
    file = None
    if directory is not None:
        path = directory / file_name(service.bucket, place, "objects")
        try:
            file = KnownFile(path)
        except OSError as error:
            log.warning("attributes are forgotten at the end of the mount error=%s", error)
    try:
        yield KnownObjects(file)
    finally:
        if file is not None:
            file.close()


def _is_within(key: Key, top: str) -> bool:
    return key.startswith(top) if top.endswith("/") or not top else key == top


def _bytes_of(info: ObjectInfo) -> int:
    texts = (*info.properties.metadata.items(), *info.properties.entity.items())
    return _OBJECT_BYTES + 2 * len(info.key) + sum(120 + len(n) + len(v) for n, v in texts)
