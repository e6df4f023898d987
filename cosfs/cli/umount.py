"""``cosfs umount``: unmount, and return when the mount's process has uploaded what it held."""

import argparse
import os
import select
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from cosfs.cli.asking import Answer, Conversation, NotAnswered, conversation
from cosfs.cli.draining import Display, open_display
from cosfs.cli.mountpoint import detach
from cosfs.cli.mounts import MountRecord, Records, is_running, records_of
from cosfs.cli.words import names_in, printable, some_of
from cosfs.mounttable import FUSE_TYPE, find_mount, resolve
from cosfs.values import duration

FAILED: Final = 1
USAGE: Final = 2
TIMED_OUT: Final = 3
NOT_MOUNTED: Final = 4

LOOK_EVERY_S: Final = 0.2
LOOK_TIMEOUT_S: Final = 2.0


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "umount",
        help="unmount, and wait until everything is uploaded",
        allow_abbrev=False,
        epilog="Exit codes: 1 not unmounted or an upload failed, 2 usage, 3 timed out, "
        "4 nothing of cosfs is mounted there.",
    )
    parser.add_argument("mountpoint", metavar="MOUNTPOINT")
    parser.add_argument(
        "--timeout", metavar="TIME", default="10m", help="wait at most so long (10m)"
    )
    parser.add_argument(
        "--lazy",
        action="store_true",
        help="take it out of the tree now; it ends with its last user, in the background",
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(arguments: argparse.Namespace) -> int:
    """Unmount and wait. Returns the exit code."""
    try:
        timeout_s = duration(arguments.timeout)
    except ValueError as error:
        return _fail(USAGE, f"--timeout {arguments.timeout!r}: {error}")
    mountpoint = resolve(Path(arguments.mountpoint))
    mounted = find_mount(mountpoint)
    if mounted is not None and mounted.fuse_type != FUSE_TYPE:
        return _fail(NOT_MOUNTED, f"{mountpoint} is a mount of {mounted.fuse_type}, not of cosfs")
    owner = None if mounted is None else mounted.uid
    records = records_of(os.getuid() if owner is None else owner)
    record = records.find(mountpoint)
    if mounted is None and record is None:
        return _fail(NOT_MOUNTED, f"cosfs is not mounted on {mountpoint}")
    if mounted is not None:
        # What a dead process leaves is of use to nobody: not even to those who are in there.
        is_dead = record is not None and not is_running(record)
        complaint = detach(mountpoint, lazy=arguments.lazy or is_dead)
        if complaint is not None:
            return _fail(FAILED, _explain(mountpoint, complaint))
    if arguments.lazy:
        return 0
    if record is None:
        return _tell_nothing_known(mountpoint, records)
    drain = Drain(mountpoint, record, records)
    with open_display(str(mountpoint), quiet=arguments.quiet) as display:
        ended = drain.wait(display, timeout_s=timeout_s)
    return _tell_end(mountpoint, record, records) if ended else drain.tell_rest(timeout_s)


def _explain(mountpoint: Path, complaint: str) -> str:
    if "busy" in complaint.lower():
        return (
            f"{mountpoint} is in use; end what uses it (fuser -vm {mountpoint} tells), or "
            f"detach it with: cosfs umount --lazy {mountpoint}"
        )
    return f"{mountpoint} is not unmounted: {complaint}"


def _tell_nothing_known(mountpoint: Path, records: Records) -> int:
    return _fail(
        FAILED,
        f"{mountpoint} is unmounted, but its process left no word in {records.directory}: "
        "whether everything is stored is not known here; its log tells what is not",
    )


def _tell_end(mountpoint: Path, record: MountRecord, records: Records) -> int:
    last = records.find(mountpoint)
    if last is None or last.pid != record.pid:
        return 0
    records.forget(mountpoint)
    reason = last.error or "its process was killed; what it had not uploaded is lost"
    return _fail(FAILED, f"the mount on {mountpoint} did not end well: {reason}")


class Drain:
    """The wait for a mount's process, which uploads what is left."""

    def __init__(self, mountpoint: Path, record: MountRecord, records: Records) -> None:
        self._mountpoint = mountpoint
        self._record = record
        self._records = records
        self._latest: Answer | None = None

    def tell_rest(self, waited_s: float) -> int:
        """Say what the process has not done after *waited_s*. Returns the exit code."""
        left = f"process {self._record.pid} is not done"
        names = [] if self._latest is None else names_in(self._latest["dirty"])
        if names:
            left += f" with {some_of(names)}"
        return _fail(
            TIMED_OUT,
            f"{self._mountpoint} is unmounted, but {left} after {waited_s:g} s; "
            f"wait on with: cosfs umount {self._mountpoint}",
        )

    def wait(self, display: Display, *, timeout_s: float) -> bool:
        """Whether the process ended in time. *display* is told how far it is."""
        try:
            descriptor = os.pidfd_open(self._record.pid)
        except ProcessLookupError:
            return True
        try:
            # Looked at after opening: now the descriptor cannot mean a later process.
            return not is_running(self._record) or self._watch(descriptor, display, timeout_s)
        finally:
            os.close(descriptor)

    def _watch(self, descriptor: int, display: Display, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        with ExitStack() as stack:
            question = self._open(stack)
            while True:
                left_s = max(0.0, deadline - time.monotonic())
                pause_s = min(left_s, LOOK_EVERY_S if question is not None else left_s)
                if select.select([descriptor], [], [], pause_s)[0]:
                    return True
                if pause_s == left_s:
                    return False
                if question is not None and not self._look(question, display):
                    question = None

    def _open(self, stack: ExitStack) -> Conversation | None:
        place = self._records.find_socket(self._mountpoint)
        if place is None:
            return None
        patient = conversation(place, self._records.uid, timeout_s=LOOK_TIMEOUT_S)
        try:
            return stack.enter_context(patient)
        except NotAnswered:
            return None

    def _look(self, question: Conversation, display: Display) -> bool:
        """Whether the process could be asked how far it is: not at its very end."""
        try:
            self._latest = question("status")
        except NotAnswered:
            return False
        display.show(self._latest)
        return True


def _fail(code: int, message: str) -> int:
    print(f"cosfs: {printable(message)}", file=sys.stderr)
    return code
