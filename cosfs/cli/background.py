"""Leave the terminal: the child serves, the parent waits for its word and takes its exit code.

Forks before any thread or event loop is there, so that nothing is left half-copied.
"""

import os
import select
import signal
import sys
from collections.abc import Callable

_START_TIMEOUT_S = 60.0  # the start check has 20 s, mounting and its first stat less

Ready = Callable[[str], None]
"""Tell that the mount answers, with the line to print. Called once at most."""

Serve = Callable[[Ready], tuple[int, str]]
"""Serve until the end; returns the exit code and, when that is not 0, one line saying why."""


def run_in_background(serve: Serve) -> int:
    """Run *serve* in a child; return 0 once it is ready, else the code it ended with."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    child = os.fork()
    if child:
        os.close(writing)
        return _await_child(child, reading)
    os.close(reading)
    code = 4
    try:
        code = _serve_detached(serve, writing)
    finally:
        os._exit(code)  # the parent's exit handlers and buffers are not ours to run


def _serve_detached(serve: Serve, writing: int) -> int:
    os.setsid()

    def ready(line: str) -> None:
        os.write(writing, f"0 {line}".encode())
        os.close(writing)
        _leave_terminal()
        told.append(line)

    told: list[str] = []
    code, message = serve(ready)
    if not told:
        os.write(writing, f"{code} {message}".encode(errors="backslashreplace"))
    return code


def _leave_terminal() -> None:
    os.chdir("/")  # only now: credentials may be named by a relative path
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _await_child(child: int, reading: int) -> int:
    try:
        word = _read_word(reading)
    except KeyboardInterrupt:
        os.kill(child, signal.SIGTERM)
        os.waitpid(child, 0)
        print("cosfs: interrupted", file=sys.stderr)
        return 8
    if word is None:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        print(f"cosfs: no mount after {_START_TIMEOUT_S:g} s", file=sys.stderr)
        return 32
    code, _, message = word.partition(" ")
    if not code:
        _, status = os.waitpid(child, 0)
        print(f"cosfs: the mount's process died ({_how(status)})", file=sys.stderr)
        return 4
    if code == "0":
        print(message)
    else:
        print(f"cosfs: {message}", file=sys.stderr)
    return int(code)


def _read_word(reading: int) -> str | None:
    """All that the child says; "" when it died silently, None when it says nothing in time."""
    word = b""
    while True:
        if not select.select([reading], [], [], _START_TIMEOUT_S)[0]:
            return None
        chunk = os.read(reading, 4096)
        if not chunk:
            return word.decode(errors="replace")
        word += chunk


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"signal {-code}" if code < 0 else f"exit code {code}"
