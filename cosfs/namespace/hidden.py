"""Objects below ``.cosfs-removed/``: what is stored of open files that have lost their name.

The mount that made one deletes it with the last close. Those of a mount that was killed are left
to later mounts, which cannot tell whether anybody reads them: they go by their age.
"""

import logging
import re
import secrets
import time
from typing import Final

from cosfs.cos.client import CosClient
from cosfs.namespace.attributes import NS_PER_S

HIDDEN_DIRECTORY: Final = ".cosfs-removed"  # below the mount's root
_RANDOM_BYTES: Final = 16
_MADE_HERE: Final = re.compile(f"[0-9a-f]{{{2 * _RANDOM_BYTES}}}")

log = logging.getLogger(__name__)


def new_hidden_path() -> str:
    """A path below the mount's root that nothing has."""
    return f"{HIDDEN_DIRECTORY}/{secrets.token_hex(_RANDOM_BYTES)}"


async def remove_forsaken(client: CosClient, *, prefix: str, older_than_s: float) -> None:
    """Delete what was hidden so long ago in mounts whose root is *prefix*. Raises CosError."""
    top = f"{prefix}{HIDDEN_DIRECTORY}/"
    horizon_ns = time.time_ns() - int(older_than_s * NS_PER_S)
    marker: str | None = ""
    while marker is not None:
        page = await client.list_objects(prefix=top, marker=marker)
        old = [
            listed.key
            for listed in page.objects
            if listed.modified_ns < horizon_ns and _MADE_HERE.fullmatch(listed.key[len(top) :])
        ]
        failures = await client.delete_objects(old)
        if old:
            log.info("forsaken files removed keys=%d failed=%d", len(old), len(failures))
        marker = page.next_marker
