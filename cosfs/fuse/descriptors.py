"""Which descriptors of this mount a process still holds, as /proc tells it.

FUSE reports every close, but not whether it is the last. Nothing here asks the filesystem
itself: a stat of the mount from its own process would wait for itself.
"""

from pathlib import Path


class OpenDescriptors:
    """Looks for descriptors on the mount with id *mount_id* (as in /proc/self/mountinfo)."""

    def __init__(self, mount_id: int, *, proc: Path = Path("/proc")) -> None:
        self._mount = f"mnt_id:\t{mount_id}\n"
        self._proc = proc

    def holds(self, pid: int, inode: int) -> bool:
        """Whether thread *pid* has *inode* open. False when /proc does not tell.

        The descriptor that is being closed is no longer in the table when FLUSH is sent.
        """
        wanted = f"ino:\t{inode}\n"
        try:
            for entry in (self._proc / str(pid) / "fdinfo").iterdir():
                text = _read(entry)
                if self._mount in text and wanted in text:
                    return True
        except OSError:
            return False
        return False


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""  # closed since it was listed
