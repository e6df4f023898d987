"""An emulator, and a client of it, for one test."""

from collections.abc import AsyncIterator

import pytest

from cosfs.cos.client import CosClient
from cosfs.emulator.api import Api
from tests.support.engines import make_quiet_api, opened_client


@pytest.fixture
def api() -> Api:
    return make_quiet_api()


@pytest.fixture
async def client(api: Api) -> AsyncIterator[CosClient]:
    async with opened_client(api) as client:
        yield client
