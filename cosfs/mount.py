"""One mount from start to end: builds its parts, owns its nursery, signals and shutdown.

Nothing is mounted before COS has answered, and ready is told only after the mount has. The end
comes by signal or by unmounting; either way every file that is being changed is committed first,
unless a second signal says not to wait.
"""

import logging
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Final

import trio

from cosfs import __version__
from cosfs.config import MountConfig
from cosfs.control import Command, Question, serve_control
from cosfs.cos.client import CosClient
from cosfs.cos.credentials import CredentialsProvider, find_credentials
from cosfs.errors import (
    AccessDenied,
    BadCredentials,
    CosError,
    CosfsError,
    DeadlineExceeded,
    MountFailed,
    MountInterrupted,
    NotFound,
    TransportError,
)
from cosfs.fs.filesystem import Filesystem
from cosfs.fs.status import status_of
from cosfs.fs.storing import Engines
from cosfs.fuse.session import FuseSession
from cosfs.namespace.attributes import AttributeCodec
from cosfs.namespace.hidden import remove_forsaken
from cosfs.namespace.known import KnownObjects, known_objects
from cosfs.namespace.tree import Namespace
from cosfs.state import state_directory
from cosfs.transfer.blocks import BlockCache
from cosfs.transfer.copy import copy_object
from cosfs.transfer.diskcache import DiskCache
from cosfs.transfer.heap import give_back
from cosfs.transfer.journal import UploadJournal, bucket_journal
from cosfs.transfer.memory import MemoryLimiter
from cosfs.transfer.unfinished import abort_expired

START_TIMEOUT_S: Final = 20.0  # for COS's first answer: people wait for it at a prompt
FIRST_STAT_TIMEOUT_S: Final = 20.0
LEAST_FORSAKEN_S: Final = 86400.0  # another mount's programs may have removed files open for long
FORSAKEN_LIMIT_S: Final = 2.0  # mounting waits no longer for it; the rest is a later mount's
STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

logger = logging.getLogger(__name__)


async def run_mount(
    config: MountConfig, ready: Callable[[], None], *, control: Path | None = None
) -> None:
    """Mount, call *ready* once the mount answers, return when it has ended with nothing undone.

    Its control socket is at *control*. Raises CosfsError: the first cause, never a group.
    """
    try:
        await _run(config, ready, control)
    except BaseExceptionGroup as group:
        raise _first_cause(group) from group


def _first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first exception that is no group; of several, one that is not of our own making."""
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup):
        bugs = [error for error in leaf.exceptions if not isinstance(error, CosfsError)]
        leaf = (bugs or leaf.exceptions)[0]
    return leaf


async def _run(config: MountConfig, ready: Callable[[], None], control: Path | None) -> None:
    credentials = find_credentials(
        config.credentials_file, os.environ, config.service.bucket, anonymous=config.anonymous
    )
    await _check_bucket(config, credentials)
    state = state_directory(config.state_dir, os.environ, os.getuid())
    with (
        bucket_journal(state, config.service) as journal,
        known_objects(state, config.service) as known,
    ):
        async with (
            CosClient(config.service, credentials) as client,
            trio.open_nursery() as nursery,
        ):
            session = FuseSession(config)
            namespace = _build_namespace(config, client, journal, known)
            namespace.ask_ahead(nursery)
            async with trio.open_nursery() as starting:
                starting.start_soon(namespace.load_root)
                if not config.read_only:
                    starting.start_soon(_remove_forsaken, config, client)
            engines = _build_engines(config, client, journal, namespace, nursery)
            filesystem = Filesystem(
                engines, still_held=session.still_held, invalidate=session.invalidate
            )
            nursery.start_soon(_expire_uploads, config, client, journal)
            if control is not None:
                commands = _commands(config, engines, filesystem, session)
                nursery.start_soon(serve_control, control, commands)
            nursery.start_soon(known.keep_writing)
            nursery.start_soon(give_back, engines.memory)
            await _serve(session, filesystem, config.mountpoint, ready)
            nursery.cancel_scope.cancel()


async def _expire_uploads(config: MountConfig, client: CosClient, journal: UploadJournal) -> None:
    try:
        await abort_expired(
            client, journal, older_than_s=config.transfer.upload_expiry_s, prefix=config.prefix
        )
    except (CosfsError, sqlite3.Error) as error:
        logger.warning("old uploads not aborted error=%s", error)


async def _remove_forsaken(config: MountConfig, client: CosClient) -> None:
    """While the root is asked for: a moment later it would cost a request at an odd time."""
    age_s = max(config.transfer.upload_expiry_s, LEAST_FORSAKEN_S)
    try:
        with trio.move_on_after(FORSAKEN_LIMIT_S):
            await remove_forsaken(client, prefix=config.prefix, older_than_s=age_s)
    except CosfsError as error:
        logger.info("forsaken files not removed error=%s", error)


def _build_namespace(
    config: MountConfig, client: CosClient, journal: UploadJournal, known: KnownObjects
) -> Namespace:
    return Namespace(
        client,
        AttributeCodec(config.attributes, implicit_time_ns=time.time_ns()),
        prefix=config.prefix,
        config=config.attributes,
        copy=partial(copy_object, client, journal),
        known=known,
    )


def _build_engines(
    config: MountConfig,
    client: CosClient,
    journal: UploadJournal,
    namespace: Namespace,
    nursery: trio.Nursery,
) -> Engines:
    memory = MemoryLimiter(config.transfer.memory, client.patience)
    return Engines(
        client=client,
        namespace=namespace,
        memory=memory,
        blocks=BlockCache(client, memory, nursery, _disk_cache(config)),
        journal=journal,
        config=config.transfer,
        nursery=nursery,
    )


def _commands(
    config: MountConfig, engines: Engines, filesystem: Filesystem, session: FuseSession
) -> dict[str, Command]:
    """What can be asked through the control socket."""
    began = time.time()

    async def status(_question: Question) -> Mapping[str, object]:
        mount = {
            "source": config.source,
            "mountpoint": str(config.mountpoint),
            "pid": os.getpid(),
            "version": __version__,
            "began": began,
        }
        return mount | asdict(status_of(filesystem, engines))

    async def why(question: Question) -> Mapping[str, object]:
        trouble = filesystem.files.trouble_of(str(question.get("path", "")))
        return {"trouble": None if trouble is None else asdict(trouble)}

    async def refresh(question: Question) -> Mapping[str, object]:
        names = str(question.get("path", "")).split("/")
        session.invalidate(filesystem.refresh([name for name in names if name]))
        return {}

    return {"status": status, "why": why, "refresh": refresh}


def _disk_cache(config: MountConfig) -> DiskCache | None:
    """Raises ConfigError if the directory cannot be used."""
    transfer, service = config.transfer, config.service
    if transfer.cache is None:
        return None
    source = f"{service.endpoint or service.region}/{service.bucket}"
    return DiskCache(transfer.cache, limit=transfer.cache_size, source=source)


async def _check_bucket(config: MountConfig, credentials: CredentialsProvider) -> None:
    """Ask COS for one name of the prefix: what a key with rights on that prefix alone may ask.

    Raises MountFailed saying which of address, bucket, key and rights is wrong.
    """
    timeout_s = min(START_TIMEOUT_S, config.service.timeout_s)
    impatient = replace(config.service, timeout_s=timeout_s)
    try:
        async with CosClient(impatient, credentials) as client:
            await client.list_objects(prefix=config.prefix, max_keys=1)
    except CosError as error:
        raise MountFailed(_explain(error, config)) from error


def _explain(error: CosError, config: MountConfig) -> str:
    """One line: what is wrong and what to look at."""
    bucket = config.service.bucket
    place = config.service.endpoint or config.service.region
    match error:
        case BadCredentials():
            return (
                f"COS refuses the key: {error}; check the secret id, the secret key and the clock"
            )
        case NotFound():  # NoSuchBucket, or whatever a proxy in between says
            return f"there is no bucket {bucket} at {place}; check its name and region"
        case AccessDenied():
            return f"no right to list {config.source}: {error}; grant cos:GetBucket on it"
        case TransportError() | DeadlineExceeded():
            reason = _root_reason(error)
            return f"cannot reach {place}: {reason}; check region, endpoint and network"
        case _:
            return f"cannot list {config.source}: {error}"


def _root_reason(error: BaseException) -> str:
    """What the system said: "Connection refused" and not that all of one attempts failed."""
    while isinstance(error, BaseExceptionGroup) or error.__cause__ is not None:
        below = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
        assert below is not None
        error = below
    return (isinstance(error, OSError) and error.strerror) or str(error)


async def _serve(
    session: FuseSession, filesystem: Filesystem, mountpoint: Path, ready: Callable[[], None]
) -> None:
    """Answer the kernel until the end is asked for, then commit what is open."""
    patience = trio.CancelScope()
    # Before mounting: a signal that came in between would leave a dead mount behind.
    with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
        session.mount(filesystem)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_obey_signals, signals, session, patience)
                nursery.start_soon(_announce, session, mountpoint, ready)
                with patience:
                    await session.serve()  # until requests under way are answered as well
                    await _drain(filesystem, mountpoint)
                if patience.cancelled_caught:
                    raise MountInterrupted(_interrupted(filesystem))
                nursery.cancel_scope.cancel()
        finally:
            session.close()


async def _drain(filesystem: Filesystem, mountpoint: Path) -> None:
    """Commit what is open. Raises FilesLost."""
    logger.info("mount ends mountpoint=%s unstored=%d", mountpoint, len(filesystem.files.unstored))
    began = time.monotonic()
    try:
        await filesystem.close()
    finally:
        seconds = time.monotonic() - began
        lost = len(filesystem.files.lost) + len(filesystem.files.unstored)
        logger.info("mount ended mountpoint=%s lost=%d seconds=%.1f", mountpoint, lost, seconds)


def _interrupted(filesystem: Filesystem) -> str:
    paths = filesystem.files.unstored
    shown = ", ".join(repr(path) for path in paths[:3])
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    lost = f", which are lost: {shown}{more}" if paths else ""
    removals = filesystem.namespace.removals.count
    left = f"; COS may still have {removals} removed or renamed files" if removals else ""
    return f"ended before its uploads were finished{lost}{left}"


async def _obey_signals(
    signals: AsyncIterator[int], session: FuseSession, patience: trio.CancelScope
) -> None:
    """The first signal ends the service of requests, the second ends the wait for uploads."""
    number = await anext(signals)
    logger.info("mount stops signal=%s", signal.Signals(number).name)
    session.stop()
    await anext(signals)
    patience.cancel()


async def _announce(session: FuseSession, mountpoint: Path, ready: Callable[[], None]) -> None:
    """Call *ready* once the mount answers. Raises MountFailed when it does not."""
    try:
        # In a thread: the answer comes from this very event loop.
        with trio.fail_after(FIRST_STAT_TIMEOUT_S):
            await trio.to_thread.run_sync(mountpoint.stat, abandon_on_cancel=True)
    except (OSError, trio.TooSlowError) as error:
        raise MountFailed(f"{mountpoint} is mounted but does not answer: {error}") from error
    session.answers()
    ready()
