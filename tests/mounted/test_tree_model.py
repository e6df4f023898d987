"""Random changes of a tree of directories on a mount, against the same ones on a local disk.

What was listed before is soon too old, so that listings of all kinds are in use. COSFS_TREE_STEPS
sets how many changes (150), COSFS_TREE_SEED repeats a run.
"""

import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.mounted.conftest import Place
from tests.mounted.programs import digests
from tests.support.emulated import emulator_process
from tests.support.mounted import mounted
from tests.support.sdk import Sdk

STEPS: Final = int(os.environ.get("COSFS_TREE_STEPS", "150"))
SEED: Final = int(os.environ.get("COSFS_TREE_SEED", random.SystemRandom().randrange(10**6)))
NAMES: Final = ["a", "a-1", "a.b", "b", "c", "d.txt", "é"]  # "-" and "." come before "/"
DEEPEST: Final = 5
TRUST: Final = ["--metadata-ttl", "0.9s", "--negative-ttl", "0.6s"]
PAUSE_S: Final = 0.7  # longer than it is trusted that a name is missing


@pytest.fixture(scope="module", params=["0", "0.8"], ids=["listed at once", "listed later"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A mount of a service whose listings lag so many seconds behind."""
    with (
        emulator_process("--listing-lag", request.param) as emulator,
        mounted(emulator, options=TRUST, limit_s=240) as mount,
    ):
        yield Place(mount.path, "", emulator, Sdk(emulator.port))


class Trees:
    """The same changes to the tree in the mount and to the one on the disk."""

    def __init__(self, tops: tuple[Path, Path], chance: random.Random) -> None:
        self._tops = tops
        self._local = tops[1]
        self._chance = chance

    def step(self) -> str:
        """Change something, or look at all of it; what was done, for a person."""
        step = self._chance.choice(
            [self._mkdir, self._mkdir, *3 * [self._write], self._remove, self._rename, self._look]
        )
        if self._chance.random() < 0.03:
            time.sleep(PAUSE_S)
        return step()

    def _mkdir(self) -> str:
        new = self._new()
        if not (self._local / new).exists() and new.count("/") < DEEPEST:
            for top in self._tops:
                (top / new).mkdir()
        return f"mkdir {new}"

    def _write(self) -> str:
        new = self._new()
        if not (self._local / new).is_dir():
            data = self._chance.randbytes(self._chance.choice([0, 3, 50]))
            for top in self._tops:
                (top / new).write_bytes(data)
        return f"write {new}"

    def _remove(self) -> str:
        old = self._old()
        for top in self._tops if old else ():
            if (self._local / old).is_dir() or (top / old).is_dir():
                shutil.rmtree(top / old)
            else:
                (top / old).unlink()
        return f"remove {old}"

    def _rename(self) -> str:
        old, new = self._old(), self._new()
        if old and not (self._local / new).exists() and not f"{new}/".startswith(f"{old}/"):
            for top in self._tops:
                (top / old).rename(top / new)
        return f"rename {old} {new}"

    def _look(self) -> str:
        mounted, local = map(paths, self._tops)
        assert mounted == local
        return "look"

    def _old(self) -> str:
        return self._chance.choice(paths(self._local) or [""]).removesuffix("/")

    def _new(self) -> str:
        directories = [path for path in paths(self._local) if path.endswith("/")]
        return self._chance.choice(["", *directories]) + self._chance.choice(NAMES)


def paths(top: Path) -> list[str]:
    """All that is below *top*, directories with a "/" at their end."""
    found = []
    for directory, below, files in os.walk(top):
        relative = "" if directory == str(top) else os.path.relpath(directory, top) + "/"
        found += [f"{relative}{name}/" for name in below] + [relative + name for name in files]
    return sorted(found)


def test_trees_are_what_they_are_on_a_local_disk(place: Place, tmp_path: Path) -> None:
    mounted, local = place.path / "tree", tmp_path / "tree"
    mounted.mkdir()
    local.mkdir()
    trees = Trees((mounted, local), random.Random(SEED))
    done: list[str] = []

    try:
        done.extend(trees.step() for _ in range(STEPS))
    except (OSError, AssertionError) as error:
        error.add_note(f"COSFS_TREE_SEED={SEED} COSFS_TREE_STEPS={STEPS}; the last changes were:")
        error.add_note("\n".join(done[-20:]))
        raise

    assert paths(mounted) == paths(local)
    assert digests(mounted) == digests(local)
    time.sleep(1)  # until everybody sees all of it
    with place.fresh() as path:
        assert paths(path / mounted.name) == paths(local)
        assert digests(path / mounted.name) == digests(local)
