"""A filesystem on an emulator in memory, whose waits take no time."""

from collections.abc import AsyncIterator

import pytest
import trio.testing

from cosfs.emulator.api import Api
from tests.support.engines import THREAD_S, Files, make_quiet_api, opened_files


@pytest.fixture
def api() -> Api:
    return make_quiet_api()


@pytest.fixture
async def files(api: Api, mock_clock: trio.testing.MockClock) -> AsyncIterator[Files]:
    mock_clock.autojump_threshold = THREAD_S
    async with opened_files(api) as files:
        yield files
