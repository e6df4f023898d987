"""What went wrong last for each path: kept to be told in words, as an errno says too little.

Knows the paths as they were when it happened: a rename takes nothing along. Bounded.
"""

import time
from dataclasses import dataclass, replace
from typing import Final

from cachetools import LRUCache

from cosfs import errors
from cosfs.fs.advice import advice_for, cos_error_in, reason_of, service_error_in
from cosfs.namespace.inodes import Node

MOST_PATHS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Why a path's last failing call failed. *errno* is empty where no call could be told."""

    path: str = ""  # below the mountpoint
    call: str = ""
    errno: str = ""
    when: float  # seconds since the epoch
    latest: float  # when the same happened again
    times: int = 1
    error: str  # the class of what COS or cosfs said
    message: str
    advice: str
    operation: str = ""  # COS's name of the request
    key: str = ""
    status: int | None = None
    code: str = ""
    request_id: str = ""
    attempts: int = 0


class Troubles:
    """The last trouble of each of the paths that had one lately."""

    def __init__(self) -> None:
        self._by_path: LRUCache[str, Trouble] = LRUCache(MOST_PATHS)
        self.count = 0  # since the mount began

    def note(self, path: str, call: str, error: BaseException, errno: str = "") -> None:
        """Remember what *call* on *path* failed with, unless that is everyday life."""
        if not _is_trouble(error):
            return
        self.count += 1
        trouble = replace(_described(error), path=path, call=call, errno=errno)
        known = self._by_path.get(path)
        if known is not None and _same(known, trouble):
            # A file that has lost data says so in each of its calls: the first is of interest.
            trouble = replace(
                known, times=known.times + 1, latest=trouble.when, errno=known.errno or errno
            )
        self._by_path[path] = trouble

    def find(self, path: str) -> Trouble | None:
        return self._by_path.get(path)


def _same(one: Trouble, other: Trouble) -> bool:
    return (one.message, one.request_id) == (other.message, other.request_id)


def path_of(node: Node) -> str:
    """The path below the mountpoint, without a slash before it; the last one it had."""
    names: list[str] = []
    step = node
    while step.parent is not None:
        names.append(step.name)
        step = step.parent
    return "/".join(reversed(names))


def _is_trouble(error: BaseException) -> bool:
    """Whether anybody will ask: not for rules that a filesystem has and every program knows."""
    if isinstance(error, errors.StaleFile | errors.MetadataFull | errors.FileTooLarge):
        return True
    return not isinstance(error, errors.FilesystemError)


def _described(error: BaseException) -> Trouble:
    reason, request, answer = reason_of(error), cos_error_in(error), service_error_in(error)
    now = time.time()
    trouble = Trouble(
        when=now,
        latest=now,
        error=type(reason).__name__,
        message=reason.detail if isinstance(reason, errors.CosError) else str(reason),
        advice=advice_for(error),
    )
    if request is not None:
        attempts = max(request.attempts, 0 if answer is None else answer.attempts)
        trouble = replace(trouble, operation=request.operation, key=request.key, attempts=attempts)
    if answer is not None:
        trouble = replace(
            trouble, status=answer.status, code=answer.code, request_id=answer.request_id
        )
    return trouble
