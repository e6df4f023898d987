"""What has been sent of a file that is being written, and the bytes of its first part.

A part cannot be read back before its upload is complete. But many programs write a file's header
last (zip, mp4, ar), so the first part's bytes are kept while memory allows: rewriting them sends
that one part again, where anything else means completing the object and copying from it.
"""

from collections.abc import Coroutine

from cosfs.config import TransferConfig
from cosfs.cos.client import CosClient
from cosfs.cos.model import StoredObject
from cosfs.fs.buffer import Buffer
from cosfs.transfer.journal import UploadJournal
from cosfs.transfer.memory import MemoryLimiter
from cosfs.transfer.parts import (
    Buffered,
    Piece,
    SendPart,
    next_part_size,
    plan_parts,
)
from cosfs.transfer.upload import UploadSession, UploadTarget


class FileUpload:
    """The upload of one file's content, from its first full part to its completion.

    ``[0, kept)`` of the file can still be read and rewritten here; *kept* is the first part's
    size, or 0. Ends with ``end``, whatever happened before.
    """

    def __init__(
        self,
        client: CosClient,
        memory: MemoryLimiter,
        journal: UploadJournal,
        target: UploadTarget,
        config: TransferConfig,
    ) -> None:
        """An upload that *journal* has of this file, or of an rsync of it, is taken up again."""
        self._config = config
        self._memory = memory
        earlier = journal.claim(target.key)
        self._sizes = {} if earlier is None else earlier.sizes
        self._session = UploadSession(
            client, memory, journal, target, parallel=config.parallel, earlier=earlier
        )
        self.part_size = self._next_part_size()
        self._first: Buffer | None = None
        self._first_is_new = False

    def __repr__(self) -> str:
        return f"<FileUpload kept={self.kept} {self._session}>"

    def run(self) -> Coroutine[object, object, None]:
        """A task that sends what comes, until ``complete`` or ``end``; it never raises."""
        return self._session.run()

    @property
    def target(self) -> UploadTarget:
        return self._session.target

    @property
    def error(self) -> Exception | None:
        return self._session.error

    @property
    def stored(self) -> int:
        return self._session.stored

    @property
    def parts(self) -> int:
        return self._session.submitted

    @property
    def is_long(self) -> bool:
        """Whether it nears COS's number of parts, so that it should be completed soon."""
        return self.parts >= self._config.parts_per_upload

    @property
    def kept(self) -> int:
        return 0 if self._first is None else self._first.size

    def send(self, pieces: list[Piece], *, last: bool) -> None:
        """Let *pieces* be the next parts. Does not yield."""
        for part in plan_parts(pieces, part_size=self.part_size, last=last):
            if self.parts == 0 and isinstance(part, SendPart):
                self._keep(part)
            self._session.submit(part)
        self.part_size = self._next_part_size()

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the kept part."""
        assert self._first is not None
        return self._first.read(offset, size)

    def rewrite(self, offset: int, data: bytes) -> None:
        """Change bytes of the kept part, which is then sent again. Does not yield."""
        assert self._first is not None
        self._first.overwrite(offset, data)
        self._first_is_new = True

    async def complete(self, *, forbid_overwrite: bool) -> StoredObject:
        """Make the object. Raises UploadFailed; the object at the key is then the old one."""
        if self._first is not None and self._first_is_new:
            chunks = self._first.chunks()
            self._session.replace_first(SendPart([Buffered(chunks, self._first.size)]))
        return await self._session.complete(forbid_overwrite=forbid_overwrite)

    async def end(self) -> None:
        """Abort what is not complete and let go of the memory."""
        await self._session.abort()
        self._memory.release_kept(self.kept)
        self._first = None

    def _next_part_size(self) -> int:
        return next_part_size(self._config, self.parts, earlier=self._sizes)

    def _keep(self, part: SendPart) -> None:
        chunks: list[bytes] = []
        for piece in part.pieces:
            if not isinstance(piece, Buffered):
                return
            chunks.extend(piece.chunks)
        if self._memory.try_keep(part.size):
            self._first = Buffer(chunks)
