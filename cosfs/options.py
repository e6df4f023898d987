"""The one table of options: name, help, environment, and where the value goes.

``-o name=value`` and ``--name value`` are the same row. Names of Tencent's C++ cosfs are taken
where they mean the same. settings.py applies the rows; cli/ prints them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from cosfs import values
from cosfs.config import (
    Addressing,
    AttributeConfig,
    MountConfig,
    Network,
    OnConflict,
    ServiceConfig,
    StatSource,
    TransferConfig,
)
from cosfs.cos.model import MAX_PART_SIZE, MIN_PART_SIZE

_LONGEST_TTL_S: Final = 30 * 86400
LEAST_MEMORY: Final = 16 << 20  # two parts of the default size: one is sent while one fills
_LOG_LEVELS: Final = ("debug", "info", "warning", "error")
_OLD_LOG_LEVELS: Final = {
    "crit": "error",
    "err": "error",
    "warn": "warning",
    "info": "info",
    "dbg": "debug",
}

# What libfuse 3 takes and cosfs has no opinion about.
_FUSE_OPTIONS: Final = (
    *("allow-root", "default-permissions", "dev", "exec"),
    *("noatime", "nodev", "noexec", "nosuid", "suid"),
)

Apply = Callable[[MountConfig, str], MountConfig]
"""Returns the configuration with the text put in. Raises ValueError saying what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """A row of the table. *metavar* "" marks a switch, whose text is "1" or "0"."""

    name: str
    apply: Apply
    metavar: str = ""
    help: str = ""  # "" hides a name that is only taken for compatibility
    group: str = ""
    environment: tuple[str, ...] = ()
    short: str = ""
    aliases: tuple[str, ...] = ()


def _service(change: Callable[[ServiceConfig, str], ServiceConfig]) -> Apply:
    return lambda old, text: replace(old, service=change(old.service, text))


def _transfer(change: Callable[[TransferConfig, str], TransferConfig]) -> Apply:
    return lambda old, text: replace(old, transfer=change(old.transfer, text))


def _attributes(change: Callable[[AttributeConfig, str], AttributeConfig]) -> Apply:
    return lambda old, text: replace(old, attributes=change(old.attributes, text))


def _part_size_in_mb(old: TransferConfig, text: str) -> TransferConfig:
    return replace(
        old, part_size=values.size_between(f"{text}M", least=MIN_PART_SIZE, most=MAX_PART_SIZE)
    )


def _pass_to_fuse(name: str) -> Apply:
    """The switch *name*, which libfuse spells with "_"."""

    def apply(old: MountConfig, text: str) -> MountConfig:
        others = tuple(option for option in old.fuse_options if option != name)
        return replace(old, fuse_options=(*others, name) if values.switch(text) else others)

    return apply


def _read_only(config: MountConfig, *, on: bool) -> MountConfig:
    return replace(_pass_to_fuse("ro")(config, "1" if on else "0"), read_only=on)


SERVICE: Final = "service"
TRANSFER: Final = "transfer and memory"
ATTRIBUTES: Final = "what files look like"
CREDENTIALS: Final = "credentials"
MOUNTING: Final = "mounting"

OPTIONS: Final[tuple[Option, ...]] = (
    Option(
        name="region",
        metavar="REGION",
        help="the bucket's region, such as ap-guangzhou",
        group=SERVICE,
        environment=("COS_REGION", "TENCENTCLOUD_REGION"),
        apply=_service(lambda old, text: replace(old, region=text)),
    ),
    Option(
        name="endpoint",
        metavar="URL",
        help="http(s)://HOST[:PORT] to ask instead of the region's own domain",
        group=SERVICE,
        environment=("COS_ENDPOINT",),
        aliases=("url", "host"),
        apply=_service(lambda old, text: replace(old, endpoint=text)),
    ),
    Option(
        name="network",
        metavar="WHICH",
        help="public, internal (inside Tencent Cloud) or accelerate",
        group=SERVICE,
        apply=_service(lambda old, text: replace(old, network=values.choice(text, Network))),
    ),
    Option(
        name="addressing",
        metavar="STYLE",
        help="where requests name the bucket: auto, virtual or path",
        group=SERVICE,
        apply=_service(lambda old, text: replace(old, addressing=values.choice(text, Addressing))),
    ),
    Option(
        name="storage-class",
        metavar="CLASS",
        help="class of new objects, such as STANDARD_IA",
        group=SERVICE,
        apply=_service(lambda old, text: replace(old, storage_class=text.upper())),
    ),
    Option(
        name="sse",
        metavar="HOW",
        help="encryption at rest: cos, kms or kms:KEY-ID",
        group=SERVICE,
        apply=_service(lambda old, text: replace(old, sse=values.encryption(text))),
    ),
    Option(
        name="timeout",
        metavar="TIME",
        help="give an operation up after so long, retries included (60s; more for large bodies)",
        group=SERVICE,
        apply=_service(
            lambda old, text: replace(
                old, timeout_s=values.seconds_between(text, least=1, most=86400)
            )
        ),
    ),
    Option(
        name="connect-timeout",
        metavar="TIME",
        help="give a connection attempt up after so long (10s)",
        group=SERVICE,
        apply=_service(
            lambda old, text: replace(
                old, connect_timeout_s=values.seconds_between(text, least=0.1, most=300)
            )
        ),
    ),
    Option(
        name="connections",
        metavar="N",
        help="data requests in flight (32)",
        group=SERVICE,
        apply=_service(
            lambda old, text: replace(old, connections=values.count(text, least=1, most=512))
        ),
    ),
    Option(
        name="ca-bundle",
        metavar="FILE",
        help="certificate authorities to trust, PEM",
        group=SERVICE,
        apply=_service(lambda old, text: replace(old, ca_bundle=values.file(text))),
    ),
    Option(
        name="no-verify-tls",
        help="do not check the server's certificate",
        group=SERVICE,
        aliases=("no-check-certificate",),
        apply=_service(lambda old, text: replace(old, verify_tls=not values.switch(text))),
    ),
    Option(
        name="part-size",
        metavar="SIZE",
        help="bytes in a part of a large upload (8M)",
        group=TRANSFER,
        apply=_transfer(
            lambda old, text: replace(
                old, part_size=values.size_between(text, least=MIN_PART_SIZE, most=MAX_PART_SIZE)
            )
        ),
    ),
    Option(
        name="parallel",
        metavar="N",
        help="parts in flight for one file (8)",
        group=TRANSFER,
        aliases=("parallel-count", "parallel-upload"),
        apply=_transfer(
            lambda old, text: replace(old, parallel=values.count(text, least=1, most=128))
        ),
    ),
    Option(
        name="on-conflict",
        metavar="WHAT",
        help="when others have replaced an edited file: fail, or overwrite (fail)",
        group=TRANSFER,
        apply=_transfer(
            lambda old, text: replace(old, on_conflict=values.choice(text, OnConflict))
        ),
    ),
    Option(
        name="memory",
        metavar="SIZE",
        help="all file contents held in memory (256M, or a quarter of the control group's)",
        group=TRANSFER,
        apply=_transfer(
            lambda old, text: replace(
                old, memory=values.size_between(text, least=LEAST_MEMORY, most=1 << 40)
            )
        ),
    ),
    Option(
        name="read-ahead",
        metavar="SIZE",
        help="the most that is read ahead of one reader (32M; 0 for none)",
        group=TRANSFER,
        aliases=("max-prefetch-bytes",),
        apply=_transfer(
            lambda old, text: replace(
                old, read_ahead=values.size_between(text, least=0, most=1 << 40)
            )
        ),
    ),
    Option(
        name="cache",
        metavar="DIR",
        help="keep what was read on this disk as well; several mounts may share it",
        group=TRANSFER,
        apply=_transfer(lambda old, text: replace(old, cache=values.file(text))),
    ),
    Option(
        name="cache-size",
        metavar="SIZE",
        help="the most that is kept in --cache (20G)",
        group=TRANSFER,
        apply=_transfer(
            lambda old, text: replace(
                old, cache_size=values.size_between(text, least=16 << 20, most=1 << 50)
            )
        ),
    ),
    Option(
        name="upload-expiry",
        metavar="TIME",
        help="abort uploads that broke off so long ago and were not resumed (7d)",
        group=TRANSFER,
        apply=_transfer(
            lambda old, text: replace(
                old, upload_expiry_s=values.seconds_between(text, least=60, most=3650 * 86400)
            )
        ),
    ),
    Option(
        name="uid",
        metavar="ID",
        help="show this owner for everything",
        group=ATTRIBUTES,
        apply=_attributes(lambda old, text: replace(old, uid=values.identity(text))),
    ),
    Option(
        name="gid",
        metavar="ID",
        help="show this group for everything",
        group=ATTRIBUTES,
        apply=_attributes(lambda old, text: replace(old, gid=values.identity(text))),
    ),
    Option(
        name="umask",
        metavar="OCTAL",
        help="hide these permission bits of everything",
        group=ATTRIBUTES,
        apply=_attributes(lambda old, text: replace(old, umask=values.permission_bits(text))),
    ),
    Option(
        name="xattr",
        help="extended attributes, 2 KB a file at most; cached writes get slower",
        group=ATTRIBUTES,
        apply=_attributes(lambda old, text: replace(old, xattrs=values.switch(text))),
    ),
    Option(
        name="noxattr",
        apply=_attributes(lambda old, text: replace(old, xattrs=not values.switch(text))),
    ),
    Option(
        name="metadata-ttl",
        metavar="TIME",
        help="trust what is known of names and attributes for so long, minimal or indefinite (5s)",
        group=ATTRIBUTES,
        aliases=("stat-cache-expire",),
        apply=_attributes(
            lambda old, text: replace(
                old, metadata_ttl_s=values.lifetime(text, most=_LONGEST_TTL_S)
            )
        ),
    ),
    Option(
        name="negative-ttl",
        metavar="TIME",
        help="trust that a name is not there for so long (a fifth of metadata-ttl)",
        group=ATTRIBUTES,
        apply=_attributes(
            lambda old, text: replace(
                old, negative_ttl_s=values.lifetime(text, most=_LONGEST_TTL_S)
            )
        ),
    ),
    Option(
        name="stat",
        metavar="SOURCE",
        help="attributes from each object's metadata: full, or from listings alone: list (full)",
        group=ATTRIBUTES,
        apply=_attributes(lambda old, text: replace(old, stat=values.choice(text, StatSource))),
    ),
    Option(
        name="credentials-file",
        metavar="FILE",
        help="file with the keys, instead of the environment",
        group=CREDENTIALS,
        aliases=("passwd-file",),
        apply=lambda old, text: replace(old, credentials_file=values.file(text)),
    ),
    Option(
        name="anonymous",
        help="send unsigned requests: for public buckets",
        group=CREDENTIALS,
        aliases=("public-bucket",),
        apply=lambda old, text: replace(old, anonymous=values.switch(text)),
    ),
    Option(
        name="read-only",
        help="refuse every change",
        group=MOUNTING,
        aliases=("ro",),
        apply=lambda old, text: _read_only(old, on=values.switch(text)),
    ),
    Option(name="rw", apply=lambda old, text: _read_only(old, on=not values.switch(text))),
    Option(
        name="allow-other",
        help="let other users in (user_allow_other in /etc/fuse.conf, or root)",
        group=MOUNTING,
        apply=_pass_to_fuse("allow_other"),
    ),
    Option(
        name="nonempty",
        help="mount over a directory that has entries",
        group=MOUNTING,
        apply=lambda old, text: replace(old, nonempty=values.switch(text)),
    ),
    Option(
        name="foreground",
        help="stay in the foreground; SIGINT and SIGTERM unmount",
        group=MOUNTING,
        short="-f",
        apply=lambda old, text: replace(old, foreground=values.switch(text)),
    ),
    Option(
        name="state-dir",
        metavar="DIR",
        help="where unfinished uploads are noted, to go on with them after a crash",
        group=MOUNTING,
        environment=("COSFS_STATE_DIR",),
        apply=lambda old, text: replace(old, state_dir=values.file(text)),
    ),
    Option(
        name="log-file",
        metavar="FILE",
        help="write the log here, not to stderr or syslog",
        group=MOUNTING,
        aliases=("logfile",),
        apply=lambda old, text: replace(old, log_file=values.file(text)),
    ),
    Option(
        name="log-level",
        metavar="LEVEL",
        help="debug, info, warning (as it is) or error",
        group=MOUNTING,
        apply=lambda old, text: replace(old, log_level=values.one_of(text, _LOG_LEVELS)),
    ),
    Option(
        name="verbose",
        help="the same as --log-level info",
        group=MOUNTING,
        short="-v",
        apply=lambda old, text: replace(old, log_level="info") if values.switch(text) else old,
    ),
    Option(
        name="dbglevel",
        metavar="LEVEL",
        apply=lambda old, text: replace(
            old, log_level=_OLD_LOG_LEVELS[values.one_of(text, tuple(_OLD_LOG_LEVELS))]
        ),
    ),
    Option(name="multipart-size", metavar="MB", apply=_transfer(_part_size_in_mb)),
    *(Option(name=name, apply=_pass_to_fuse(name.replace("-", "_"))) for name in _FUSE_OPTIONS),
)
