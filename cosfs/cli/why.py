"""``cosfs why``: the last error of a path, in words. Works while the mount hangs."""

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

from cosfs.cli.asking import Answer, NotAnswered, ask, find_place
from cosfs.cli.words import printable

NOTHING_KNOWN: Final = 1
USAGE: Final = 2
NOT_ANSWERED: Final = 3
NOT_IN_A_MOUNT: Final = 4


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "why",
        help="tell in words why a path last failed, and what to do",
        allow_abbrev=False,
        epilog="PATH is the name that the call had; it need not exist any more. Exit codes: "
        "0 told, 1 nothing known about PATH, 2 usage, 3 the mount's process does not answer, "
        "4 PATH is in no cosfs mount.",
    )
    parser.add_argument("path", metavar="PATH")
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Ask and print. Returns the exit code."""
    shown = printable(arguments.path)
    place = find_place(Path(arguments.path))
    if place is None:
        return _fail(NOT_IN_A_MOUNT, f"{shown} is in no cosfs mount")
    try:
        trouble = ask(place, "why", path=place.path)["trouble"]
    except NotAnswered as error:
        return _fail(NOT_ANSWERED, f"the mount on {place.mountpoint}: {error}")
    if not isinstance(trouble, dict):
        return _fail(NOTHING_KNOWN, f"no error is known of {shown} under this name")
    if arguments.json:
        print(json.dumps({"mountpoint": str(place.mountpoint), **trouble}))
    else:
        print("\n".join(printable(line) for line in _words(arguments.path, trouble)))
    return 0


def _words(path: str, trouble: Answer) -> Iterator[str]:
    told = f" ({trouble['errno']})" if trouble["errno"] else "; no program could be told"
    yield f"{path}: {trouble['call']} failed{told}"
    yield f"  when:     {_when(trouble)}"
    yield f"  what:     {trouble['message']}"
    if trouble["operation"]:
        tries = f"{trouble['attempts']} attempt" + ("s" if trouble["attempts"] != 1 else "")
        yield f"  request:  {trouble['operation']} of {trouble['key']!r}, {tries}"
    if trouble["code"]:
        yield (
            f"  COS said: {trouble['status']} {trouble['code']},"
            f" request id {trouble['request_id'] or 'unknown'}"
        )
    if trouble["advice"]:
        yield f"  to do:    {trouble['advice']}"


def _when(trouble: Answer) -> str:
    when, times = _time(trouble["when"]), trouble["times"]
    if times == 1:
        return when
    return f"{when}, {times} times until {_time(trouble['latest'])}"


def _time(seconds: object) -> str:
    assert isinstance(seconds, float)
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")


def _fail(code: int, message: str) -> int:
    print(f"cosfs: {message}", file=sys.stderr)
    return code
