"""The control socket of a running mount: its owner's questions, answered beside the service.

A question is a line with a JSON object, ``{"cosfs": 1, "command": NAME}`` and what the command
takes; so is its answer, ``{"cosfs": 1, "answer": {…}}`` or ``{"cosfs": 1, "error": "why not"}``.
A connection may ask again. What can be asked is given; no answer may hold a secret.

Invariants: only the mount's user and root are heard; nobody who asks can hold the mount up or
make it keep more than a line; what fails here fails one answer.
"""

import contextlib
import json
import logging
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import trio

PROTOCOL: Final = 1  # another number as soon as an older command line could not read an answer
LONGEST_QUESTION: Final = 64 << 10  # bytes; a path has at most 4096, each six in JSON
MOST_ASKING: Final = 16  # connections at once; others wait in the backlog
PATIENCE_S: Final = 60.0  # for the next question, and for an answer to be taken
_ACCEPT_PAUSE_S: Final = 1.0  # when there is no descriptor left for a connection

Question = Mapping[str, object]
Command = Callable[[Question], Awaitable[Mapping[str, object]]]
"""Answers a question; raises ValueError saying what is wrong with it."""

_log = logging.getLogger(__name__)


async def serve_control(place: Path, commands: Mapping[str, Command]) -> None:
    """Answer at the socket *place* until cancelled; a mount without one is still a mount."""
    try:
        listening = _listen(place)
    except OSError as error:
        _log.warning("control socket missing place=%s error=%s", place, error)
        return
    try:
        with listening:
            await _accept(listening, commands)
    finally:
        with contextlib.suppress(OSError):
            os.unlink(place)


def _listen(place: Path) -> trio.socket.SocketType:
    """A socket at *place*, which nobody but this user can reach. Raises OSError."""
    directory = os.open(place.parent, os.O_PATH | os.O_DIRECTORY)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listening.fileno(), 0o600)  # Linux gives the name the socket's mode
        # Not by its whole path: a socket's address has room for 107 bytes.
        listening.bind(f"/proc/self/fd/{directory}/{place.name}")
        listening.listen(MOST_ASKING)
    except BaseException:
        listening.close()
        raise
    finally:
        os.close(directory)
    return trio.socket.from_stdlib_socket(listening)


async def _accept(listening: trio.socket.SocketType, commands: Mapping[str, Command]) -> None:
    slots = trio.Semaphore(MOST_ASKING)
    async with trio.open_nursery() as nursery:
        while True:
            await slots.acquire()
            try:
                connection, _ = await listening.accept()
            except OSError as error:
                _log.warning("control socket busy error=%s", error)
                slots.release()
                await trio.sleep(_ACCEPT_PAUSE_S)
                continue
            nursery.start_soon(_converse, trio.SocketStream(connection), commands, slots)


async def _converse(
    stream: trio.SocketStream, commands: Mapping[str, Command], slots: trio.Semaphore
) -> None:
    """Answer what comes through *stream* until it ends, errs or falls silent."""
    try:
        async with stream:
            if not _may_ask(stream):
                return
            unread = bytearray()
            while (line := await _next_line(stream, unread)) is not None:
                answer = await _answer(line, commands)
                with trio.fail_after(PATIENCE_S):
                    await stream.send_all(answer)
    except (trio.BrokenResourceError, trio.TooSlowError) as error:
        _log.debug("control connection ended error=%r", error)
    finally:
        slots.release()


def _may_ask(stream: trio.SocketStream) -> bool:
    """Whether who connected is this process's user or root."""
    credentials = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", credentials)
    if uid in (0, os.geteuid()):
        return True
    _log.warning("control question refused uid=%d", uid)
    return False


async def _next_line(stream: trio.SocketStream, unread: bytearray) -> bytes | None:
    """The next question; None at the end of the stream, or when it is longer than any question."""
    with trio.fail_after(PATIENCE_S):
        while b"\n" not in unread:
            chunk = await stream.receive_some(4096)
            if not chunk or len(unread) > LONGEST_QUESTION:
                return None
            unread += chunk
    line, _, rest = bytes(unread).partition(b"\n")
    unread[:] = rest
    return line


async def _answer(line: bytes, commands: Mapping[str, Command]) -> bytes:
    try:
        reply: Mapping[str, object] = {"answer": await _obey(line, commands)}
        text = json.dumps({"cosfs": PROTOCOL, **reply})
    except ValueError as error:
        text = json.dumps({"cosfs": PROTOCOL, "error": str(error)})
    except Exception as error:  # noqa: BLE001 - a bug in a command is its answer, not the mount's end
        _log.error("control command broke", exc_info=error)
        text = json.dumps({"cosfs": PROTOCOL, "error": "internal error; the log says more"})
    return text.encode("ascii") + b"\n"


async def _obey(line: bytes, commands: Mapping[str, Command]) -> Mapping[str, object]:
    try:
        question = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("the question is no JSON") from error
    if not isinstance(question, dict) or question.get("cosfs") != PROTOCOL:
        raise ValueError(f"this mount understands version {PROTOCOL} of the questions only")
    command = commands.get(str(question.get("command")))
    if command is None:
        raise ValueError(f"this mount knows no command {question.get('command')!r}")
    return await command(question)
