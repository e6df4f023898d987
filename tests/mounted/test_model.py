"""Random system calls on a mount, against the same calls on a local disk.

COSFS_MOUNTED_STEPS sets how many (300), COSFS_MOUNTED_SEED repeats a run. A failure names its
seed and the fewest steps that were found to fail.
"""

import itertools
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.mounted.conftest import Place
from tests.mounted.machine import Difference, Machine, Step, random_steps, shortest
from tests.mounted.programs import run
from tests.support.emulated import EmulatorProcess
from tests.support.mounted import Mounted, mounted

STEPS: Final = int(os.environ.get("COSFS_MOUNTED_STEPS", "300"))
SEED: Final = int(os.environ.get("COSFS_MOUNTED_SEED", random.SystemRandom().randrange(10**6)))
SHORTENING_LIMIT_S: Final = 30.0


@pytest.fixture(scope="module")
def mount(emulator: EmulatorProcess) -> Iterator[Mounted]:
    """With parts and memory so small that few bytes are many parts."""
    options = ["--part-size", "1M", "--memory", "16M"]
    with mounted(emulator, options=options, limit_s=240) as mount:
        yield mount


class Runs:
    """Runs steps, each time in new directories below those of a test."""

    def __init__(self, place: Place, local: Path, *, looks: bool) -> None:
        self._place = place
        self._local = local
        self._looks = looks
        self._numbers = itertools.count()

    def run(self, steps: Sequence[Step]) -> tuple[str, Path]:
        """Raises Difference; else the name of the directory in the mount, and the local one."""
        name = f"run{next(self._numbers)}"
        mounted, local = self._place.path / name, self._local / name
        mounted.mkdir()
        local.mkdir()
        Machine(mounted, local, looks=self._looks).run(steps)
        return name, local

    def fails(self, steps: Sequence[Step]) -> bool:
        try:
            self.run(steps)
        except Difference:
            return True
        return False


@pytest.mark.parametrize("looks", [False, True])
def test_calls_do_what_they_do_on_a_local_disk(
    place: Place, tmp_path: Path, *, looks: bool
) -> None:
    runs = Runs(place, tmp_path, looks=looks)
    steps = random_steps(SEED, STEPS // 3 if looks else STEPS)  # it costs three times as much

    try:
        name, local = runs.run(steps)
    except Difference as error:
        error.add_note(f"COSFS_MOUNTED_SEED={SEED} COSFS_MOUNTED_STEPS={STEPS}; enough are:")
        few = shortest(steps, runs.fails, limit_s=SHORTENING_LIMIT_S)
        error.add_note("\n".join(map(repr, few)))
        raise
    expected = {path.name: path.read_bytes() for path in local.iterdir()}

    # The last of many renames leave their old objects for a moment.
    run("sync", place.path / name)
    prefix = f"{place.prefix}{name}/"
    assert {key: place.sdk.get(prefix + key) for key in place.sdk.digests(prefix)} == expected
    assert place.sdk.uploads() == []
    with place.fresh() as path:
        assert {f.name: f.read_bytes() for f in (path / name).iterdir()} == expected
