"""A client on the emulator."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

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
