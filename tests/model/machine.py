"""A filesystem beside a model of it: a name stands for a bytearray, and a commit for an object."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import pytest
import trio

from cosfs.cos.checksum import crc64
from cosfs.errors import NoSuchEntry
from cosfs.fs.handles import FileHandle
from cosfs.namespace.hidden import HIDDEN_DIRECTORY
from tests.support.engines import Files, some_bytes, unfinished_uploads

MAX_SIZE = 6 << 20  # bytes in a file: several parts, and quickly compared


class Kind(StrEnum):
    """What a step does; to the handle or name that its numbers choose."""

    OPEN = "open"
    OPEN_TRUNCATED = "open truncated"
    WRITE = "write"
    APPEND = "append"
    TRUNCATE = "truncate"
    READ = "read"
    FLUSH = "flush"
    FSYNC = "fsync"
    CLOSE = "close"
    RELEASE = "release"
    RENAME = "rename"
    UNLINK = "unlink"


@dataclass(frozen=True, slots=True)
class Step:
    """*which* chooses a handle or a name, *where* and *size* are bytes or another name."""

    kind: Kind
    which: int = 0
    where: int = 0
    size: int = 1


@dataclass(slots=True, eq=False)
class ModelFile:
    """*states* holds the checksum of everything that the object may be; None: it is not there."""

    content: bytearray = field(default_factory=bytearray)
    name: str | None = None  # None once it is removed
    states: set[int | None] = field(default_factory=lambda: {None})

    def note(self) -> None:
        self.states.add(crc64([bytes(self.content)]))


@dataclass(slots=True)
class Open:
    """A handle and the model of its file."""

    handle: FileHandle
    file: ModelFile


class Machine:
    """Takes steps on both sides and compares them."""

    def __init__(self, files: Files, names: Sequence[str], known: dict[str, ModelFile]) -> None:
        self.known = known
        self._files = files
        self._names = names
        self._open: list[Open] = []
        self._seed = 0
        # By name, what may be stored of files that were removed or renamed: it is deleted soon.
        self._leaving: dict[str, set[int | None]] = {}

    async def take(self, step: Step) -> None:
        """Do *step*, if there is what it needs, and check that nothing impossible is stored."""
        self._seed += 1
        if step.kind in (Kind.OPEN, Kind.OPEN_TRUNCATED):
            await self._open_name(self._name(step.which), truncate=step.kind != Kind.OPEN)
        elif step.kind is Kind.RENAME:
            await self._rename(self._name(step.which), self._name(step.where))
        elif step.kind is Kind.UNLINK:
            await self._unlink(self._name(step.which))
        elif self._open:
            await self._edit_or_read(self._open[step.which % len(self._open)], step)
        self._check_stored()

    async def finish(self) -> None:
        """Close everything; then each object is what its file was, and nothing else is left."""
        while self._open:
            await self._edit_or_read(self._open[-1], Step(Kind.CLOSE))
        await self._files.fs.fsync_directory(self._files.root)
        for name in self._names:
            file = self.known.get(name)
            assert self._files.stored(name) == (None if file is None else bytes(file.content))
        assert unfinished_uploads(self._files.api) == []
        self._files.fs.namespace.inodes.check_invariants()
        await trio.sleep(600)  # until what was read ahead has arrived
        memory = self._files.memory
        assert memory.leaving == 0
        assert memory.try_acquire(memory.limit), f"more than clean blocks: {memory}"
        memory.release(memory.limit)

    def _name(self, number: int) -> str:
        return self._names[number % len(self._names)]

    def _check_stored(self) -> None:
        for name in self._names:
            content = self._files.stored(name)
            state = None if content is None else crc64([content])
            file = self.known.get(name)
            states = {None} if file is None else file.states
            assert state in states | self._leaving.get(name, set()), name

    async def _open_name(self, name: str, *, truncate: bool) -> None:
        file = self.known.get(name)
        if file is None:
            self._open.append(Open(await self._create(name), self._linked(ModelFile(), name)))
            return
        node = await self._files.fs.lookup(self._files.root, name)
        handle = await self._files.fs.open(node, writable=True, truncate=truncate, pid=1)
        if truncate:
            file.content.clear()
            file.note()
        self._open.append(Open(handle, file))

    async def _create(self, name: str) -> FileHandle:
        try:
            await self._files.fs.lookup(self._files.root, name)
        except NoSuchEntry:
            return self._files.create(name)
        raise AssertionError(f"{name} is there")

    def _linked(self, file: ModelFile, name: str) -> ModelFile:
        file.name = name
        file.note()
        self.known[name] = file
        return file

    async def _rename(self, old: str, new: str) -> None:
        if old == new or old not in self.known:
            return
        fs, root = self._files.fs, self._files.root
        await fs.names.rename(root, old, root, new, replace=True)
        file, replaced = self.known.pop(old), self.known.pop(new, None)
        self._leaving.setdefault(old, set()).update(file.states)
        # A file that was never stored hides what it has replaced until it is.
        file.states |= {None} if replaced is None else replaced.states
        if replaced is not None:
            replaced.name = None
        self._linked(file, new)
        await self._require_gone(old)

    async def _unlink(self, name: str) -> None:
        if name in self.known:
            await self._files.fs.names.unlink(self._files.root, name)
            file = self.known.pop(name)
            self._leaving.setdefault(name, set()).update(file.states)
            file.name = None
            await self._require_gone(name)

    async def _require_gone(self, name: str) -> None:
        with pytest.raises(NoSuchEntry):
            await self._files.fs.lookup(self._files.root, name)
        listed = await self._files.fs.namespace.entries(self._files.root)
        assert {entry.name for entry in listed} - {HIDDEN_DIRECTORY} == set(self.known)

    async def _edit_or_read(self, open_file: Open, step: Step) -> None:
        file, handle = open_file.file, open_file.handle
        match step.kind:
            case Kind.WRITE:
                await self._write(open_file, step.where, step.size)
            case Kind.APPEND:
                await self._write(open_file, len(file.content), step.size)
            case Kind.TRUNCATE:
                await self._truncate(open_file, step.where)
            case Kind.READ:
                found = bytes(await self._files.fs.read(handle, step.where, step.size))
                assert found == file.content[step.where : step.where + step.size]
            case Kind.FLUSH | Kind.FSYNC:
                await self._commit(open_file, flush=step.kind is Kind.FLUSH)
            case _:
                await self._close(open_file, flush=step.kind is Kind.CLOSE)
                if file.name is None:
                    return  # with its last handle a removed file is gone
        attributes = self._files.fs.known_attributes(handle.file.node)
        assert attributes.size == len(file.content)

    async def _write(self, open_file: Open, offset: int, size: int) -> None:
        content = open_file.file.content
        data = some_bytes(min(size, MAX_SIZE - offset), self._seed)
        if not data:
            return
        open_file.file.states.add(crc64([self._after_write(content, offset, data)]))
        await open_file.handle.file.write(offset, data)
        content[:] = self._after_write(content, offset, data)

    @staticmethod
    def _after_write(content: bytearray, offset: int, data: bytes) -> bytes:
        gap = bytes(max(0, offset - len(content)))
        return bytes(content[:offset]) + gap + data + bytes(content[offset + len(data) :])

    async def _truncate(self, open_file: Open, size: int) -> None:
        content = open_file.file.content
        await open_file.handle.file.truncate(size)
        del content[size:]
        content.extend(bytes(size - len(content)))
        open_file.file.note()

    async def _commit(self, open_file: Open, *, flush: bool) -> None:
        fs, file = self._files.fs, open_file.file
        await (fs.flush if flush else fs.fsync)(open_file.handle)
        if file.name is not None:
            assert self._files.stored(file.name) == bytes(file.content)
            file.states = {crc64([bytes(file.content)])}
            self._leaving.pop(file.name, None)

    async def _close(self, open_file: Open, *, flush: bool) -> None:
        self._open.remove(open_file)
        try:
            if flush:
                await self._commit(open_file, flush=True)
        finally:
            await self._files.fs.release(open_file.handle)
