"""``cosfs mount``: read the options, check the place, mount, say so. Exit codes are mount(8)'s."""

import argparse
import gc
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from cosfs.cli.arguments import OPTIONS_METAVAR, CollectSettings, add_options
from cosfs.cli.background import Ready, run_in_background
from cosfs.cli.logs import set_up_logging
from cosfs.cli.mountpoint import prepare
from cosfs.cli.mounts import Records, records_of
from cosfs.config import MountConfig
from cosfs.cos.endpoint import bucket_endpoint
from cosfs.errors import (
    ConfigError,
    CosfsError,
    FuseMissing,
    MountDenied,
    MountInterrupted,
)
from cosfs.mounttable import resolve
from cosfs.settings import configure
from cosfs.values import format_size

USAGE: Final = 1
SYSTEM_ERROR: Final = 2
INTERNAL_ERROR: Final = 4
INTERRUPTED: Final = 8
FAILED: Final = 32

logger = logging.getLogger(__name__)


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command and its options, which are those of cosfs.options."""
    parser = subparsers.add_parser(
        "mount",
        help="mount a bucket as a directory",
        allow_abbrev=False,
        usage="cosfs mount SOURCE MOUNTPOINT [-o NAME[=VALUE],...] [options]",
        epilog="Each option is also a name for -o: --part-size 16M is -o part_size=16M.",
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("source", metavar="SOURCE", help="BUCKET-APPID[/PREFIX], or with cos://")
    parser.add_argument("mountpoint", metavar="MOUNTPOINT", help="an empty directory")
    parser.add_argument(
        "-o", metavar=OPTIONS_METAVAR, action=CollectSettings, help="options, by comma"
    )
    add_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Mount; in the background unless told otherwise. Returns the exit code."""
    try:
        config = _configure(arguments)
        bucket_endpoint(config.service)
        prepare(config)
    except CosfsError as error:
        print(f"cosfs: {error}", file=sys.stderr)
        return exit_code(error)
    if config.foreground:
        return _run_in_foreground(config)
    return run_in_background(partial(_serve, config))


def exit_code(error: CosfsError) -> int:
    """What mount(8) has for *error*."""
    match error:
        case ConfigError() | MountDenied():
            return USAGE
        case FuseMissing():
            return SYSTEM_ERROR
        case MountInterrupted():
            return INTERRUPTED
        case _:
            return FAILED


def _configure(arguments: argparse.Namespace) -> MountConfig:
    config = configure(
        arguments.source, arguments.mountpoint, arguments.settings, environ=os.environ
    )
    return replace(config, mountpoint=resolve(config.mountpoint))


def _run_in_foreground(config: MountConfig) -> int:
    code, message = _serve(config, lambda line: print(line, flush=True))
    if message:
        print(f"cosfs: {message}", file=sys.stderr)
    return code


def _serve(config: MountConfig, ready: Ready) -> tuple[int, str]:
    """Serve the mount until it ends; the Serve of background.py."""
    records = records_of(os.getuid())

    def announce() -> None:
        try:
            records.start(config.mountpoint)
        except OSError as error:
            logger.warning("mount record failed error=%s", error)
        ready(_describe(config))

    try:
        set_up_logging(config)
        _run(config, announce, _control_socket(records, config.mountpoint))
    except CosfsError as error:
        code, message = exit_code(error), str(error)
    except KeyboardInterrupt:
        code, message = INTERRUPTED, "interrupted"
    except Exception as error:
        logger.exception("mount crashed mountpoint=%s", config.mountpoint)
        code, message = INTERNAL_ERROR, f"internal error: {error!r}"
    else:
        code, message = 0, ""
    records.end(config.mountpoint, message or None)
    return code, message


def _control_socket(records: Records, mountpoint: Path) -> Path | None:
    try:
        return records.socket(mountpoint)
    except OSError as error:
        logger.warning("control socket missing error=%s", error)
        return None


def _run(config: MountConfig, announce: Callable[[], None], control: Path | None) -> None:
    import trio

    from cosfs.mount import run_mount

    # Modules stay for good; looking through them each time is most of a full collection's cost
    # (in a first `ls -l` of 5000 names: 265 -> 83 ms of CPU).
    gc.freeze()
    trio.run(partial(run_mount, config, announce, control=control))


def _describe(config: MountConfig) -> str:
    mode = "ro" if config.read_only else "rw"
    place = config.service.endpoint or config.service.region
    memory = format_size(config.transfer.memory)
    line = f"mounted {config.source} on {config.mountpoint} ({mode}, {place}, {memory} memory)"
    return line.encode(errors="backslashreplace").decode()  # a path may be no UTF-8
