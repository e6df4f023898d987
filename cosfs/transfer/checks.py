"""The CRC64 of objects that are read in pieces, compared with COS's once all bytes were seen.

A piece counts when it has come, whether or not it is kept: memory may be short while a large
object is read, and the kernel asks for some bytes twice.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from cosfs.cos.checksum import combine, crc64
from cosfs.cos.model import ByteRange
from cosfs.transfer.version import Version

_MOST_VERSIONS: Final = 256
_MOST_AHEAD: Final = 1 << 16  # pieces seen out of order, of all versions: some 10 MiB of memory


@dataclass(slots=True)
class _Seen:
    """The bytes before *position*, as one checksum, and later pieces each with its own.

    *later* is by their start: their end and their checksum. *size* is that of all together.
    """

    position: int = 0
    crc64: int = 0
    later: dict[int, tuple[int, int]] = field(default_factory=dict)
    size: int = 0

    def has(self, span: ByteRange) -> bool:
        return span.stop <= self.position or span.start in self.later

    def add(self, span: ByteRange, content: memoryview, checksum: int) -> None:
        if self.has(span):
            return
        start = max(span.start, self.position)
        if start > span.start:
            checksum = crc64((content[start - span.start :],))
        self.later[start] = span.stop, checksum
        self.size += span.stop - start
        while (following := self.later.pop(self.position, None)) is not None:
            stop, checksum = following
            self.crc64 = combine(self.crc64, checksum, stop - self.position)
            self.position = stop


class ObjectChecks:
    """What has been seen of the versions that were read last. Others are not checked."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Version, _Seen] = OrderedDict()
        self._ahead = 0  # pieces that wait for those before them

    def misses_only(self, version: Version, span: ByteRange) -> bool:
        """Whether *span* is the last one, in whatever order they came."""
        if version.crc64 is None:
            return False
        seen = self._seen.get(version) or _Seen()
        return not seen.has(span) and seen.size + span.size >= version.size

    def add(self, version: Version, span: ByteRange, content: memoryview, checksum: int) -> bool:
        """Note what has come; False if it was the last, and the object is not what COS stored."""
        if version.crc64 is None:
            return True
        seen = self._seen.setdefault(version, _Seen())
        self._seen.move_to_end(version)
        self._ahead -= len(seen.later)
        seen.add(span, content, checksum)
        self._ahead += len(seen.later)
        is_whole = seen.position == version.size
        if is_whole:
            self._forget(version)
        while len(self._seen) > _MOST_VERSIONS or self._ahead > _MOST_AHEAD:
            self._forget(next(iter(self._seen)))
        return not is_whole or seen.crc64 == version.crc64

    def _forget(self, version: Version) -> None:
        self._ahead -= len(self._seen.pop(version).later)
