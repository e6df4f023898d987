"""``cosfs uploads``: unfinished multipart uploads of a bucket: list, resume, abort.

Only uploads that this machine began and nobody works on are touched, unless --all says otherwise.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

from cosfs.cli.arguments import add_options
from cosfs.cos.endpoint import bucket_endpoint
from cosfs.errors import ConfigError, CosfsError
from cosfs.options import CREDENTIALS, OPTIONS, SERVICE, TRANSFER
from cosfs.settings import configure

FAILED: Final = 1
USAGE: Final = 2


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its own commands."""
    parser = subparsers.add_parser("uploads", help="list, resume or abort unfinished uploads")
    commands = parser.add_subparsers(metavar="COMMAND", dest="action", required=True)
    listing = commands.add_parser("list", help="show unfinished uploads", allow_abbrev=False)
    _add_source(listing)
    listing.add_argument("--json", action="store_true", help="for programs")
    resuming = commands.add_parser(
        "resume", help="finish an upload from a local file", allow_abbrev=False
    )
    _add_source(resuming)
    resuming.add_argument("key", metavar="KEY", help="the object's key, below SOURCE")
    resuming.add_argument("file", metavar="FILE", type=Path, help="the file that was copied")
    aborting = commands.add_parser("abort", help="give uploads up", allow_abbrev=False)
    _add_source(aborting)
    which = aborting.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", metavar="ID", help="this one")
    which.add_argument("--older-than", metavar="TIME", help="those begun so long ago, such as 7d")
    aborting.add_argument(
        "--all", action="store_true", help="also those that others began or are working on"
    )


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SOURCE", help="BUCKET-APPID[/PREFIX], or with cos://")
    wanted = (SERVICE, TRANSFER, CREDENTIALS)
    add_options(parser, (o for o in OPTIONS if o.group in wanted or o.name == "state-dir"))


def run(arguments: argparse.Namespace) -> int:
    """Do what was asked for. Returns the exit code."""
    from cosfs.cli.unfinished import execute

    try:
        config = configure(arguments.source, "/", arguments.settings, environ=os.environ)
        bucket_endpoint(config.service)
        return execute(config, arguments)
    except ConfigError as error:
        return _fail(USAGE, str(error))
    except (CosfsError, OSError) as error:
        return _fail(FAILED, str(error))
    except KeyboardInterrupt:
        return _fail(FAILED, "interrupted; what was sent stays, and resume goes on with it")


def _fail(code: int, message: str) -> int:
    print(f"cosfs: {message}", file=sys.stderr)
    return code
