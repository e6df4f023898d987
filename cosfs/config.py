"""What the user can choose, as frozen values, and the memory a mount takes when nobody chose.

Sizes are bytes, times seconds. options.py makes these values from what the user wrote. Secrets
are no options: see cos/credentials.py.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

DEFAULT_MEMORY: Final = 256 << 20  # 32 parts of the default size: feeds 8 uploads at once
LEAST_DEFAULT_MEMORY: Final = 32 << 20  # below it one file cannot keep its parts in flight


# Of the time to live: programs that are told of a new file look for it at once. By default that is
# one LIST a second at most.
ABSENCE_SHARE: Final = 0.2


class Addressing(StrEnum):
    """Where a request names its bucket."""

    AUTO = "auto"  # path for an IP address or localhost, else virtual
    VIRTUAL = "virtual"  # in the host name
    PATH = "path"  # as the first path segment


class Network(StrEnum):
    """Which of COS's own domains a region stands for."""

    PUBLIC = "public"
    INTERNAL = "internal"
    ACCELERATE = "accelerate"


class OnConflict(StrEnum):
    """What becomes of an edited file whose object somebody else has replaced meanwhile."""

    FAIL = "fail"  # the commit does, and leaves the other's object
    OVERWRITE = "overwrite"  # what was not edited comes from the other's object


class StatSource(StrEnum):
    """What a file's attributes are taken from."""

    FULL = "full"  # its metadata, which costs a request unless it is known already
    LIST = "list"  # its directory's listing, which knows size and time of storing alone


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfig:
    """How to reach a bucket."""

    bucket: str  # "" for GET Service alone
    region: str | None = None
    endpoint: str | None = None  # "https://host[:port]", without the bucket; wins over region
    network: Network = Network.PUBLIC
    addressing: Addressing = Addressing.AUTO
    storage_class: str | None = None
    sse: str | None = None  # "cos", "kms" or "kms:KEY-ID"
    timeout_s: float = 60.0  # one operation, all its attempts; bodies get time on top
    connect_timeout_s: float = 10.0
    connections: int = 32  # data requests in flight, and as many small ones
    ca_bundle: Path | None = None
    verify_tls: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferConfig:
    """How bytes move."""

    part_size: int = 8 << 20
    parallel: int = 8  # parts in flight for one file
    memory: int = 256 << 20  # the mount's whole budget for file contents
    read_ahead: int = 32 << 20  # the most that one reader is ahead of itself
    cache: Path | None = None  # directory for what was read, beyond memory
    cache_size: int = 20 << 30
    on_conflict: OnConflict = OnConflict.FAIL
    upload_expiry_s: float = 7 * 86400.0  # then an upload that nobody took up again is aborted
    parts_per_upload: int = 9_000  # then the object is completed, and a new upload copies from it


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeConfig:
    """How objects are shown; None: as stored, or the default for objects that store nothing."""

    uid: int | None = None
    gid: int | None = None
    umask: int | None = None  # hides these permission bits of everything
    xattrs: bool = False  # extended attributes; with them the kernel asks before each write
    metadata_ttl_s: float = 5.0
    negative_ttl_s: float | None = None  # for names that are not there; None: ABSENCE_SHARE
    stat: StatSource = StatSource.FULL

    @property
    def absence_ttl_s(self) -> float:
        own = self.negative_ttl_s
        return self.metadata_ttl_s * ABSENCE_SHARE if own is None else own


@dataclass(frozen=True, slots=True, kw_only=True)
class MountConfig:
    """One mount."""

    service: ServiceConfig
    mountpoint: Path  # as the mount table has it: absolute, without symlinks
    prefix: str = ""  # "" or a key prefix that ends with "/"; without a leading one
    transfer: TransferConfig = field(default_factory=TransferConfig)
    attributes: AttributeConfig = field(default_factory=AttributeConfig)
    credentials_file: Path | None = None
    anonymous: bool = False
    read_only: bool = False
    nonempty: bool = False  # mount over a directory that has entries
    foreground: bool = False
    fuse_options: tuple[str, ...] = ()  # handed to FUSE as they are: ro, allow_other, nosuid, …
    log_file: Path | None = None
    log_level: str = "warning"
    state_dir: Path | None = None  # for what survives a restart; None: the user's usual place

    @property
    def source(self) -> str:
        """The bucket and prefix as an address: ``cos://bucket-appid/prefix``."""
        return f"cos://{self.service.bucket}/{self.prefix}".rstrip("/")


def default_memory(root: Path = Path("/")) -> int:
    """DEFAULT_MEMORY, or a quarter of what the control group may use if that is less."""
    quarter = min(_cgroup_limits(root), default=4 * DEFAULT_MEMORY) // 4
    return max(LEAST_DEFAULT_MEMORY, min(DEFAULT_MEMORY, quarter))


def _cgroup_limits(root: Path) -> Iterator[int]:
    """Yield each limit that holds for this process: its own group's and those above it.

    A container may see its host's path in /proc while its own group is mounted as the top:
    directories that are not there are passed over, and the top is always looked at.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            top, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = Path(path.lstrip("/"))
        for directory in (group, *group.parents):
            yield from _limit_in(top / directory / name)


def _limit_in(file: Path) -> Iterator[int]:
    try:
        text = file.read_text().strip()
    except OSError:
        return
    if text.isdigit():  # "max" where there is no limit
        yield int(text)
