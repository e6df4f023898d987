"""What the kernel is answered about extended attributes."""

import pyfuse3
import pytest

from cosfs.fuse.operations import Operations
from cosfs.fuse.xattrs import XattrOperations

CALLS = ["setxattr", "getxattr", "listxattr", "removexattr"]


@pytest.mark.parametrize("call", CALLS)
def test_without_the_option_every_call_is_left_to_pyfuse3(call: str) -> None:
    """It answers ENOSYS, after which the kernel never asks again, least of all before writes."""
    assert getattr(Operations, call) is getattr(pyfuse3.Operations, call)
    assert getattr(XattrOperations, call) is not getattr(pyfuse3.Operations, call)
