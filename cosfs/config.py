"""What the user can choose, as frozen values, and the one parser that makes them.

Sizes are bytes, times seconds. Secrets are no options: see cos/credentials.py.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path


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
    connections: int = 32  # data requests in flight
    ca_bundle: Path | None = None
    verify_tls: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferConfig:
    """How bytes move."""

    part_size: int = 8 << 20
    parallel: int = 8  # parts in flight for one file
    memory: int = 256 << 20  # the mount's whole budget for file contents
    read_ahead: int = 32 << 20  # the most that one reader is ahead of itself


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeConfig:
    """How objects are shown; None means as stored, or the default for objects that store nothing."""

    uid: int | None = None
    gid: int | None = None
    umask: int | None = None  # hides these permission bits of everything
    metadata_ttl_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MountConfig:
    """One mount."""

    service: ServiceConfig
    mountpoint: Path
    prefix: str = ""  # "" or a key prefix that ends with "/"
    transfer: TransferConfig = field(default_factory=TransferConfig)
    attributes: AttributeConfig = field(default_factory=AttributeConfig)
    credentials_file: Path | None = None
    anonymous: bool = False
    read_only: bool = False
    foreground: bool = False
    fuse_options: tuple[str, ...] = ()  # handed to the kernel as they are: allow_other, nosuid, …
    log_file: Path | None = None
    log_level: str = "warning"
