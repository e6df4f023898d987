"""``cosfs status``: what the mounts of this user are doing. Works while their server is away."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cosfs.cli.asking import (
    Answer,
    NotAnswered,
    Place,
    ask,
    conversation,
    find_place,
)
from cosfs.cli.mounts import records_of
from cosfs.cli.words import number, printable, size_of, span_of
from cosfs.mounttable import FUSE_TYPE, mounts

USAGE: Final = 2
NOT_ANSWERED: Final = 3
NOT_MOUNTED: Final = 4
_SHOWN_FILES: Final = 20


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "status",
        help="show what mounts are doing",
        allow_abbrev=False,
        epilog="Exit codes: 0 shown, 2 usage, 3 a mount's process does not answer, "
        "4 nothing of cosfs is mounted there.",
    )
    parser.add_argument(
        "mountpoint", metavar="MOUNTPOINT", nargs="?", help="all mounts of this user without it"
    )
    parser.add_argument("--json", action="store_true", help="as a JSON list of objects")


def run(arguments: argparse.Namespace) -> int:
    """Ask and print. Returns the exit code."""
    if arguments.mountpoint is None:
        found = list(_all())
    else:
        place = find_place(Path(arguments.mountpoint))
        if place is None:
            print(
                f"cosfs: {printable(arguments.mountpoint)} is in no cosfs mount", file=sys.stderr
            )
            return NOT_MOUNTED
        found = [_answer_of(place)]
    if arguments.json:
        print(json.dumps(found, indent=2))
    elif not found:
        print("no cosfs mounts")
    else:
        print("\n\n".join("\n".join(map(printable, _words(each))) for each in found))
    return NOT_ANSWERED if any("problem" in each for each in found) else 0


def _all() -> Iterator[Answer]:
    """The answer of every mount: of those that answer, and of those that only the table knows."""
    uid = os.getuid()
    told = set()
    for socket in records_of(uid).sockets():
        try:
            with conversation(socket, uid) as question:
                answer = question("status")
        except NotAnswered:
            continue  # if it is mounted at all, the table has it
        told.add(answer["mountpoint"])
        yield answer
    for mounted in mounts():
        path = str(mounted.mountpoint)
        if mounted.fuse_type == FUSE_TYPE and mounted.uid == uid and path not in told:
            yield _answer_of(Place(mountpoint=mounted.mountpoint, path="", uid=uid))


def _answer_of(place: Place) -> Answer:
    """What its process says, or why it says nothing."""
    try:
        return ask(place, "status")
    except NotAnswered as error:
        return {"mountpoint": str(place.mountpoint), "problem": str(error)}


def _words(mount: Answer) -> Iterator[str]:
    if "problem" in mount:
        yield f"{mount['mountpoint']}: {mount['problem']}"
        return
    used, limit = size_of(mount["memory_used"]), size_of(mount["memory_limit"])
    yield f"{mount['source']} on {mount['mountpoint']}"
    yield (
        f"  process:  {mount['pid']}, cosfs {mount['version']},"
        f" up {span_of(time.time() - number(mount['began']))}"
    )
    yield f"  memory:   {used} of {limit}"
    yield (
        f"  files:    {mount['files_open']} open, {mount['files_dirty']} not stored yet"
        f" ({size_of(mount['bytes_left'])} to send)"
    )
    yield f"  requests: {_counts(mount['requests'])}"
    yield f"  service:  {_health(mount['health'])}"
    if mount["attributes_waiting"]:
        yield f"  changed attributes of {mount['attributes_waiting']} files are not stored yet"
    if mount["removals"]:
        yield f"  {mount['removals']} removed or renamed files are still to be deleted"
    if mount["failed_calls"]:
        yield f"  errors:   {mount['failed_calls']} calls failed; cosfs why PATH tells the reason"
    yield from _files(mount)
    yield from _lost(mount)


def _files(mount: Answer) -> Iterator[str]:
    dirty = mount["dirty"]
    assert isinstance(dirty, list)
    for file in dirty[:_SHOWN_FILES]:
        state = f"lost: {file['error']}" if file["error"] else "stored so far"
        yield f"    {file['path']}: {size_of(file['stored'])} of {size_of(file['size'])} {state}"
    if number(mount["files_dirty"]) > _SHOWN_FILES:
        yield f"    and {number(mount['files_dirty']) - _SHOWN_FILES:g} more"


def _lost(mount: Answer) -> Iterator[str]:
    lost = mount["lost"]
    assert isinstance(lost, dict)
    for path, reason in lost.items():
        yield f"  lost:     {path}: {reason}"


def _health(health: object) -> str:
    assert isinstance(health, dict)
    if health["state"] == "answering":
        return f"{health['url']} answers"
    silent_s = time.time() - number(health["since"])
    return f"{health['url']} has not answered for {span_of(silent_s)}: {health['last_error']}"


def _counts(requests: object) -> str:
    assert isinstance(requests, dict)
    return ", ".join(f"{count} {kind}" for kind, count in requests.items()) + " in flight"
