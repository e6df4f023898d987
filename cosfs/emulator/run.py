"""From settings to a serving emulator: builds everything, owns its log file and its signals."""

import ctypes
import signal
import ssl
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

import trio

from cosfs.emulator.api import Access, Api, Pace
from cosfs.emulator.bodies import DiskBodies, MemoryBodies
from cosfs.emulator.buckets import check_bucket_name
from cosfs.emulator.faults import Faults, parse_fault
from cosfs.emulator.index import open_index
from cosfs.emulator.requestlog import RequestLog
from cosfs.emulator.server import listen, port_of, serve
from cosfs.emulator.service import Service
from cosfs.emulator.signature import Account
from cosfs.emulator.store import Store

_M_TRIM_THRESHOLD: Final = -1  # malloc.h
_M_MMAP_THRESHOLD: Final = -3  # malloc.h
_MMAP_THRESHOLD: Final = 32 << 20  # glibc's maximum; received buffers are up to 1 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run. *root* None keeps everything in memory; *log* None writes lines to stderr."""

    root: Path | None
    host: str
    port: int
    buckets: Sequence[str]
    secret_id: str
    secret_key: str
    token: str | None = None  # the account is a temporary one, and this is needed too
    anonymous: bool = False
    tls: tuple[Path, Path | None] | None = None  # certificate and key, PEM
    faults: Sequence[str] = ()
    seed: int = 0
    latency_s: float = 0.0
    bandwidth: float | None = None  # bytes a second, each request
    admin: bool = False
    md5: bool = True
    clock_offset_s: float = 0.0
    listing_lag_s: float = 0.0
    log: Path | None = None
    quiet: bool = False


def serve_until_signal(settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM. *ready* is told the URL when connections are accepted.

    Raises FaultSyntaxError or Refusal for settings that make no sense, OSError from the system.
    """
    keep_freed_memory()
    tls = None
    if settings.tls is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*settings.tls)
    faults = Faults(seed=settings.seed)
    faults.set([parse_fault(line) for line in settings.faults])
    with ExitStack() as stack:
        service = Service(
            store=_open_store(settings, stack),
            clock=lambda: time.time() + settings.clock_offset_s,
            md5=settings.md5,
            listing_lag_s=settings.listing_lag_s,
        )
        api = Api(
            service,
            _access(settings),
            faults=faults,
            log=RequestLog(_line_writer(settings, stack)),
            pace=Pace(latency_s=settings.latency_s, bandwidth=settings.bandwidth),
            admin=settings.admin,
        )
        trio.run(_serve_until_signal, api, settings, tls, ready)


def keep_freed_memory() -> None:
    """Have glibc reuse the bodies' memory, not return it to the kernel and fault it in again.

    8 MiB PUTs over objects that were deleted went from 0.64 to 1.5 GB/s by this.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
        mallopt(_M_TRIM_THRESHOLD, -1)  # never


def _open_store(settings: Settings, stack: ExitStack) -> Store:
    if settings.root is None:
        store = Store(open_index(None), MemoryBodies())
    else:
        bodies = DiskBodies(settings.root / "bodies")
        store = Store(open_index(settings.root / "index.sqlite"), bodies)
    stack.callback(store.close)
    for bucket in settings.buckets:
        check_bucket_name(bucket)
        if not store.has_bucket(bucket):
            store.make_bucket(bucket, now=time.time())
    return store


def _access(settings: Settings) -> Access:
    account = Account(
        secret_id=settings.secret_id, secret_key=settings.secret_key, token=settings.token
    )
    return Access(accounts={account.secret_id: account}, anonymous=settings.anonymous)


def _line_writer(settings: Settings, stack: ExitStack) -> Callable[[str], None] | None:
    if settings.quiet:
        return None
    stream: TextIO = sys.stderr
    if settings.log is not None:
        stream = stack.enter_context(settings.log.open("a", buffering=1, encoding="utf-8"))
    return lambda line: print(line, file=stream, flush=True)  # the log is output


async def _serve_until_signal(
    api: Api, settings: Settings, tls: ssl.SSLContext | None, ready: Callable[[str], None]
) -> None:
    try:
        listeners = await listen(settings.host, settings.port)
    except OSError as error:
        place = f"{settings.host}:{settings.port}"
        raise OSError(f"cannot listen on {place}: {error.strerror}") from error
    scheme = "http" if tls is None else "https"
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, api, listeners, tls)
            ready(f"{scheme}://{settings.host}:{port_of(listeners)}")
            await anext(signals)
            nursery.cancel_scope.cancel()
