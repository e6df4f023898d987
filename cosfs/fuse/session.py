"""The FUSE session: mount, serve, unmount. pyfuse3 allows one in a process."""

import contextlib
import logging
import select
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pyfuse3
import trio

from cosfs.config import MountConfig
from cosfs.errors import MountFailed
from cosfs.fs.filesystem import Filesystem
from cosfs.fuse.descriptors import OpenDescriptors
from cosfs.fuse.operations import Operations
from cosfs.fuse.xattrs import XattrOperations
from cosfs.mounttable import MountedAt, find_mount
from cosfs.namespace.inodes import Node

_log = logging.getLogger(__name__)

# Each parked worker holds a receive buffer of 1 MiB; writers that wait for memory park theirs.
_MAX_WORKERS: Final = 128
_READ_AHEAD_KIB: Final = 1024  # the kernel's own: 128 KiB reads 0.42 -> 2.9 GB/s
_WAIT_NAME: Final = "_wait_fuse_readable"
_MOST_IN_A_ROW: Final = 8  # requests; then the loop looks at its sockets again
_SPINS: Final = 100  # about 50 µs, what going to sleep and being woken would cost


class FuseSession:
    """Serves a Filesystem at a mountpoint until it is unmounted or ``stop`` is called."""

    def __init__(self, config: MountConfig) -> None:
        self._config = config
        self._descriptors: OpenDescriptors | None = None
        self._device: str | None = None  # the mount's, as the kernel's table has it
        self._running = False
        self._operations: Operations | None = None

    def still_held(self, pid: int, inode: int) -> bool:
        """Whether thread *pid* has *inode* open through another descriptor."""
        return self._descriptors is not None and self._descriptors.holds(pid, inode)

    def mount(self, filesystem: Filesystem) -> None:
        """Mount; requests queue up in the kernel until ``serve``. Raises MountFailed."""
        mountpoint = self._config.mountpoint
        with_xattrs = self._config.attributes.xattrs
        kind = XattrOperations if with_xattrs else Operations
        operations = kind(filesystem, timeout_s=self._config.service.timeout_s)
        self._operations = operations
        try:
            pyfuse3.init(operations, str(mountpoint), self._options())
        except RuntimeError as error:
            raise MountFailed(
                f"cannot mount on {mountpoint}: {error}; is FUSE allowed here (/dev/fuse,"
                " fusermount3, user_allow_other in /etc/fuse.conf)?"
            ) from error
        self._running = True
        place = find_mount(mountpoint)
        if place is not None:
            self._device = place.device
            self._descriptors = OpenDescriptors(place.mount_id)

    def answers(self) -> None:
        """The mount has answered its first request. Does not yield."""
        # Not before: when a mount begins to answer, the kernel sets its own value.
        place = find_mount(self._config.mountpoint)
        if place is not None:
            _set_read_ahead(place)

    async def serve(self) -> None:
        """Answer requests until the mount is gone or ``stop`` is called."""
        with _spinning():
            await pyfuse3.main(max_tasks=_MAX_WORKERS)

    def invalidate(self, nodes: Sequence[Node]) -> None:
        """Have the kernel ask again for what it knows of *nodes*. Does not yield."""
        if self._running and self._operations is not None:
            self._operations.invalidate(nodes)

    def stop(self) -> None:
        """Let ``serve`` return. Does not yield."""
        if self._running:
            pyfuse3.terminate()

    def close(self) -> None:
        """Unmount, if the mount is still there: not what was mounted since where it was."""
        if self._running:
            self._running = False
            place = find_mount(self._config.mountpoint)
            pyfuse3.close(unmount=place is not None and place.device == self._device)

    def _options(self) -> set[str]:
        config = self._config
        # pyfuse3 takes ASCII only, and a comma would end the option.
        source = quote(f"cos://{config.service.bucket}/{config.prefix}", safe=":/")
        options = {f"fsname={source}", "subtype=cosfs", "default_permissions"}
        if config.read_only:
            options.add("ro")
        return options | set(config.fuse_options)


def _set_read_ahead(place: MountedAt) -> None:
    setting = Path(f"/sys/class/bdi/{place.device}/read_ahead_kb")
    try:
        setting.write_text(str(_READ_AHEAD_KIB), encoding="ascii")
    except OSError as error:
        _log.info("read-ahead of the kernel stays small error=%s", error)  # only root may


@contextlib.contextmanager
def _spinning() -> Iterator[None]:
    """Poll the FUSE device before the event loop is asked to wait for it.

    A request that finds the loop asleep pays about 45 µs for the sleep and the wake. And the loop
    hands out one request a round: a stat behind the writes of 64 programs waits for 64 rounds.
    pyfuse3 has no switch for it, but looks this private function up in its module at every call;
    a version that has it not is left alone.
    """
    wait: Callable[[], Awaitable[bool]] | None = getattr(pyfuse3, _WAIT_NAME, None)
    device = _fuse_descriptor()
    if wait is None or device is None:
        yield
        return
    poller = select.poll()
    poller.register(device, select.POLLIN)
    in_a_row = 0

    async def poll_and_wait() -> bool:
        nonlocal in_a_row
        await trio.lowlevel.checkpoint()  # first whoever else can go on
        if in_a_row < _MOST_IN_A_ROW and _polled(poller):
            in_a_row += 1
            return True
        in_a_row = 0
        # The device blocks: reading it when the request has gone meanwhile, to another worker or
        # with the program that made it, would stop the whole loop until the next one.
        while await wait():
            if poller.poll(0):
                return True
        return False

    setattr(pyfuse3, _WAIT_NAME, poll_and_wait)
    try:
        yield
    finally:
        setattr(pyfuse3, _WAIT_NAME, wait)


def _polled(poller: select.poll) -> bool:
    """Whether a request comes within the next 50 µs."""
    return any(poller.poll(0) for _ in range(_SPINS))


def _fuse_descriptor() -> int | None:
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            if link.readlink() == Path("/dev/fuse"):
                return int(link.name)
    return None
