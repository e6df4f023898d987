"""The FUSE session: mount, serve, unmount. pyfuse3 allows one in a process."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pyfuse3

from cosfs.config import MountConfig
from cosfs.errors import MountFailed
from cosfs.fs.filesystem import Filesystem
from cosfs.fuse.descriptors import OpenDescriptors
from cosfs.fuse.device import Device, aborts_taken_as_end, is_of_interest
from cosfs.fuse.operations import Operations
from cosfs.fuse.pacing import WritePacer
from cosfs.fuse.view import KernelView
from cosfs.fuse.xattrs import XattrOperations
from cosfs.mounttable import MountedAt, find_mount
from cosfs.namespace.inodes import Node

_log = logging.getLogger(__name__)

# Each parked worker holds a receive buffer of 1 MiB; writers that wait for memory park theirs.
_MAX_WORKERS: Final = 128
_KEPT_WORKERS: Final = 8  # idle; beside 64 writers, 5 % faster than to make one anew each time
_READ_AHEAD_KIB: Final = 1024  # the kernel's own: 128 KiB reads 0.42 -> 2.9 GB/s


class FuseSession:
    """Serves a Filesystem at a mountpoint until it is unmounted or ``stop`` is called."""

    def __init__(self, config: MountConfig) -> None:
        self._config = config
        self._descriptors: OpenDescriptors | None = None
        self._queue = Device()
        self._device: str | None = None  # the mount's, as the kernel's table has it
        self._running = False
        self._view: KernelView | None = None

    def still_held(self, pid: int, inode: int) -> bool:
        """Whether thread *pid* has *inode* open through another descriptor."""
        return self._descriptors is not None and self._descriptors.holds(pid, inode)

    def mount(self, filesystem: Filesystem) -> None:
        """Mount; requests queue up in the kernel until ``serve``. Raises MountFailed."""
        mountpoint = self._config.mountpoint
        with_xattrs = self._config.attributes.xattrs
        kind = XattrOperations if with_xattrs else Operations
        pacer = WritePacer(
            has_request=self._queue.has_request,
            waiting=lambda: filesystem.waiting_for_memory,
        )
        self._view = view = KernelView(filesystem)
        operations = kind(filesystem, view, pacer, timeout_s=self._config.service.timeout_s)
        logging.getLogger(pyfuse3.__name__).addFilter(is_of_interest)
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
        with self._queue.polled(), aborts_taken_as_end():
            await pyfuse3.main(min_tasks=_KEPT_WORKERS, max_tasks=_MAX_WORKERS)

    def invalidate(self, nodes: Sequence[Node]) -> None:
        """Have the kernel ask again for what it knows of *nodes*. Does not yield."""
        if self._running and self._view is not None:
            self._view.invalidate(nodes)

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
