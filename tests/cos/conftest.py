"""A client on the emulator; the mark ``jumping_clock``: a clock that jumps over every wait.

pytest-trio takes a clock from a test's own arguments alone, where most tests would not use it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
import trio
from hypothesis import HealthCheck, settings
from trio.abc import Clock, Instrument
from trio.testing import MockClock

from cosfs.cos.client import CosClient
from cosfs.emulator.service import Limits
from tests.cos.emulation import MIN_PART, emulated_client
from tests.support.emulated import EmulatedTransport, make_api


# A busy machine must not fail a test that is right.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@pytest.fixture
def transport() -> EmulatedTransport:
    return EmulatedTransport(make_api(limits=Limits(min_part=MIN_PART)))


@pytest.fixture
async def client(transport: EmulatedTransport) -> AsyncIterator[CosClient]:
    async with emulated_client(transport) as client:
        yield client


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "jumping_clock: waits take no time")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("jumping_clock") is not None:
            # First: trio_mode has marked it with trio.run already, and the first mark counts.
            item.add_marker(pytest.mark.trio(run=run_jumping), append=False)


def run_jumping(
    main: Callable[[], Awaitable[None]], *, clock: Clock | None, instruments: Sequence[Instrument]
) -> None:
    trio.run(main, clock=clock or MockClock(autojump_threshold=0), instruments=instruments)
