"""``cosfs``: find the command and run it. What a command needs is imported when it runs."""

import argparse
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from cosfs import __version__
from cosfs.cli import emulator, mount, refresh, status, umount, uploads, why
from cosfs.errors import ConfigError
from cosfs.settings import find_option

USAGE: Final = {"mount": 1}  # mount(8) says 1; the other commands say 2

_COMMANDS: Final[Mapping[str, Callable[[argparse.Namespace], int]]] = {
    "mount": mount.run,
    "umount": umount.run,
    "uploads": uploads.run,
    "status": status.run,
    "why": why.run,
    "refresh": refresh.run,
    "emulator": emulator.run,
}
_SOURCE = re.compile(r"cos://.+|[a-z0-9-]+-\d+(?:[:/].*)?")


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, without the usage that hides it."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and _SOURCE.fullmatch(words[0]):
        words.insert(0, "mount")  # the old form, which mount.fuse(8) uses for fstab's lines
    try:
        parsed = _parse(words)
    except ConfigError as error:
        print(f"cosfs: {error}", file=sys.stderr)
        return USAGE.get(words[0] if words else "", 2)
    return _COMMANDS[parsed.command](parsed)


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="cosfs",
        description="Mount Tencent Cloud COS buckets as directories.",
        epilog="cosfs COMMAND --help tells the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"cosfs {__version__}")
    subparsers = parser.add_subparsers(
        metavar="COMMAND", dest="command", required=True, parser_class=_Parser
    )
    for command in (mount, umount, status, why, refresh, uploads, emulator):
        command.add_parser(subparsers)
    parsed, rest = parser.parse_known_args(words)
    if rest:
        _refuse(parsed.command, rest)
    return parsed


def _refuse(command: str, rest: Sequence[str]) -> NoReturn:
    """Raise ConfigError for the words that no parser took: naming the first unknown option."""
    unknown = next((word for word in rest if word.startswith("-")), rest[0])
    if command == "mount" and unknown.startswith("--"):
        find_option(unknown.removeprefix("--").partition("=")[0])
    raise ConfigError(f"{unknown!r} is not understood; see cosfs {command} --help")


if __name__ == "__main__":
    sys.exit(main())
