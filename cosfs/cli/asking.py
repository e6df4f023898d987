"""Asking a running mount through its control socket. See control.py for the protocol.

The mount itself, which may hang, is never touched: a mountpoint is found in the kernel's table.
"""

import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cosfs.cli.mounts import Records, is_running, records_of
from cosfs.mounttable import find_mount, locate

PROTOCOL: Final = 1
ANSWER_TIMEOUT_S: Final = 5.0  # what only looks needs no more, whatever COS does
_LONGEST_ANSWER: Final = 16 << 20

Answer = dict[str, object]


class NotAnswered(Exception):
    """The mount's process gave no answer; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a path is: in the mount at *mountpoint*, *path* below it; *uid* is who mounted."""

    mountpoint: Path
    path: str
    uid: int

    @property
    def records(self) -> Records:
        return records_of(self.uid)


def find_place(path: Path) -> Place | None:
    """The cosfs mount that holds *path*; also one that is not in the tree any more, but runs."""
    mountpoint, below = locate(path)
    mounted = find_mount(mountpoint)
    if mounted is not None and mounted.uid is not None:
        return Place(mountpoint=mountpoint, path=_text(below), uid=mounted.uid)
    records = records_of(os.getuid())
    for parent in (mountpoint, *mountpoint.parents):
        record = records.find(parent)
        if record is not None and is_running(record):
            below = mountpoint.relative_to(parent)
            return Place(mountpoint=parent, path=_text(below), uid=records.uid)
    return None


def ask(place: Place, command: str, **arguments: str) -> Answer:
    """One question to the mount at *place*. Raises NotAnswered."""
    if os.getuid() not in (0, place.uid):
        raise NotAnswered(f"only root and who mounted it (uid {place.uid}) may ask its process")
    record = place.records.find(place.mountpoint)
    if record is not None and not is_running(record):
        raise NotAnswered(
            f"its process was killed; clear it with: cosfs umount {place.mountpoint}"
        )
    found = place.records.find_socket(place.mountpoint)
    if found is None:
        raise NotAnswered(
            f"its process left no word where it can be asked ({place.records.directory})"
        )
    with conversation(found, place.uid) as question:
        return question(command, **arguments)


class Conversation:
    """A connection to a mount's process, for any number of questions."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def __call__(self, command: str, **arguments: str) -> Answer:
        """Ask. Raises NotAnswered; the conversation is over then."""
        question = json.dumps({"cosfs": PROTOCOL, "command": command, **arguments})
        try:
            self._connection.sendall(question.encode("ascii") + b"\n")
            line = self._read_line()
        except OSError as error:
            raise NotAnswered(f"its process does not answer: {error}") from error
        return _understood(line)

    def _read_line(self) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n"):
            chunk = self._connection.recv(1 << 16)
            if not chunk or len(line) > _LONGEST_ANSWER:
                raise NotAnswered("its process is ending")
            line += chunk
        return bytes(line)


@contextmanager
def conversation(
    place: Path, uid: int, *, timeout_s: float = ANSWER_TIMEOUT_S
) -> Iterator[Conversation]:
    """Connect to the socket *place* of a process of *uid*. Raises NotAnswered."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            directory = os.open(place.parent, os.O_PATH | os.O_DIRECTORY)
            try:
                # Not by its whole path: a socket's address has room for 107 bytes.
                connection.connect(f"/proc/self/fd/{directory}/{place.name}")
            finally:
                os.close(directory)
        except OSError as error:
            raise NotAnswered(f"its process does not answer: {error.strerror}") from error
        if _peer_uid(connection) != uid:
            raise NotAnswered("its socket belongs to somebody else")
        yield Conversation(connection)


def _understood(line: bytes) -> Answer:
    try:
        reply = json.loads(line)
    except ValueError as error:
        raise NotAnswered("its answer is no JSON") from error
    answer = reply.get("answer") if isinstance(reply, dict) else None
    if not isinstance(answer, dict):
        reason = reply.get("error") if isinstance(reply, dict) else "nothing of sense"
        raise NotAnswered(f"its process says: {reason}")
    return answer


def _peer_uid(connection: socket.socket) -> int:
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
    )
    _pid, uid, _gid = struct.unpack("3i", credentials)
    return int(uid)


def _text(below: Path) -> str:
    """A path as the mount knows it: names of other bytes than UTF-8 are none of its files."""
    text = os.fsencode(below).decode(errors="backslashreplace")
    return "" if text == "." else text
