"""A filesystem on an emulator in memory, for one test."""

from collections.abc import AsyncIterator

import pytest

from cosfs.emulator.api import Api
from tests.support.engines import Files, make_quiet_api, opened_files


@pytest.fixture
def api() -> Api:
    return make_quiet_api()


@pytest.fixture
async def files(api: Api) -> AsyncIterator[Files]:
    async with opened_files(api) as files:
        yield files
