"""Secrets: what they are, where they are found, when they are read again.

No option and no log line ever holds a secret; every repr here hides them.
"""

import configparser
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from cosfs.errors import ConfigError

# Names of id, key, token; the first complete pair wins. COS's SDK manuals, its Go SDK, C++ cosfs,
# the Tencent Cloud API tools (TCCLI's token name, then the SDK's), the SCF runtime.
_VARIABLES: Final = (
    ("COS_SECRET_ID", "COS_SECRET_KEY", ("COS_TOKEN",)),
    ("COS_SECRETID", "COS_SECRETKEY", ("COS_TOKEN",)),
    ("COSACCESSKEYID", "COSSECRETACCESSKEY", ()),
    (
        "TENCENTCLOUD_SECRET_ID",
        "TENCENTCLOUD_SECRET_KEY",
        ("TENCENTCLOUD_TOKEN", "TENCENTCLOUD_SESSION_TOKEN"),
    ),
    ("TENCENTCLOUD_SECRETID", "TENCENTCLOUD_SECRETKEY", ("TENCENTCLOUD_SESSIONTOKEN",)),
)
_FILE_VARIABLE: Final = "COS_CREDENTIAL_FILE"  # C++ cosfs
_HOME_FILES: Final = (".passwd-cosfs", ".cos.conf")
_SYSTEM_FILE: Final = Path("/etc/passwd-cosfs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A key pair, with a *token* if it is temporary."""

    secret_id: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for text in (self.secret_id, self.secret_key, self.token or "-"):
            if not (text.isascii() and text.isprintable()) or not text or " " in text:
                raise ConfigError("a secret id, key or token is empty or holds odd characters")


class CredentialsProvider(Protocol):
    """Where the client gets its credentials from, before every attempt."""

    async def get(self) -> Credentials | None:
        """The credentials to sign with; None: send requests unsigned."""
        ...

    def expire(self) -> None:
        """COS refused what get() gave. The next get() looks again. Does not yield."""
        ...


class StaticCredentials:
    """Credentials that never change."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    async def get(self) -> Credentials:
        return self._credentials

    def expire(self) -> None:
        """Nothing to look at again."""


class AnonymousCredentials:
    """No credentials: requests go unsigned, for buckets that are public."""

    async def get(self) -> None:
        return None

    def expire(self) -> None:
        """Nothing to look at again."""


class FileCredentials:
    """Credentials of *bucket* in a file, read again when it has changed or COS refuses them.

    A change that cannot be read (half written, say) leaves the old ones in use until COS refuses
    them. The file is small and local, so it is read in place, without a thread.
    """

    def __init__(self, path: Path, bucket: str) -> None:
        """Read *path*. ConfigError if it is missing, readable by others, or makes no sense."""
        self._path = path
        self._bucket = bucket
        self._seen = _identity(path)
        self._credentials = read_credentials(path, bucket)
        self._is_expired = False

    async def get(self) -> Credentials:
        try:
            seen = _identity(self._path)
            if self._is_expired or seen != self._seen:
                self._credentials = read_credentials(self._path, self._bucket)
                self._seen = seen
                self._is_expired = False
        except ConfigError:
            if self._is_expired:
                raise
        return self._credentials

    def expire(self) -> None:
        self._is_expired = True


def find_credentials(
    file: Path | None, environ: Mapping[str, str], bucket: str, *, anonymous: bool
) -> CredentialsProvider:
    """The provider for *bucket*: *file*, else the environment, else the usual files.

    ConfigError if there is none, or if a file that is there must not or cannot be used.
    """
    if anonymous:
        return AnonymousCredentials()
    if file is not None:
        return FileCredentials(file, bucket)
    if (credentials := _from_environment(environ)) is not None:
        return StaticCredentials(credentials)
    if environ.get(_FILE_VARIABLE):
        return FileCredentials(Path(environ[_FILE_VARIABLE]), bucket)
    for candidate in _usual_files(environ):
        if os.path.isfile(candidate):  # no error where HOME is another user's
            return FileCredentials(candidate, bucket)
    raise ConfigError(
        "no credentials: set COS_SECRET_ID and COS_SECRET_KEY, or write <secret id>:<secret key> "
        "to ~/.passwd-cosfs (chmod 600), or mount a public bucket with anonymous"
    )


def read_credentials(path: Path, bucket: str) -> Credentials:
    """The credentials of *bucket* in *path*; the form of the file is recognised.

    Forms: lines of "<bucket>:<id>:<key>" or "<id>:<key>"; "COSAccessKeyId=…" lines (both of C++
    cosfs); an INI file with secret_id and secret_key (coscmd, Tencent Cloud SDKs).
    """
    _check_private(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"credentials file {path}: {error}") from error
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("#", ";"))]
    if any(line.startswith("COSAccessKeyId=") for line in lines):
        found = _from_assignments(lines, ("COSAccessKeyId", "COSSecretKey", "COSAccessToken"))
    elif any(line.startswith("[") for line in lines):
        found = _from_sections(path, text)
    elif lines and all("=" in line and ":" not in line for line in lines):
        found = _from_assignments(lines, ("secret_id", "secret_key", "token"))
    else:
        found = _from_passwd(path, lines, bucket)
    if found is None:
        raise ConfigError(
            f"credentials file {path}: nothing for bucket {bucket!r}; add a line "
            "<bucket>:<secret id>:<secret key>"
        )
    return found


def _from_environment(environ: Mapping[str, str]) -> Credentials | None:
    for id_name, key_name, token_names in _VARIABLES:
        if environ.get(id_name) and environ.get(key_name):
            tokens = (environ.get(name) for name in token_names)
            return Credentials(
                secret_id=environ[id_name].strip(),
                secret_key=environ[key_name].strip(),
                token=next((token.strip() for token in tokens if token), None),
            )
    return None


def _usual_files(environ: Mapping[str, str]) -> list[Path]:
    home = environ.get("HOME")
    passwd, coscmd = (([Path(home) / name] if home else []) for name in _HOME_FILES)
    return [*passwd, _SYSTEM_FILE, *coscmd]


def _identity(path: Path) -> tuple[int, int, int]:
    """What changes when the file does, whether rewritten in place or replaced."""
    try:
        status = path.stat()
    except OSError as error:
        raise ConfigError(f"credentials file {path}: {error.strerror}") from error
    return status.st_ino, status.st_size, status.st_mtime_ns


def _check_private(path: Path) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"credentials file {path}: {error.strerror}") from error
    if stat.S_ISDIR(mode):
        raise ConfigError(f"credentials file {path}: is a directory")
    if not os.access(path, os.R_OK):
        raise ConfigError(
            f"credentials file {path}: not readable by this user; name another as credentials_file"
        )
    # C++ cosfs lets the system-wide file be read by a group that may mount.
    allowed = stat.S_IRGRP if path == _SYSTEM_FILE else 0
    if mode & (stat.S_IRWXG | stat.S_IRWXO) & ~allowed:
        raise ConfigError(f"credentials file {path}: others can read it; chmod 600 {path}")


def _from_assignments(lines: list[str], names: tuple[str, str, str]) -> Credentials | None:
    pairs = (line.partition("=") for line in lines)
    values = {name.strip(): value.strip() for name, _, value in pairs}
    secret_id, secret_key, token = (values.get(name, "") for name in names)
    if not secret_id or not secret_key:
        return None
    return Credentials(secret_id=secret_id, secret_key=secret_key, token=token or None)


def _from_sections(path: Path, text: str) -> Credentials | None:
    parser = configparser.ConfigParser(interpolation=None, default_section="default")
    try:
        parser.read_string(text)
    except configparser.Error:
        # The parser's own message quotes the line, which may hold a secret: not even as a cause.
        raise ConfigError(f"credentials file {path}: not an INI file") from None
    for section in (parser.defaults(), *(dict(parser[name]) for name in parser.sections())):
        secret_id = section.get("secret_id") or section.get("access_id")
        secret_key = section.get("secret_key")
        if secret_id and secret_key:
            token = section.get("token") or None
            return Credentials(secret_id=secret_id, secret_key=secret_key, token=token)
    return None


def _from_passwd(path: Path, lines: list[str], bucket: str) -> Credentials | None:
    """The line of *bucket*, which may go without its appid, else the one line without a bucket."""
    name = bucket.rpartition("-")[0]
    found: dict[str, Credentials] = {}
    for number, line in enumerate(lines, 1):
        owner, _, pair = line.rpartition(":")[0].rpartition(":")
        secret_id, secret_key = pair, line.rpartition(":")[2]
        if not secret_id or not secret_key or owner in found:
            raise ConfigError(
                f"credentials file {path}: entry {number} is not <secret id>:<secret key> or "
                "<bucket>:<secret id>:<secret key>, or is there twice"
            )
        found[owner] = Credentials(secret_id=secret_id, secret_key=secret_key)
    return found.get(bucket) or found.get(name) or found.get("")
