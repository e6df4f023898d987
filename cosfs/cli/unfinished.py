"""What the commands of ``cosfs uploads`` do. Imported when one runs: it needs the client."""

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import trio

from cosfs.config import MountConfig
from cosfs.cos.client import CosClient
from cosfs.cos.credentials import find_credentials
from cosfs.cos.model import Key
from cosfs.errors import ConfigError, CosError, UploadConflict
from cosfs.state import state_directory
from cosfs.transfer.journal import UploadJournal, bucket_journal
from cosfs.transfer.unfinished import (
    FileFinisher,
    UnfinishedUpload,
    abort_upload,
    unfinished_uploads,
)
from cosfs.transfer.upload import __name__ as upload_log
from cosfs.values import duration

_SECONDS_PER_DAY: Final = 86400
_FAILED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bucket:
    """What a command works on."""

    config: MountConfig
    client: CosClient
    journal: UploadJournal


_Command = Callable[[argparse.Namespace, _Bucket], Awaitable[int]]


def execute(config: MountConfig, arguments: argparse.Namespace) -> int:
    """Do what was asked for. Returns the exit code; raises CosfsError, OSError."""
    commands: dict[str, _Command] = {"list": _list, "resume": _resume, "abort": _abort}
    return trio.run(_with_bucket, config, partial(commands[arguments.action], arguments))


async def _with_bucket(config: MountConfig, command: Callable[[_Bucket], Awaitable[int]]) -> int:
    credentials = find_credentials(
        config.credentials_file, os.environ, config.service.bucket, anonymous=config.anonymous
    )
    state = state_directory(config.state_dir, os.environ, os.getuid())
    with bucket_journal(state, config.service) as journal:
        async with CosClient(config.service, credentials) as client:
            return await command(_Bucket(config=config, client=client, journal=journal))


async def _list(arguments: argparse.Namespace, bucket: _Bucket) -> int:
    uploads = await unfinished_uploads(bucket.client, bucket.journal, prefix=bucket.config.prefix)
    if arguments.json:
        print(json.dumps([_described(upload) for upload in uploads], indent=2))
    elif uploads:
        _print_table(uploads)
    else:
        print("no unfinished uploads")
    return 0


def _described(upload: UnfinishedUpload) -> dict[str, object]:
    begun = datetime.fromtimestamp(upload.pending.initiated_ns // 10**9, UTC)
    return {
        "key": upload.pending.key,
        "id": upload.pending.upload_id,
        "begun": begun.isoformat().replace("+00:00", "Z"),
        "age_s": round(_age_s(upload)),
        "parts": upload.parts,
        "bytes": upload.size,
        "storage_class": upload.pending.storage_class,
        "owner": _owner(upload),
    }


def _owner(upload: UnfinishedUpload) -> str:
    """Whose it is: *running* is being written now, *interrupted* can be resumed."""
    if upload.journaled is None:
        return "foreign"
    return "running" if upload.journaled.is_alive else "interrupted"


def _age_s(upload: UnfinishedUpload) -> float:
    return max(0.0, time.time() - upload.pending.initiated_ns / 1e9)


def _print_table(uploads: Iterable[UnfinishedUpload]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for title in ("KEY", "SENT", "PARTS", "AGE", "OWNER", "ID"):
        table.add_column(title, no_wrap=True, justify="right" if title in "SENT PARTS" else "left")
    for upload in uploads:
        table.add_row(
            Text(_printable(upload.pending.key)),
            f"{upload.size / (1 << 20):.1f} MiB",
            str(upload.parts),
            _format_age(_age_s(upload)),
            _owner(upload),
            upload.pending.upload_id,
        )
    # As wide as it gets: an id that is cut off is of no use.
    Console(width=10_000, highlight=False).print(table)


def _format_age(seconds: float) -> str:
    if seconds < 3600:
        return f"{seconds / 60:.0f}m"
    if seconds < 2 * _SECONDS_PER_DAY:
        return f"{seconds / 3600:.0f}h"
    return f"{seconds / _SECONDS_PER_DAY:.0f}d"


def _printable(key: str) -> str:
    """A key may hold what would move a terminal's cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in key)


async def _resume(arguments: argparse.Namespace, bucket: _Bucket) -> int:
    key = Key(bucket.config.prefix + arguments.key)
    size = arguments.file.stat().st_size
    upload = bucket.journal.claim(key)
    if upload is None or upload.key != key:
        running = any(known.key == key for known in bucket.journal.uploads())
        raise UploadConflict(
            f"{key!r} is being uploaded by another process"
            if running
            else f"this machine has no interrupted upload of {key!r}; cosfs uploads list shows all"
        )
    # The log says what is printed below, and what is raised.
    logging.getLogger(upload_log).addHandler(logging.NullHandler())
    finisher = FileFinisher(bucket.client, bucket.journal, bucket.config.transfer, upload)
    with _progress(arguments.file.name, size) as advance:
        await finisher.finish(arguments.file, advance)
    print(f"resumed: {finisher.resumed} of {finisher.parts} parts were already there")
    return 0


@contextmanager
def _progress(name: str, size: int) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal, else nothing."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TransferSpeedColumn

    console = Console(stderr=True)
    columns = ("{task.description}", BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(_printable(name), total=size)
        yield lambda done: bar.update(task, completed=done)


async def _abort(arguments: argparse.Namespace, bucket: _Bucket) -> int:
    uploads = await unfinished_uploads(bucket.client, bucket.journal, prefix=bucket.config.prefix)
    if arguments.id is not None:
        wanted = [upload for upload in uploads if upload.pending.upload_id == arguments.id]
        if not wanted:
            raise UploadConflict(f"there is no upload {arguments.id} below {bucket.config.source}")
    else:
        least_s = _duration(arguments.older_than)
        wanted = [upload for upload in uploads if _age_s(upload) >= least_s]
    failures = 0
    for upload in wanted:
        if arguments.all or bucket.journal.claim_upload(upload.pending.upload_id) is not None:
            failures += not await _aborted(upload, bucket)
        elif arguments.id is not None:
            reason = "was begun elsewhere" if upload.journaled is None else "is being worked on"
            raise UploadConflict(f"upload {arguments.id} {reason}; add --all to abort it still")
    return _FAILED if failures else 0


def _duration(text: str) -> float:
    try:
        return duration(text)
    except ValueError as error:
        raise ConfigError(f"--older-than {text!r}: {error}") from error


async def _aborted(upload: UnfinishedUpload, bucket: _Bucket) -> bool:
    key, upload_id = upload.pending.key, upload.pending.upload_id
    try:
        await abort_upload(bucket.client, bucket.journal, key, upload_id)
    except (CosError, UploadConflict) as error:
        print(f"cosfs: {error}", file=sys.stderr)
        return False
    print(f"aborted {_printable(key)} {upload_id}")
    return True
