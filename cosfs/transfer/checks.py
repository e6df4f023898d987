"""The CRC64 of objects that are read in blocks, compared with COS's once all blocks were seen."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from cosfs.cos.checksum import combine
from cosfs.transfer.version import Version

_MOST_VERSIONS: Final = 256
_MOST_AHEAD: Final = 1 << 16  # blocks seen out of order, of one version: a few MiB of memory


@dataclass(slots=True)
class _Seen:
    """The blocks before *count*, as one checksum, and later ones each with its own."""

    count: int = 0
    crc64: int = 0
    later: dict[int, int] = field(default_factory=dict)


class ObjectChecks:
    """What has been seen of the versions that were read last. Others are not checked."""

    def __init__(self) -> None:
        self._seen: OrderedDict[Version, _Seen] = OrderedDict()

    def misses_only(self, version: Version, number: int) -> bool:
        """Whether block *number* is the last one, in whatever order they came."""
        if version.crc64 is None:
            return False
        seen = self._seen.get(version) or _Seen()
        if number < seen.count or number in seen.later:
            return False
        return seen.count + len(seen.later) == version.blocks - 1

    def add(self, version: Version, number: int, crc64: int) -> bool:
        """Note a block; False if it was the last, and the object is not what COS has stored."""
        if version.crc64 is None:
            return True
        seen = self._seen.setdefault(version, _Seen())
        self._seen.move_to_end(version)
        if number >= seen.count:
            seen.later[number] = crc64
        while seen.count in seen.later:
            size = version.block(seen.count).size
            seen.crc64 = combine(seen.crc64, seen.later.pop(seen.count), size)
            seen.count += 1
        is_whole = seen.count == version.blocks
        if is_whole or len(seen.later) > _MOST_AHEAD:
            del self._seen[version]
        if len(self._seen) > _MOST_VERSIONS:
            self._seen.popitem(last=False)
        return not is_whole or seen.crc64 == version.crc64
