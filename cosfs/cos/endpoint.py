"""Where a bucket is: from ServiceConfig to scheme, host, port and path prefix. Pure.

Also owns how a key becomes a URL path. The signature covers the decoded path, so both forms are
made here, side by side.
"""

import ipaddress
import itertools
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlsplit

from cosfs.config import Addressing, Network, ServiceConfig
from cosfs.errors import ConfigError

# COS, "Naming rules": <name>-<appid>, lower case, the name neither begins nor ends with a hyphen.
_BUCKET: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?-[0-9]+")
_REGION: Final = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_LABEL: Final = r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")
_MAX_DOMAIN: Final = 60  # COS, "Naming rules": characters of the whole request domain
_SERVICE_HOST: Final = "service.cos.myqcloud.com"  # COS, "GET Service": the buckets of all regions
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_UNQUOTED: Final = "/-_.~"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where requests for one bucket, or for GET Service, go.

    *base_path* is "" or "/<bucket>" (path style). *copy_prefix* and a quoted key together name a
    copy source of this bucket.
    """

    scheme: str
    host: str
    port: int | None = None  # None: the scheme's own
    base_path: str = ""
    copy_prefix: str = ""

    @property
    def authority(self) -> str:
        """The value of Host, which is also what is signed."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port is None else f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}"

    def path(self, key: str) -> str:
        """The decoded path, as the signature wants it."""
        return f"{self.base_path}/{key}"

    def quoted_path(self, key: str) -> str:
        """The path as it goes over the wire."""
        return f"{self.base_path}/{quote_key(key)}"

    def copy_source(self, key: str) -> str:
        """The value of x-cos-copy-source."""
        return self.copy_prefix + quote(key, safe=_UNQUOTED)


def quote_key(key: str) -> str:
    """*key* percent-encoded so that no HTTP layer finds a dot segment to fold.

    Folded, "a/.." would address the bucket itself. A slash beside a dot segment is sent as %2F,
    as Tencent's SDK does for "./"; encoded dots would be decoded and folded by a strict proxy,
    and are used only for a key that is a dot segment and nothing else.
    """
    quoted = quote(key, safe=_UNQUOTED)
    if "." not in key:
        return quoted
    if key in (".", ".."):
        return "%2E" * len(key)
    segments = quoted.split("/")
    path = segments[0]
    for before, segment in itertools.pairwise(segments):
        folds = before in (".", "..") or segment in (".", "..")
        path += ("%2F" if folds else "/") + segment
    return path


def bucket_endpoint(config: ServiceConfig) -> Endpoint:
    """The endpoint of the bucket that *config* names. ConfigError says what is wrong with it."""
    _check_bucket(config.bucket)
    if config.endpoint is not None:
        return _custom(config.endpoint, config)
    region = _checked_region(config)
    if config.addressing is Addressing.PATH:
        return Endpoint(
            scheme="https",
            host=_domain(config.network, region),
            base_path=f"/{config.bucket}",
            copy_prefix=f"{config.bucket}.cos.{region}.myqcloud.com/",
        )
    return Endpoint(
        scheme="https",
        host=f"{config.bucket}.{_domain(config.network, region)}",
        copy_prefix=f"{config.bucket}.cos.{region}.myqcloud.com/",
    )


def service_endpoint(config: ServiceConfig) -> Endpoint:
    """The endpoint of GET Service: COS's own, or the root of a custom one."""
    if config.endpoint is None:
        return Endpoint(scheme="https", host=_SERVICE_HOST)
    root = _parsed(config.endpoint)
    if not config.bucket:
        return root
    host = root.host.removeprefix(f"{config.bucket}.")
    return Endpoint(scheme=root.scheme, host=host, port=root.port)


def _check_bucket(bucket: str) -> None:
    if not _BUCKET.fullmatch(bucket):
        raise ConfigError(
            f"bucket {bucket!r}: not a bucket name; use <name>-<appid> as the console shows it, "
            "such as examplebucket-1250000000"
        )


def _checked_region(config: ServiceConfig) -> str:
    region = config.region
    if region is None:
        raise ConfigError(
            f"bucket {config.bucket!r}: no region; name it, such as ap-guangzhou, or an endpoint"
        )
    if not _REGION.fullmatch(region):
        raise ConfigError(f"region {region!r}: not a region name; use one such as ap-guangzhou")
    domain = f"{config.bucket}.cos.{region}.myqcloud.com"
    if len(domain) > _MAX_DOMAIN:
        raise ConfigError(
            f"bucket {config.bucket!r}: {domain} has {len(domain)} characters, COS allows "
            f"{_MAX_DOMAIN}; check the bucket and the region"
        )
    return region


def _domain(network: Network, region: str) -> str:
    match network:
        case Network.PUBLIC:
            return f"cos.{region}.myqcloud.com"
        case Network.INTERNAL:
            return f"cos-internal.{region}.tencentcos.cn"
        case Network.ACCELERATE:
            return "cos.accelerate.myqcloud.com"


def _custom(url: str, config: ServiceConfig) -> Endpoint:
    root = _parsed(url)
    in_path = config.addressing is Addressing.PATH or (
        config.addressing is Addressing.AUTO and _cannot_hold_bucket(root.host)
    )
    named = root.host.startswith(f"{config.bucket}.")
    host = root.host if in_path or named else f"{config.bucket}.{root.host}"
    return Endpoint(
        scheme=root.scheme,
        host=host,
        port=root.port,
        base_path=f"/{config.bucket}" if in_path else "",
        copy_prefix=f"/{config.bucket}/",
    )


def _parsed(url: str) -> Endpoint:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"endpoint {url!r}: {error}; use https://host[:port]") from error
    host = parts.hostname or ""
    plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
    if parts.scheme not in _DEFAULT_PORTS or not _HOST.fullmatch(host) or not plain:
        raise ConfigError(
            f"endpoint {url!r}: not an endpoint; use https://host[:port] or http://host[:port], "
            "without the bucket and without a path"
        )
    usual = port == _DEFAULT_PORTS[parts.scheme]
    return Endpoint(scheme=parts.scheme, host=host, port=None if usual else port)


def _cannot_hold_bucket(host: str) -> bool:
    """Whether "<bucket>.<host>" is no name at all: an IP address, or the local machine."""
    if host == "localhost":
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
