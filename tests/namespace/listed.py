"""Entries of directories as tests need them."""

from cosfs.cos.model import ETag, Key, ListedObject
from cosfs.namespace.entries import ListedEntry


def listed(key: str, *, etag: str = "e", size: int = 1, modified_ns: int = 0) -> ListedObject:
    return ListedObject(
        key=Key(key), size=size, etag=ETag(etag), modified_ns=modified_ns, storage_class="STANDARD"
    )


def entry(name: str, *, etag: str = "e", modified_ns: int = 0) -> ListedEntry:
    return ListedEntry(name=name, object=listed(name, etag=etag, modified_ns=modified_ns))
