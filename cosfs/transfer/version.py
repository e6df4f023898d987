"""One version of an object, and the blocks that it is read in."""

from dataclasses import dataclass, field
from typing import Final

from cosfs.cos.model import ByteRange, ETag, Key

BLOCK_SIZE: Final = 1 << 20  # what the kernel asks for at most in one read


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object: what a reader holds on to. *crc64* is COS's, where it has one."""

    key: Key
    etag: ETag
    size: int
    crc64: int | None = field(default=None, compare=False)

    def may_equal(self, other: "Version") -> bool:
        """Whether nothing shows that *other* has other bytes; its key and ETag may differ."""
        return self.size == other.size and (
            None in (self.crc64, other.crc64) or self.crc64 == other.crc64
        )

    def block(self, number: int) -> ByteRange:
        start = number * BLOCK_SIZE
        return ByteRange(start, min(start + BLOCK_SIZE, self.size))


def block_numbers(span: ByteRange) -> range:
    """The blocks that *span* touches."""
    return range(span.start // BLOCK_SIZE, -(-span.stop // BLOCK_SIZE))
