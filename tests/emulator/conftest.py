"""An emulator in memory, and unsigned clients of it."""

from collections.abc import AsyncIterator

import httpx
import pytest

from cosfs.emulator.api import Api
from cosfs.emulator.service import Limits
from tests.support.emulated import EmulatedTransport, make_api

BASE_URL = "http://examplebucket-1250000000.cos.ap-guangzhou.myqcloud.com"


@pytest.fixture
def api() -> Api:
    """Limits are COS's, but a part may be 10 bytes and an object sent or copied at once 1000."""
    return make_api(anonymous=True, limits=Limits(min_part=10, max_single=1000))


@pytest.fixture
async def client(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=BASE_URL, transport=EmulatedTransport(api)) as client:
        yield client
