"""A mount that the tests of a module share; each has a directory of its own in it."""

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mounted.programs import digest, digests
from tests.support.emulated import EmulatorProcess, emulator_process
from tests.support.mounted import Mounted, mounted
from tests.support.sdk import Sdk

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Place:
    """A directory in a mount, and the other ways to see what it holds."""

    path: Path
    prefix: str
    emulator: EmulatorProcess
    sdk: Sdk

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """The directory in a mount of its own, which knows nothing yet."""
        with mounted(self.emulator) as mount:
            yield mount.path / self.prefix

    def assert_holds(self, files: Mapping[str, bytes]) -> None:
        """These files and no others, seen here, by a fresh mount and by Tencent's client."""
        assert digests(self.path) == {name: digest(data) for name, data in files.items()}
        self.assert_stored(files)

    def assert_stored(self, files: Mapping[str, bytes]) -> None:
        """As assert_holds, whatever this mount may know."""
        expected = {name: digest(data) for name, data in files.items()}
        assert self.sdk.digests(self.prefix) == expected
        with self.fresh() as path:
            assert digests(path) == expected


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with emulator_process() as emulator:
        yield emulator


@pytest.fixture
def own_emulator() -> Iterator[EmulatorProcess]:
    """Of one test alone, which may stop it, kill it, or leave requests that it still works on."""
    with emulator_process() as emulator:
        yield emulator


@pytest.fixture
def clean_emulator(emulator: EmulatorProcess, sdk: Sdk) -> None:
    """The module's, as it was when it started: for tests that name what it holds and was asked."""
    emulator.set_faults("")
    sdk.remove_all()
    emulator.forget_requests()


@pytest.fixture(scope="module")
def sdk(emulator: EmulatorProcess) -> Sdk:
    return Sdk(emulator.port)


@pytest.fixture(scope="module")
def mount(emulator: EmulatorProcess) -> Iterator[Mounted]:
    with mounted(emulator) as mount:
        yield mount


@pytest.fixture
def place(mount: Mounted, emulator: EmulatorProcess, sdk: Sdk) -> Iterator[Place]:
    """A new directory. The mount must outlive what is done in it."""
    mount.watchdog.restart()
    prefix = f"place-{next(_numbers)}"
    path = mount.path / prefix
    path.mkdir()
    yield Place(path, f"{prefix}/", emulator, sdk)
    assert mount.process.poll() is None, mount.log.read_text()
