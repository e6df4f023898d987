"""CRC-64/XZ, the checksum that COS keeps of every object (x-cos-hash-crc64ecma), and MD5.

anycrc computes 7.9 GB/s and combines; it has no type stubs, so it is wrapped here and only here.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

import anycrc

_CRC64: Final = anycrc.Model("CRC64-XZ")  # COS, "CRC64 check": ECMA-182, reflected, inverted


def crc64(chunks: Iterable[bytes | memoryview], start: int = 0) -> int:
    """The checksum of *chunks* joined, continuing from *start*, the checksum of what is before."""
    total = start
    for chunk in chunks:
        total = int(_CRC64.calc(chunk, total))
    return total


def combine(first: int, second: int, second_size: int) -> int:
    """The checksum of A + B from those of A and B and the size of B."""
    return int(_CRC64.combine(first, second, second_size))


def md5_of(chunks: Iterable[bytes]) -> str:
    """The MD5 of *chunks* joined, in hex. 12 ms for 8 MiB: for a thread."""
    digest = hashlib.md5(usedforsecurity=False)
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()
