"""Where cosfs keeps what must survive a restart, private to the user: nothing of it is a secret.

Knows no file in it: transfer/ and namespace/ name their own.
"""

import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote

SYSTEM_DIRECTORY: Final = Path("/var/lib/cosfs")  # FHS, for root: a service may have no HOME

_log = logging.getLogger(__name__)


def state_directory(chosen: Path | None, environ: Mapping[str, str], uid: int) -> Path | None:
    """The directory of *uid*'s state, made if it is missing; None if there can be none.

    *chosen* is the user's choice; else the place is that of the XDG base directories.
    """
    directory = chosen or _usual_directory(environ, uid)
    try:
        _make_private(directory)
    except OSError as error:
        _log.warning("nothing is kept for after a restart error=%s", error)
        return None
    return directory


def file_name(bucket: str, place: str, kind: str) -> str:
    """The name of a bucket's file; *place* is its region or endpoint, *kind* the suffix."""
    return f"{bucket}@{quote(place, safe='')}.{kind}"


def _usual_directory(environ: Mapping[str, str], uid: int) -> Path:
    if uid == 0:
        return SYSTEM_DIRECTORY
    home = Path(environ.get("HOME") or f"/var/tmp/cosfs-{uid}")  # noqa: S108  made private below
    chosen = Path(environ.get("XDG_STATE_HOME", ""))
    # XDG Base Directory Specification: a path that is not absolute is to be ignored.
    return (chosen if chosen.is_absolute() else home / ".local/state") / "cosfs"


def _make_private(directory: Path) -> None:
    """Make *directory*, for its owner alone. Raises OSError if it belongs to somebody else."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise PermissionError(f"{directory} is no directory of this user")
    if stat.S_IMODE(status.st_mode) & 0o077:
        _log.warning("others could look into %s; its mode is 700 from now on", directory)
        directory.chmod(0o700)
