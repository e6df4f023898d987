"""Measure cosfs beside s3fs, rclone, plain httpx transfers and the local disk.

Everybody does the same, in turn, in every round; what counts are ratios of medians. Cold reads
take objects that no mount has seen before. Times include close; rclone, which closes a file before
it is stored, is timed until the bucket has it. All data is checked, outside the times.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Final

from bench_http import MIB, small_body
from bench_processes import Service
from bench_report import report_of, show
from bench_runner import (
    ELSEWHERE,
    SCENES,
    SYSTEMS,
    Wanted,
    chosen_tasks,
    measure,
    unique_prefix,
)
from bench_systems import Setup
from bench_tasks import Sizes, small_names

NORMAL: Final = Sizes(file=256 * MIB, files=300, entries=5000, reads=200, limit_s=60)
QUICK: Final = Sizes(file=16 * MIB, files=10, entries=50, reads=10, limit_s=20)


def main() -> int:
    arguments = parse()
    sizes = QUICK if arguments.quick else NORMAL
    changed = {
        "file": arguments.size and arguments.size * MIB,
        "files": arguments.files,
        "entries": arguments.entries,
        "limit_s": arguments.limit,
    }
    sizes = replace(sizes, **{name: value for name, value in changed.items() if value})
    if sizes.file < 16 * MIB:
        print("bench: --size must be 16 or more", file=sys.stderr)
        return 2
    wanted = Wanted(
        tasks=chosen_tasks(arguments.only),
        systems=arguments.system or SYSTEMS,
        scenes=[s for s in SCENES if not arguments.scene or s.name in arguments.scene],
        given=None,
    )
    if arguments.endpoint:
        wanted = replace(wanted, scenes=[ELSEWHERE], given=given_service(arguments))
    else:
        os.environ |= {"COS_SECRET_ID": "AKIDbenchmark", "COS_SECRET_KEY": "benchmark"}
    with tempfile.TemporaryDirectory(prefix="cosfs-bench-") as directory:
        rounds = arguments.rounds or (1 if arguments.quick else 3)
        setup = prepare(Path(directory), sizes, rounds)
        report = report_of(list(measure(wanted, setup)), setup)
    show(report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if arguments.picture:
        from bench_picture import draw  # matplotlib is installed for those who want a picture

        draw(report, arguments.picture)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: a trial")
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="tasks with this in their name"
    )
    parser.add_argument("--system", action="append", choices=SYSTEMS)
    parser.add_argument("--scene", action="append", choices=[scene.name for scene in SCENES])
    parser.add_argument("--rounds", type=int, help="3")
    parser.add_argument("--size", type=int, metavar="MIB", help="of the large file (256)")
    parser.add_argument("--files", type=int, help="small files (300)")
    parser.add_argument("--entries", type=int, help="of the directory that is listed (5000)")
    parser.add_argument("--limit", type=float, metavar="SECONDS", help="for one measurement (60)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="as .png or .svg")
    parser.add_argument(
        "--endpoint",
        metavar="URL",
        help="this server, not the emulator; keys from COS_SECRET_ID and COS_SECRET_KEY",
    )
    parser.add_argument("--bucket", help="there; a directory of its own is made and removed")
    return parser.parse_args()


def given_service(arguments: argparse.Namespace) -> Service:
    if not arguments.bucket or not {"COS_SECRET_ID", "COS_SECRET_KEY"} <= os.environ.keys():
        sys.exit("bench: --endpoint needs --bucket, COS_SECRET_ID and COS_SECRET_KEY")
    endpoint = arguments.endpoint.rstrip("/")
    return Service(
        endpoint=endpoint,
        side=endpoint,
        bucket=arguments.bucket,
        prefix=unique_prefix(),
        local=False,
    )


def prepare(work: Path, sizes: Sizes, rounds: int) -> Setup:
    """The file and the tree that are copied."""
    source, tree = work / "source", work / "tree"
    content = os.urandom(sizes.file)
    source.write_bytes(content)
    tree.mkdir()
    for number, name in enumerate(small_names(sizes.files)):
        (tree / name).write_bytes(small_body(memoryview(content), number))
    return Setup(
        work=work,
        source=source,
        tree=tree,
        content=memoryview(content),
        sizes=sizes,
        rounds=rounds,
    )


def interrupt(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001  # as signal calls it
    """End as on Ctrl-C, which unmounts."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, interrupt)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # what a shell says of SIGINT
