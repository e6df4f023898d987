"""Every exception that cosfs raises, one hierarchy. No errno here: that is fuse/errnos.py.

::

    CosfsError
    ├── ConfigError              bad option, source, credentials file: the user can mend it
    ├── MountFailed              the mount cannot be made or did not end well
    │   ├── MountDenied          this user may not mount there
    │   ├── FuseMissing          this machine cannot mount anything
    │   ├── MountInterrupted     ended by a signal with work undone
    │   └── FilesLost            ended with changes that COS did not take
    ├── CosError                 a request to COS did not succeed
    │   ├── ServiceError         COS answered with an error
    │   │   ├── NotFound
    │   │   │   ├── NoSuchBucket
    │   │   │   └── NoSuchUpload
    │   │   ├── AccessDenied
    │   │   │   ├── BadCredentials
    │   │   │   └── ObjectArchived
    │   │   ├── PreconditionFailed
    │   │   ├── AlreadyExists
    │   │   ├── InvalidRange
    │   │   ├── KeyTooLong
    │   │   ├── EntityTooLarge
    │   │   ├── QuotaExceeded
    │   │   └── ServiceBusy      5xx, 429, SlowDown: worth another attempt
    │   ├── TransportError       no whole answer: connect, reset, cut, TLS, name lookup
    │   ├── DeadlineExceeded     the operation's time is up
    │   │   └── ServiceAway      not tried: COS answers nothing for a while now
    │   ├── ProtocolError        an answer that cannot be understood
    │   └── IntegrityError       what COS stored is not what was sent, or what came
    ├── FileChanged              a local file changed while it was read
    ├── UploadConflict           an upload that is to be aborted is being written to
    ├── UploadFailed             a multipart upload cannot be finished; its cause says why
    └── FilesystemError          a rule of the filesystem, each class one errno
        ├── NoSuchEntry
        ├── EntryExists
        ├── NotADirectory
        ├── IsADirectory
        ├── DirectoryNotEmpty
        ├── NotPermitted
        ├── NotSupported
        ├── InvalidArgument
        ├── NameTooLong
        ├── UnencodableName
        ├── FileTooLarge
        ├── MetadataFull
        ├── NoSuchAttribute
        └── StaleFile
"""

from collections.abc import Mapping


class CosfsError(Exception):
    """Base of all errors that cosfs raises on purpose."""


class ConfigError(CosfsError):
    """An option, source or credentials file is wrong; the message says what to do."""


class MountFailed(CosfsError):
    """The mount cannot be made, or ended with work undone; the message says what to do."""


class MountDenied(MountFailed):
    """This user may not mount there."""


class FuseMissing(MountFailed):
    """This machine lacks what every FUSE mount needs."""


class MountInterrupted(MountFailed):
    """A second signal ended the mount before its uploads were finished."""


class FilesLost(MountFailed):
    """The mount ended with changes that could not be stored: paths, and the reason of each."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        shown = "; ".join(f"{path!r} ({reason})" for path, reason in list(reasons.items())[:3])
        more = f"; and {len(reasons) - 3} more: see the log" if len(reasons) > 3 else ""
        super().__init__(f"not stored: {shown}{more}")


class CosError(CosfsError):
    """A request to COS did not succeed.

    *operation* is COS's own name ("Upload Part"); *key* is the object's, empty for the bucket.
    *attempts* says how many times it was tried.
    """

    attempts: int = 1

    def __init__(self, detail: str, *, operation: str, key: str = "") -> None:
        super().__init__(detail)
        self.operation = operation
        self.key = key
        self.detail = detail

    def __str__(self) -> str:
        subject = f"{self.operation} {self.key!r}" if self.key else self.operation
        return f"{subject}: {self.detail}"


class ServiceError(CosError):
    """COS answered with an error: HTTP *status*, COS's *code*, its message, its request id."""

    def __init__(
        self,
        detail: str,
        *,
        operation: str,
        key: str = "",
        status: int,
        code: str,
        request_id: str = "",
    ) -> None:
        super().__init__(detail, operation=operation, key=key)
        self.status = status
        self.code = code
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{super().__str__()} ({self.status} {self.code}, request id {self.request_id})"


class NotFound(ServiceError):
    """404: the object, its version or its copy source is not there."""


class NoSuchBucket(NotFound):
    """404: the bucket is not there."""


class NoSuchUpload(NotFound):
    """404: the upload id is unknown, completed or aborted."""


class AccessDenied(ServiceError):
    """403: not allowed."""


class BadCredentials(AccessDenied):
    """403: unknown secret id, wrong signature, or an expired token."""


class ObjectArchived(AccessDenied):
    """403 InvalidObjectState: the object must be restored from its archive class first."""


class PreconditionFailed(ServiceError):
    """412: an If-* header did not hold; the object has changed."""


class AlreadyExists(ServiceError):
    """409 FileAlreadyExists: x-cos-forbid-overwrite met an existing key."""


class InvalidRange(ServiceError):
    """416: the range begins past the end of the object."""


class KeyTooLong(ServiceError):
    """400 KeyTooLong: over 850 bytes of UTF-8."""


class EntityTooLarge(ServiceError):
    """400 EntityTooLarge: over the size that COS takes in one request or object."""


class QuotaExceeded(ServiceError):
    """402 or 451: the account is overdue, out of quota, or blocked."""


class ServiceBusy(ServiceError):
    """5xx, 429 and COS's overload codes: worth another attempt.

    *retry_after_s* is the server's Retry-After in seconds, None where it named none.
    """

    retry_after_s: float | None = None


class TransportError(CosError):
    """No whole answer came: connect, reset, cut body, TLS, name lookup, read timeout."""


class DeadlineExceeded(CosError):
    """The operation did not succeed within its deadline; the cause is its last attempt's error."""


class ServiceAway(DeadlineExceeded):
    """COS has not answered for a while, so the call was not even tried."""


class ProtocolError(CosError):
    """The answer cannot be understood: broken XML, a missing header, an absurd size."""


class IntegrityError(CosError):
    """The CRC64 that COS reports is not the CRC64 of what was sent, or of what came."""


class UploadFailed(CosfsError):
    """A multipart upload of *key* cannot be finished. Raised from its cause."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"{key!r}: upload failed: {reason}")
        self.key = key


class FileChanged(CosfsError):
    """A local file changed while it was read; the message names it."""


class UploadConflict(CosfsError):
    """Somebody is working on the upload; the message names it."""


class FilesystemError(CosfsError):
    """A rule of the filesystem was broken; each subclass stands for one errno."""


class NoSuchEntry(FilesystemError):
    """The name or inode is not there."""


class EntryExists(FilesystemError):
    """The name is taken."""


class NotADirectory(FilesystemError):
    """A directory was needed."""


class IsADirectory(FilesystemError):
    """A file was needed."""


class DirectoryNotEmpty(FilesystemError):
    """The directory has entries."""


class NotPermitted(FilesystemError):
    """Linux users expect EPERM here: hard links."""


class NotSupported(FilesystemError):
    """COS cannot express it, or cosfs does not do it."""


class InvalidArgument(FilesystemError):
    """The call makes no sense: a directory moved into itself, a negative size."""


class NameTooLong(FilesystemError):
    """A name over 255 bytes, or a path whose key is over COS's 850 bytes."""


class UnencodableName(FilesystemError):
    """A name that is not UTF-8: COS keys are."""


class FileTooLarge(FilesystemError):
    """Past what COS can hold in one object."""


class MetadataFull(FilesystemError):
    """Past the 2 KB that COS keeps beside an object: attributes, extended ones and others'."""


class NoSuchAttribute(FilesystemError):
    """There is no extended attribute of that name."""


class StaleFile(FilesystemError):
    """The object was replaced or removed by somebody else while it was in use."""
