"""Random programs on random files, against a model; COSFS_MODEL_EXAMPLES sets how many (40).

A failure prints the shortest list of steps that hypothesis finds, ready to be tried again.
"""

import os
from functools import partial
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cosfs.config import TransferConfig
from cosfs.emulator.faults import Fault
from cosfs.namespace.removals import PLAIN_FIRST
from tests.model.machine import MAX_SIZE, Kind, Machine, ModelFile, Step
from tests.support.engines import MIB, PART, make_quiet_api, opened_files
from tests.support.jumping import run_jumping

NAMES: Final = ("a", "b", "c")
CONFIG: Final = TransferConfig(part_size=PART, parallel=3, memory=16 * MIB, read_ahead=2 * MIB)
EXAMPLES: Final = int(os.environ.get("COSFS_MODEL_EXAMPLES", "40"))
TRANSIENT: Final = (
    Fault(probability=0.1, status=503, code="SlowDown"),
    Fault(probability=0.05, reset=True),
    Fault(operation="UploadPart", probability=0.1, cut=1000),
    Fault(operation="GetObject", probability=0.1, cut=1000),
)

edges = st.sampled_from([0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB + 5, MAX_SIZE - 1])
offsets = st.one_of(edges, st.integers(0, MAX_SIZE - 1))
sizes = st.one_of(edges, st.integers(1, 5000), st.integers(1, 3 * MIB))
handle_steps = st.builds(
    Step,
    st.sampled_from([Kind.WRITE, Kind.WRITE, Kind.APPEND, Kind.APPEND, Kind.READ, Kind.TRUNCATE]),
    which=st.integers(0, 3),
    where=offsets,
    size=sizes.filter(bool),
)
ends = st.builds(
    Step,
    st.sampled_from([Kind.FLUSH, Kind.FSYNC, Kind.CLOSE, Kind.RELEASE]),
    which=st.integers(0, 3),
)
name_steps = st.builds(
    Step,
    st.sampled_from(
        [Kind.OPEN, Kind.OPEN, Kind.OPEN_TRUNCATED, Kind.RENAME, Kind.UNLINK, Kind.UNLINK]
    ),
    which=st.integers(0, len(NAMES) - 1),
    where=st.integers(0, len(NAMES) - 1),
)
# A mount's life: its steps; what they have stored is what the next mount finds.
lives = st.lists(
    st.lists(st.one_of(handle_steps, handle_steps, ends, name_steps), max_size=20), max_size=3
)
removals = st.sampled_from([0, 0, PLAIN_FIRST])  # that COS has answered before more are collected
bounded = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


async def live(
    programs: list[list[Step]], *, faults_seed: int | None, plain_removals: int
) -> None:
    api = make_quiet_api()
    known: dict[str, ModelFile] = {}
    for program in programs:
        if faults_seed is not None:
            api.faults.seed = faults_seed
            api.faults.set(TRANSIENT)
        async with opened_files(api, CONFIG) as files:
            files.fs.namespace.removals.plain_first = plain_removals
            machine = Machine(files, NAMES, known)
            for step in (Step(Kind.OPEN), *program):
                await machine.take(step)
            await machine.finish()


def run(
    programs: list[list[Step]], *, faults_seed: int | None = None, plain_removals: int
) -> None:
    run_jumping(partial(live, programs, faults_seed=faults_seed, plain_removals=plain_removals))


@given(lives, removals)
@bounded
def test_files_are_what_programs_made_of_them(programs: list[list[Step]], plain: int) -> None:
    run(programs, plain_removals=plain)


@given(lives, st.integers(0, 1000), removals)
@bounded
def test_faults_that_pass_change_nothing(
    programs: list[list[Step]], seed: int, plain: int
) -> None:
    run(programs, faults_seed=seed, plain_removals=plain)
