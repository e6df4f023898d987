"""Receiving a body: its bytes go to a new file while its checksums are computed."""

import hashlib
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import trio
from anycrc import Model

from cosfs.emulator.bodies import Bodies, FileId, FileWriter
from cosfs.emulator.refusals import Refusal
from cosfs.emulator.streams import Body, Buffer

_BATCH_SIZE: Final = 4 << 20  # hashed and written together: a thread hop costs 0.16 ms
_INLINE_SIZE: Final = 64 << 10  # MD5 of less takes about 0.1 ms, no more than the hop


class _Crc(Protocol):
    def calc(self, data: Buffer, crc: int = ...) -> int: ...
    def combine(self, first: int, second: int, second_size: int) -> int: ...


_crc64: Final[_Crc] = Model("CRC64-XZ")


def combine_crc64(first: int, second: int, *, second_size: int) -> int:
    """The CRC64 of two runs of bytes put together."""
    return _crc64.combine(first, second, second_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A body that was received; *file* None if it is empty, *md5* hex, None if not computed."""

    file: FileId | None
    size: int
    crc64: int
    md5: str | None

    @property
    def etag(self) -> str:
        """The MD5, or an opaque value of the same form where none was computed."""
        return self.md5 or f"{self.crc64:016x}{self.size:016x}"


class _Intake:
    """The file, the checksums, and the buffers that neither has seen yet."""

    def __init__(self, writer: FileWriter, *, md5: bool, thread: bool) -> None:
        self._writer = writer
        self._md5 = hashlib.md5(usedforsecurity=False) if md5 else None
        self._thread = md5 or thread
        self._pending: list[Buffer] = []
        self._pending_size = 0
        self._crc64 = 0
        self._size = 0

    async def take(self, chunk: Buffer) -> None:
        self._pending.append(chunk)
        self._pending_size += len(chunk)
        self._size += len(chunk)
        if self._pending_size >= _BATCH_SIZE:
            await self._absorb()

    async def finish(self) -> Received:
        await self._absorb()
        return Received(
            file=self._writer.file if self._size else None,
            size=self._size,
            crc64=self._crc64,
            md5=self._md5.hexdigest() if self._md5 else None,
        )

    async def _absorb(self) -> None:
        if self._thread and self._pending_size > _INLINE_SIZE:
            await trio.to_thread.run_sync(self._absorb_now)
        else:
            self._absorb_now()

    def _absorb_now(self) -> None:
        self._writer.append(self._pending)
        for chunk in self._pending:
            self._crc64 = _crc64.calc(chunk, self._crc64)
            if self._md5 is not None:
                self._md5.update(chunk)
        self._pending = []
        self._pending_size = 0


async def receive(
    body: Body, bodies: Bodies, *, limit: int, content_md5: str | None, md5: bool
) -> Received:
    """Store *body*. Raises Refusal over *limit* bytes or where *content_md5* does not fit."""
    expected = None if content_md5 is None else _digest(content_md5)
    writer = bodies.create()
    try:
        intake = _Intake(writer, md5=md5 or expected is not None, thread=not bodies.in_memory)
        size = 0
        async for chunk in body:
            size += len(chunk)
            if size > limit:
                raise Refusal("EntityTooLarge")
            await intake.take(chunk)
        received = await intake.finish()
        if expected is not None and received.md5 != expected:
            raise Refusal("BadDigest")
    except BaseException:
        writer.close()
        bodies.remove(writer.file)
        raise
    writer.close()
    if received.file is None:
        bodies.remove(writer.file)
    return received


def _digest(content_md5: str) -> str:
    try:
        digest = b64decode(content_md5, validate=True)
    except (Base64Error, ValueError) as error:
        raise Refusal("InvalidDigest") from error
    if len(digest) != hashlib.md5(usedforsecurity=False).digest_size:
        raise Refusal("InvalidDigest")
    return digest.hex()


async def whole(body: Body, *, limit: int) -> bytes:
    """A small body in one piece. Raises Refusal over *limit* bytes."""
    data = bytearray()
    async for chunk in body:
        data += chunk
        if len(data) > limit:
            raise Refusal("MalformedXML", "the body is too large")
    return bytes(data)


async def checksum(chunks: Iterator[Buffer]) -> int:
    """The CRC64 of bytes that are stored already; in a worker thread."""
    return await trio.to_thread.run_sync(_checksum_now, chunks)


def _checksum_now(chunks: Iterator[Buffer]) -> int:
    crc64 = 0
    for chunk in chunks:
        crc64 = _crc64.calc(chunk, crc64)
    return crc64
