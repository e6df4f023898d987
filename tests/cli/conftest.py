"""What the tests of the command line share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.emulated import EmulatorProcess, emulator_process


@pytest.fixture
def mountpoint(tmp_path: Path) -> Path:
    path = tmp_path / "mount"
    path.mkdir()
    return path


@pytest.fixture(scope="module")
def emulator_of_module() -> Iterator[EmulatorProcess]:
    with emulator_process() as emulator:
        yield emulator


@pytest.fixture
def emulator(emulator_of_module: EmulatorProcess) -> EmulatorProcess:
    """The module's emulator, without faults and with an empty request log."""
    emulator_of_module.set_faults("")
    emulator_of_module.forget_requests()
    return emulator_of_module
