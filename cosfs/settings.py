"""The one parser: from what the user wrote to a MountConfig.

What is written on the command line wins over the environment, that over the defaults. Opens no
user's file and asks no network: what only they can tell is checked when mounting.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cosfs import values
from cosfs.config import (
    AttributeConfig,
    MountConfig,
    ServiceConfig,
    StatSource,
    TransferConfig,
    default_memory,
)
from cosfs.errors import ConfigError
from cosfs.options import OPTIONS, Option

# What mount(8), fstab and systemd add for themselves.
_IGNORED: Final = frozenset(
    {
        *("_netdev", "auto", "comment", "defaults", "group", "nofail"),
        *("noauto", "nouser", "owner", "user", "users"),
    }
)
# Options of Tencent's C++ cosfs about things that are not done here, or need no choice.
_WITHOUT_COUNTERPART: Final = frozenset(
    {
        *("ahbe-conf", "curldbg", "default-acl", "del-cache", "disable-content-md5"),
        *("enable-clientinfo", "enable-content-md5", "enable-noobj-cache", "ensure-diskfree"),
        *("fd-page-size", "max-stat-cache-size", "multireq-max", "nocopyapi", "nodnscache"),
        *("noflush-in-other-proc", "nomultipart", "norenameapi", "nosscache"),
        *("noxmlns", "readwrite-timeout", "retries", "servicepath", "singlepart-copy-limit"),
        *("tmpdir", "use-cache", "use-rrs", "user-agent-suffix", "xmlns"),
    }
)
_BY_NAME: Final[Mapping[str, Option]] = {
    name: option for option in OPTIONS for name in (option.name, *option.aliases)
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One option as the user wrote it; *value* None where there was no "="."""

    name: str
    value: str | None = None
    origin: str = "option"  # how an error names the place: "option", "environment variable"


def find_option(name: str) -> Option | None:
    """The option called *name*, with "-" or "_"; None for what is left to mount(8).

    Raises ConfigError naming the nearest option when there is none.
    """
    canonical = name.replace("_", "-")
    option = _BY_NAME.get(canonical)
    if option is None and not _belongs_to_mount(name):
        raise ConfigError(f"unknown option {name!r}; {_hint(name, canonical)}")
    return option


def _hint(name: str, canonical: str) -> str:
    if canonical in _WITHOUT_COUNTERPART:
        return "the C++ cosfs has it, here it has no meaning: leave it out"
    near = difflib.get_close_matches(canonical, _BY_NAME, n=1)
    if not near:
        return "see cosfs mount --help"
    return f"did you mean {near[0].replace('-', '_') if '_' in name else near[0]}?"


def _belongs_to_mount(name: str) -> bool:
    return name in _IGNORED or name.startswith("x-")


def split_options(text: str) -> list[Setting]:
    """The settings in the argument of ``-o``: ``a,b=c``, where ``\\,`` is a comma of a value."""
    settings = []
    for item in re.findall(r"(?:[^,\\]|\\.|\\$)+", text):
        name, equals, value = re.sub(r"\\([,\\])", r"\1", item).partition("=")
        settings.append(Setting(name=name.strip(), value=value if equals else None))
    return settings


def parse_source(text: str) -> tuple[str, str]:
    """The bucket and prefix in ``[cos://]BUCKET-APPID[:][/PREFIX]``. Raises ConfigError."""
    rest = text.removeprefix("cos://")
    if rest.startswith(("/", ".")) or not rest:
        raise ConfigError(f"source {text!r} is no bucket; the order is SOURCE MOUNTPOINT")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    if prefix and any(name in ("", ".", "..") for name in prefix.split("/")):
        raise ConfigError(f"source {text!r}: a prefix has no empty, '.' or '..' components")
    return bucket.removesuffix(":"), f"{prefix}/" if prefix else ""


def configure(
    source: str, mountpoint: str, settings: Sequence[Setting], environ: Mapping[str, str]
) -> MountConfig:
    """Settle what holds: a later setting wins over an earlier one, any over *environ*.

    Raises ConfigError naming the option that is wrong.
    """
    bucket, prefix = parse_source(source)
    config = MountConfig(
        service=ServiceConfig(bucket=bucket),
        mountpoint=Path(mountpoint).absolute(),
        prefix=prefix,
        transfer=TransferConfig(memory=default_memory()),
    )
    for setting in (*_from_environment(environ), *settings):
        config = _apply(config, setting)
    _check_memory(config.transfer)
    _check_attributes(config.attributes)
    return config


def _from_environment(environ: Mapping[str, str]) -> list[Setting]:
    """The first variable that is set speaks for its option."""
    settings = []
    for option in OPTIONS:
        name = next((name for name in option.environment if environ.get(name)), None)
        if name is not None:
            origin = f"environment variable {name} for"
            settings.append(Setting(name=option.name, value=environ[name], origin=origin))
    return settings


def _apply(config: MountConfig, setting: Setting) -> MountConfig:
    option = find_option(setting.name)
    if option is None:
        return config
    text = setting.value
    if text is None:
        if option.metavar:
            raise ConfigError(f"{setting.origin} {setting.name!r} needs a value")
        text = "1"
    try:
        return option.apply(config, text)
    except ValueError as error:
        raise ConfigError(f"{setting.origin} {setting.name!r}: {text!r} {error}") from error


def _check_attributes(attributes: AttributeConfig) -> None:
    if attributes.xattrs and attributes.stat is StatSource.LIST:
        raise ConfigError("option 'stat': a listing shows no extended attributes; leave xattr out")


def _check_memory(transfer: TransferConfig) -> None:
    if transfer.memory < 2 * transfer.part_size:
        raise ConfigError(
            f"option 'memory': {values.format_size(transfer.memory)} must hold two parts of "
            f"{values.format_size(transfer.part_size)}; raise memory or lower part-size"
        )
