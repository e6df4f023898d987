"""``cosfs refresh``: have a mount ask anew for what it knows of a path."""

import argparse
import sys
from pathlib import Path
from typing import Final

from cosfs.cli.asking import NotAnswered, ask, find_place
from cosfs.cli.words import printable

NOT_ANSWERED: Final = 3
NOT_IN_A_MOUNT: Final = 4


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser(
        "refresh",
        help="see at once what others have changed at a path and below",
        allow_abbrev=False,
        epilog="Exit codes: 0 done, 2 usage, 3 the mount's process does not answer, 4 PATH is in "
        "no cosfs mount.",
    )
    parser.add_argument("path", metavar="PATH")


def run(arguments: argparse.Namespace) -> int:
    """Ask. Returns the exit code."""
    place = find_place(Path(arguments.path))
    if place is None:
        return _fail(NOT_IN_A_MOUNT, f"{printable(arguments.path)} is in no cosfs mount")
    try:
        ask(place, "refresh", path=place.path)
    except NotAnswered as error:
        return _fail(NOT_ANSWERED, f"the mount on {place.mountpoint}: {error}")
    return 0


def _fail(code: int, message: str) -> int:
    print(f"cosfs: {message}", file=sys.stderr)
    return code
