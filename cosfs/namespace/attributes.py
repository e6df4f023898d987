"""POSIX attributes and the x-cos-meta-* headers that hold them.

Owns the format: mode, uid, gid and mtime as Tencent's C++ cosfs writes and reads them, what we
know beyond that in headers of our own. Pure: no requests, no clock.
"""

import mimetypes
import os
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from cosfs.config import AttributeConfig, StatSource
from cosfs.cos.model import MAX_METADATA_BYTES, ListedObject, ObjectInfo
from cosfs.errors import MetadataFull

NS_PER_S: Final = 1_000_000_000
DEFAULT_CONTENT_TYPE: Final = "application/octet-stream"  # what C++ cosfs sends for unknown names
DIRECTORY_CONTENT_TYPE: Final = "application/x-directory"  # C++ cosfs, old style directories
HADOOP_SUFFIX: Final = "_$folder$"  # Hadoop's directory marker; C++ cosfs reads it too
PATH_MAX: Final = 4096  # Linux: the longest target of a symlink
META_PREFIX_BYTES: Final = len("x-cos-meta-")  # counted, as COS does not say whether it does

DEFAULT_FILE_MODE: Final = stat.S_IFREG | 0o644
DEFAULT_DIRECTORY_MODE: Final = stat.S_IFDIR | 0o755

MODE: Final = "mode"
UID: Final = "uid"
GID: Final = "gid"
MTIME: Final = "mtime"
XATTR: Final = "xattr"  # see xattrs.py
# COS allows no underscore in these names; C++ cosfs carries along what it does not know.
MTIME_NS: Final = "cosfs-mtime-ns"
CTIME_NS: Final = "cosfs-ctime-ns"
ATIME_NS: Final = "cosfs-atime-ns"
RDEV: Final = "cosfs-rdev"  # "major:minor"; C++ cosfs stores device nodes without

MAX_MODE: Final = 0o177777  # type and permission bits of st_mode
MAX_ID: Final = (1 << 32) - 2  # the last id stands for "unchanged" in chown(2)
MAX_SECONDS: Final = (1 << 63) // NS_PER_S - 1  # nanoseconds fit the kernel's 64 bits
MAX_MAJOR: Final = (1 << 12) - 1  # Linux, include/linux/kdev_t.h
MAX_MINOR: Final = (1 << 20) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """What stat(2) shows. *mode* includes the type bits.

    *xattr* is the text that holds the extended attributes; None, as stored: perhaps none.
    *rdev* is what device node it is, as os.makedev() packs it.
    """

    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    atime_ns: int
    xattr: str | None = None
    rdev: int = 0

    @property
    def is_directory(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_symlink(self) -> bool:
        return stat.S_ISLNK(self.mode)

    @property
    def is_device(self) -> bool:
        return stat.S_ISCHR(self.mode) or stat.S_ISBLK(self.mode)

    @property
    def kind(self) -> int:
        """The type bits alone. They never change during an inode's life."""
        return stat.S_IFMT(self.mode)


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeChange:
    """What chmod, chown, utimens and setxattr ask for; None leaves a field as it is."""

    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    mtime_ns: int | None = None
    atime_ns: int | None = None
    xattr: str | None = None

    def then(self, later: "AttributeChange") -> "AttributeChange":
        """Both changes as one; what *later* leaves alone stays as here."""
        return AttributeChange(
            mode=_either(later.mode, self.mode),
            uid=_either(later.uid, self.uid),
            gid=_either(later.gid, self.gid),
            mtime_ns=_either(later.mtime_ns, self.mtime_ns),
            atime_ns=_either(later.atime_ns, self.atime_ns),
            xattr=self.xattr if later.xattr is None else later.xattr,
        )

    def apply(self, attributes: Attributes, now_ns: int) -> Attributes:
        """The attributes after the change; the same object when nothing is different."""
        changed = replace(
            attributes,
            mode=_or(self.mode, attributes.mode),
            uid=_or(self.uid, attributes.uid),
            gid=_or(self.gid, attributes.gid),
            mtime_ns=_or(self.mtime_ns, attributes.mtime_ns),
            atime_ns=_or(self.atime_ns, attributes.atime_ns),
            xattr=attributes.xattr if self.xattr is None else self.xattr,
        )
        # chmod(2) hands over permission bits; the type of an inode is not to be changed.
        changed = replace(changed, mode=attributes.kind | stat.S_IMODE(changed.mode))
        return attributes if changed == attributes else replace(changed, ctime_ns=now_ns)


def new_attributes(mode: int, uid: int, gid: int, *, rdev: int = 0) -> Attributes:
    """Of a file or directory made now; *mode* has its type bits."""
    now = time.time_ns()
    return Attributes(
        mode=mode, uid=uid, gid=gid, size=0, mtime_ns=now, ctime_ns=now, atime_ns=now, rdev=rdev
    )


class AttributeCodec:
    """Translates both ways, with the mount's overrides and its defaults for bare objects."""

    def __init__(
        self,
        config: AttributeConfig,
        *,
        default_uid: int | None = None,
        default_gid: int | None = None,
        implicit_time_ns: int = 0,
    ) -> None:
        """*implicit_time_ns* is shown for directories that COS knows no time for."""
        self._uid_override = config.uid
        self._gid_override = config.gid
        self._hidden = config.umask or 0
        self._overrides = (config.uid, config.gid, config.umask) != (None, None, None)
        # What an object without metadata belongs to.
        self._uid = _or(config.uid, default_uid, os.geteuid())
        self._gid = _or(config.gid, default_gid, os.getegid())
        self._implicit_time_ns = implicit_time_ns
        self._without_metadata = config.stat is StatSource.LIST

    def from_object(self, info: ObjectInfo) -> Attributes:
        metadata = {} if self._without_metadata else info.properties.metadata
        mode = _mode(metadata, directory=_looks_like_directory(info))
        mtime_ns = _mtime_ns(metadata)
        shown = info.modified_ns if mtime_ns is None else mtime_ns
        return Attributes(
            mode=self._shown_mode(mode),
            uid=_or(self._uid_override, _number(metadata, UID, MAX_ID), self._uid),
            gid=_or(self._gid_override, _number(metadata, GID, MAX_ID), self._gid),
            size=0 if stat.S_ISDIR(mode) else info.size,
            mtime_ns=shown,
            ctime_ns=_or(_nanoseconds(metadata, CTIME_NS), shown),
            atime_ns=_or(_nanoseconds(metadata, ATIME_NS), shown),
            xattr=metadata.get(XATTR),
            rdev=_rdev(metadata),
        )

    def can_show(self, kind: int) -> bool:
        """Whether an inode of this type is recognised as what it is."""
        return not self._without_metadata or kind in (stat.S_IFREG, stat.S_IFDIR)

    def from_listing(self, entry: ListedObject) -> Attributes:
        """Provisional: a listing knows neither mode, owner nor mtime, and shows links as files."""
        directory = entry.key.endswith("/")
        mode = DEFAULT_DIRECTORY_MODE if directory else DEFAULT_FILE_MODE
        return self.default(mode, size=0 if directory else entry.size, time_ns=entry.modified_ns)

    def implicit_directory(self) -> Attributes:
        """For a prefix without a marker."""
        return self.default(DEFAULT_DIRECTORY_MODE, size=0, time_ns=self._implicit_time_ns)

    def default(self, mode: int, *, size: int, time_ns: int) -> Attributes:
        return Attributes(
            mode=self._shown_mode(mode),
            uid=self._uid,
            gid=self._gid,
            size=size,
            mtime_ns=time_ns,
            ctime_ns=time_ns,
            atime_ns=time_ns,
        )

    def to_metadata(
        self,
        attributes: Attributes,
        *,
        keep: Mapping[str, str] | None = None,
        with_mtime: bool = True,
    ) -> dict[str, str]:
        """Metadata for *attributes*, with everything in *keep* that is not ours carried along.

        Without *with_mtime* readers fall back to Last-Modified. Raises MetadataFull past COS's
        2 KB, leaving no header out.
        """
        kept = dict(keep or {})
        metadata = {name: kept[name] for name in kept if name not in _OWN_NAMES}
        metadata |= self._owner_and_mode(attributes, kept)
        if attributes.is_device:
            metadata[RDEV] = f"{os.major(attributes.rdev)}:{os.minor(attributes.rdev)}"
        if with_mtime:
            metadata |= _times(attributes)
        if attributes.xattr is not None:
            metadata.pop(XATTR, None)
            metadata |= {XATTR: attributes.xattr} if attributes.xattr else {}
        _check_size(metadata)
        return metadata

    def require_room(self, attributes: Attributes, *, keep: Mapping[str, str]) -> None:
        """Raise MetadataFull unless there is room for *attributes*, whatever its times become."""
        longest = replace(
            attributes, mtime_ns=_LONGEST_NS, ctime_ns=_LONGEST_NS + 1, atime_ns=_LONGEST_NS + 1
        )
        self.to_metadata(longest, keep=keep)

    def pin_mtime(self, info: ObjectInfo) -> dict[str, str]:
        """The object's metadata, with the mtime that it shows now if it holds none.

        A copy gets a new Last-Modified; without this a rename would change the mtime. Metadata
        that has no room for it is left alone.
        """
        metadata = dict(info.properties.metadata)
        if _mtime_ns(metadata) is None:
            pinned = metadata | {MTIME: str(info.modified_ns // NS_PER_S)}
            return pinned if _size(pinned) <= MAX_METADATA_BYTES else metadata
        return metadata

    def shown(self, attributes: Attributes) -> Attributes:
        """What the mount's overrides make of *attributes*."""
        if not self._overrides:
            return attributes
        return replace(
            attributes,
            mode=self._shown_mode(attributes.mode),
            uid=_or(self._uid_override, attributes.uid),
            gid=_or(self._gid_override, attributes.gid),
        )

    def _shown_mode(self, mode: int) -> int:
        return mode if stat.S_ISLNK(mode) else mode & ~(self._hidden & 0o777)

    def _owner_and_mode(self, attributes: Attributes, kept: Mapping[str, str]) -> dict[str, str]:
        """An override is only shown: what is stored beneath stays until it is really changed."""
        written = {
            MODE: str(attributes.mode),
            UID: str(attributes.uid),
            GID: str(attributes.gid),
        }
        if self._without_metadata:
            mode = DEFAULT_DIRECTORY_MODE if attributes.is_directory else DEFAULT_FILE_MODE
            shown = {MODE: self._shown_mode(mode), UID: self._uid, GID: self._gid}
            unchanged = [name for name in shown if written[name] == str(shown[name])]
            return written | {name: kept[name] for name in unchanged if name in kept}
        if attributes.uid == self._uid_override and UID in kept:
            written[UID] = kept[UID]
        if attributes.gid == self._gid_override and GID in kept:
            written[GID] = kept[GID]
        stored = _number(kept, MODE, MAX_MODE)
        if stored is not None and self._hidden and self._shown_mode(stored) == attributes.mode:
            written[MODE] = kept[MODE]
        return written


_KINDS: Final = frozenset(
    {
        stat.S_IFREG,
        stat.S_IFDIR,
        stat.S_IFLNK,
        stat.S_IFIFO,
        stat.S_IFSOCK,
        stat.S_IFCHR,
        stat.S_IFBLK,
    }
)
_LONGEST_NS: Final = -MAX_SECONDS * NS_PER_S + 1
_OWN_NAMES: Final = frozenset({MODE, UID, GID, MTIME, MTIME_NS, CTIME_NS, ATIME_NS, RDEV})


def without_privileges(mode: int) -> int:
    """*mode* without the bits that lend the owner's and the group's rights to who runs the file.

    S_ISGID without S_IXGRP means something else, mandatory locking, and stays: inode(7).
    """
    dropped = stat.S_ISUID | (stat.S_ISGID if mode & stat.S_IXGRP else 0)
    return mode & ~dropped


def content_type_for(name: str) -> str:
    """The content type that the name's suffix stands for."""
    guessed, encoding = mimetypes.guess_type(name)
    if guessed is None or encoding is not None:
        return DEFAULT_CONTENT_TYPE  # "a.tar.gz" is no tar; COS's Content-Encoding would unpack it
    return guessed


def _either(first: int | None, second: int | None) -> int | None:
    return second if first is None else first


def _or(*choices: int | None) -> int:
    """The first that is not None. The last must not be."""
    for choice in choices:
        if choice is not None:
            return choice
    raise ValueError("no choice")


def _looks_like_directory(info: ObjectInfo) -> bool:
    return (
        info.key.endswith("/")
        or (info.key.endswith(HADOOP_SUFFIX) and info.size == 0)
        or info.properties.content_type == DIRECTORY_CONTENT_TYPE
    )


def _mode(metadata: Mapping[str, str], *, directory: bool) -> int:
    stored = _number(metadata, MODE, MAX_MODE)
    if stored is None:
        return DEFAULT_DIRECTORY_MODE if directory else DEFAULT_FILE_MODE
    # Type bits decide, except under a directory's name; C++ mkdir stores permissions alone.
    if directory:
        return stat.S_IFDIR | stat.S_IMODE(stored)
    return stored if stat.S_IFMT(stored) in _KINDS else stat.S_IFREG | stat.S_IMODE(stored)


def _number(metadata: Mapping[str, str], name: str, maximum: int) -> int | None:
    """A number as C++ cosfs reads it: decimal, leading zeros too, or 0x. None if it is neither."""
    return _bounded(metadata.get(name, ""), maximum)


def _bounded(text: str, maximum: int) -> int | None:
    number = _parse(text)
    return number if number is not None and 0 <= number <= maximum else None


def _parse(text: str) -> int | None:
    if not text:
        return None  # most often
    digits = text.removeprefix("-")
    if len(digits) <= 20 and digits.isascii() and digits.isdigit():
        return int(text)
    if len(digits) <= 20 and digits[:2].lower() == "0x":
        return _attempt(lambda: int(digits, 16))
    return None


def _attempt(parse: Callable[[], int]) -> int | None:
    try:
        return parse()
    except ValueError:
        return None


def _mtime_ns(metadata: Mapping[str, str]) -> int | None:
    """Nanoseconds, from our header only while it agrees with the seconds that others rewrite."""
    # rclone writes a fraction into this header; C++ cosfs never does.
    whole, _, fraction = metadata.get(MTIME, "").partition(".")
    seconds = _parse(whole)
    if seconds is None or abs(seconds) > MAX_SECONDS:
        return None
    precise = _nanoseconds(metadata, MTIME_NS)
    if precise is not None and precise // NS_PER_S == seconds:
        return precise
    return seconds * NS_PER_S + (_parse(fraction[:9].ljust(9, "0")) or 0)


def _nanoseconds(metadata: Mapping[str, str], name: str) -> int | None:
    number = _parse(metadata.get(name, ""))
    if number is None or abs(number) > MAX_SECONDS * NS_PER_S:
        return None
    return number


def _rdev(metadata: Mapping[str, str]) -> int:
    """The device's number; 0 where none can be read."""
    if RDEV not in metadata:
        return 0
    first, _, second = metadata[RDEV].partition(":")
    major, minor = _bounded(first, MAX_MAJOR), _bounded(second, MAX_MINOR)
    return 0 if major is None or minor is None else os.makedev(major, minor)


def _times(attributes: Attributes) -> dict[str, str]:
    mtime_ns = attributes.mtime_ns
    written = {MTIME: str(mtime_ns // NS_PER_S)}
    if mtime_ns % NS_PER_S:
        written[MTIME_NS] = str(mtime_ns)
    if attributes.ctime_ns != mtime_ns:
        written[CTIME_NS] = str(attributes.ctime_ns)
    if attributes.atime_ns != mtime_ns:
        written[ATIME_NS] = str(attributes.atime_ns)
    return written


def _check_size(metadata: Mapping[str, str]) -> None:
    total = _size(metadata)
    if total > MAX_METADATA_BYTES:
        raise MetadataFull(
            f"metadata of {total} bytes is over COS's {MAX_METADATA_BYTES}: remove some of it"
        )


def _size(metadata: Mapping[str, str]) -> int:
    return sum(
        META_PREFIX_BYTES + len(name) + len(value.encode()) for name, value in metadata.items()
    )
