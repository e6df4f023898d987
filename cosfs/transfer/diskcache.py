"""Ranges of objects on the local disk, for when memory has no room for them any more.

A file holds one range of one version, with its CRC64; directories hold the files of one version.
Files appear by rename and are never changed, so that several mounts, and those that were killed,
can share them. What is damaged, missing or torn is a miss and no more, so nothing is synced. A
file's mtime is when it was used last. Everything here blocks, and is called in threads.
"""

import contextlib
import hashlib
import logging
import os
import secrets
import shutil
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cosfs.cos.checksum import crc64
from cosfs.cos.model import ByteRange
from cosfs.errors import ConfigError
from cosfs.transfer.version import BLOCK_SIZE, Version

_log = logging.getLogger(__name__)

_HEADER: Final = struct.Struct("<8sQQ")  # magic, size, CRC64
_MAGIC: Final = b"cosfs 1\n"
_USED_S: Final = 60.0  # what was used this recently is not touched again
_LEFT_OVER_S: Final = 600.0  # temporary files this old are of writers that were killed
_FILLED: Final = 0.9  # of the limit are left when files are removed
_UNSEEN: Final = 0.05  # of the limit may be written before others' files are counted again
_MOST_RESERVED: Final = 1 << 30  # bytes of the file system that are left: 5 %, but no more
_PAUSE_S: Final = 60.0  # after there was no room: counting files takes a while


@dataclass(frozen=True, slots=True)
class _File:
    used: float
    size: int
    path: str


class DiskCache:
    """The ranges below *directory*, which take up to about *limit* bytes.

    *source* tells buckets apart. Once a write has failed, nothing more is written.
    """

    def __init__(self, directory: Path, *, limit: int, source: str) -> None:
        self._ranges = directory / "ranges"
        self._temporary = directory / "temporary"
        self._limit = limit
        self._source = source
        self._lock = threading.Lock()  # of those below
        self._size: int | None = None  # of all files when they were counted
        self._written = 0  # since then
        self._paused_until = 0.0
        self.is_writable = True
        _make_private(directory)
        for part in (self._ranges, self._temporary):
            part.mkdir(mode=0o700, exist_ok=True)

    def read(self, version: Version, span: ByteRange, content: memoryview) -> bool:
        """Fill *content* with the bytes of *span*, which lies in one block; False if not there."""
        block = version.block(span.start // BLOCK_SIZE)
        directory = self._directory(version)
        if _read(directory / _name(span), content):
            return True
        if block == span:
            return False
        whole = memoryview(bytearray(block.size))
        if not _read(directory / _name(block), whole):
            return False
        content[:] = whole[span.start - block.start : span.stop - block.start]
        return True

    def write(self, version: Version, span: ByteRange, content: memoryview, checksum: int) -> None:
        """Keep the bytes of *span*, whose CRC64 is *checksum*, if there is room for them."""
        if not self._reserve(_HEADER.size + span.size):
            return
        temporary = self._temporary / secrets.token_hex(16)
        try:
            header = _HEADER.pack(_MAGIC, span.size, checksum)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                if os.writev(descriptor, [header, content]) != len(header) + span.size:
                    raise OSError("the disk is full")
            finally:
                os.close(descriptor)
            directory = self._directory(version)
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.rename(directory / _name(span))
        except FileNotFoundError:
            return  # another mount has just removed the directory, as it was empty
        except OSError as error:
            self._give_up(error)
            with contextlib.suppress(OSError):
                temporary.unlink()

    def _reserve(self, size: int) -> bool:
        """Make room for *size* more bytes; False if nothing is to be written."""
        with self._lock:
            if not self.is_writable or time.monotonic() < self._paused_until:
                return False
            try:
                has_room = self._make_room(size)
            except OSError as error:  # somebody removed the directory
                self._give_up(error)
                return False
            if has_room:
                self._written += size
            else:
                _log.info("cache has no room directory=%s", self._ranges)
                self._paused_until = time.monotonic() + _PAUSE_S
            return has_room

    def _give_up(self, error: OSError) -> None:
        self.is_writable = False
        _log.warning("cache is written no more directory=%s error=%s", self._ranges, error)

    def forget(self, version: Version) -> None:
        """Remove what there is of *version*."""
        shutil.rmtree(self._directory(version), ignore_errors=True)

    def _directory(self, version: Version) -> Path:
        identity = repr((self._source, version.key, version.etag, version.size))
        digest = hashlib.blake2b(identity.encode(), digest_size=20).hexdigest()
        return self._ranges / digest[:2] / digest[2:]

    def _make_room(self, size: int) -> bool:
        """Remove what was used least recently if *size* more bytes need it; False if in vain."""
        short = max(0, size - self._free())
        unseen = self._written + size > self._limit * _UNSEEN
        if self._is_full(size) or short or unseen:
            self._remove_old(size, short)
        return not self._is_full(size) and self._free() >= size

    def _is_full(self, size: int) -> bool:
        return self._size is None or self._size + self._written + size > self._limit

    def _remove_old(self, size: int, short: int) -> None:
        """Count all files; remove the oldest where *size* more bytes pass the limit.

        And *short* bytes at least, which the file system lacks.
        """
        files = sorted(self._files(), key=lambda file: file.used)
        left = sum(file.size for file in files)
        goal = left - short
        if left + size > self._limit:
            goal = min(goal, int(self._limit * _FILLED) - size)
        for file in files:
            if left <= goal:
                break
            with contextlib.suppress(OSError):
                os.unlink(file.path)
                left -= file.size
            with contextlib.suppress(OSError):
                os.rmdir(os.path.dirname(file.path))  # refused while it holds others
        self._size, self._written = left, 0

    def _files(self) -> Iterator[_File]:
        now = time.time()
        for file in _walk(str(self._temporary)):
            if file.used < now - _LEFT_OVER_S:
                with contextlib.suppress(OSError):
                    os.unlink(file.path)
        yield from _walk(str(self._ranges))

    def _free(self) -> int:
        """Bytes of the file system that the cache may still take."""
        status = os.statvfs(self._ranges)
        reserved = min(status.f_blocks * status.f_frsize // 20, _MOST_RESERVED)
        return status.f_bavail * status.f_frsize - reserved


def _make_private(directory: Path) -> None:
    """Make *directory*, or see that nobody else may enter it. Raises ConfigError."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.stat()
    except OSError as error:
        raise ConfigError(f"cache {directory}: {error.strerror}") from error
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise ConfigError(
            f"cache {directory}: others may enter it, and would read your files; chmod 700 it"
        )


def _read(path: Path, content: memoryview) -> bool:
    """Fill *content* from the file, or remove it if it is damaged; False if it is of no use."""
    header = bytearray(_HEADER.size)
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        size = os.readv(descriptor, [header, content]) - len(header)
        if os.fstat(descriptor).st_mtime < time.time() - _USED_S:
            os.utime(descriptor)
    except OSError as error:
        _log.warning("cached range not read path=%s error=%s", path, error)
        return False
    finally:
        os.close(descriptor)
    if size == len(content) and _HEADER.unpack(header) == (_MAGIC, size, crc64((content,))):
        return True
    _log.warning("cached range damaged path=%s", path)
    with contextlib.suppress(OSError):
        path.unlink()
    return False


def _name(span: ByteRange) -> str:
    return f"{span.start}-{span.stop}"


def _walk(directory: str) -> Iterator[_File]:
    """The files below *directory*, as far as they are there: others remove some meanwhile."""
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    yield from _walk(entry.path)
                else:
                    status = entry.stat(follow_symlinks=False)
                    yield _File(status.st_mtime, status.st_size, entry.path)
