"""The rounds: every task, by every system in turn, so that a noisy moment hits all of them.

A system that fails or takes too long is not asked the same again; the others go on without it.
"""

import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Final

import httpx
from bench_bucket import Bucket
from bench_processes import MOUNTS, Scene, Service, Unavailable, emulator, nginx
from bench_systems import DiskSystem, Failure, HttpSystem, MountSystem, Sample, Setup, System
from bench_tasks import TASKS, Job, Needs, Task, job

EMULATED_BUCKET: Final = "bench-1250000000"
HTTP: Final = Scene(name="http")
SCENES: Final = (
    HTTP,
    Scene(name="https", https=True),
    Scene(name="30 ms", latency_s=0.03),
)
ELSEWHERE: Final = Scene(name="endpoint")
SYSTEMS: Final = (*MOUNTS, "httpx", "nginx", "disk")


@dataclass(slots=True)
class Outcome:
    """What a system did for one figure: a sample a round, or why there is none."""

    samples: list[Sample] = field(default_factory=list)
    error: str | None = None


@dataclass(slots=True, kw_only=True)
class SceneOutcome:
    """All figures of one scene, by task and again, then by system."""

    scene: Scene
    figures: dict[str, dict[str, Outcome]] = field(default_factory=dict)

    def outcome(self, figure: str, system: str) -> Outcome:
        return self.figures.setdefault(figure, {}).setdefault(system, Outcome())


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be measured; *given* is a service that is not ours."""

    tasks: Sequence[Task]
    systems: Sequence[str]
    scenes: Sequence[Scene]
    given: Service | None


def tasks_of(scene: Scene, tasks: Sequence[Task]) -> list[Task]:
    return [task for task in tasks if task.over_https or not scene.https]


def measure(wanted: Wanted, setup: Setup) -> Iterator[SceneOutcome]:
    """Each scene's outcome as soon as it is known."""
    for scene in wanted.scenes:
        if not tasks_of(scene, wanted.tasks):
            continue
        with ExitStack() as stack:
            run = _Run(wanted, replace(setup, work=setup.work / scene.name.replace(" ", "-")))
            run.setup.work.mkdir()
            stack.callback(shutil.rmtree, run.setup.work, ignore_errors=True)
            yield run.measure(scene, stack)


class _Run:
    """One scene."""

    def __init__(self, wanted: Wanted, setup: Setup) -> None:
        self._wanted = wanted
        self.setup = setup
        self._outcome = SceneOutcome(scene=HTTP)

    def measure(self, scene: Scene, stack: ExitStack) -> SceneOutcome:
        self._outcome = SceneOutcome(scene=scene)
        tasks = tasks_of(scene, self._wanted.tasks)
        service = self._wanted.given or stack.enter_context(
            emulator(scene, bucket=EMULATED_BUCKET, prefix="bench", work=self.setup.work)
        )
        bucket = Bucket(service, self.setup.content)
        stack.callback(bucket.empty)
        self._fill(bucket, tasks)
        systems = list(self._systems(scene, service, bucket, stack))
        for number in range(self.setup.rounds):
            for task in tasks:
                for system in systems:
                    self._do(system, task, number)
                self._tell(task, number)
        return self._outcome

    def _tell(self, task: Task, number: int) -> None:
        """Progress: what the round has just measured."""
        for figure in filter(None, (task.name, task.again)):
            latest = ", ".join(
                f"{system} {outcome.samples[-1].seconds:.3f} s"
                for system, outcome in self._outcome.figures.get(figure, {}).items()
                if outcome.samples and not outcome.error
            )
            print(
                f"{self._outcome.scene.name}, round {number + 1}: {figure}: {latest}", flush=True
            )

    def _fill(self, bucket: Bucket, tasks: Sequence[Task]) -> None:
        """Before anything is mounted, so that no mount knows any of it."""
        sizes = self.setup.sizes
        bucket.fill(
            {sizes.of(task) for task in tasks if task.needs in (Needs.SHARED, Needs.OWN)},
            ["", "read", *self._wanted.systems],
        )
        for work in self._jobs(tasks):
            if work.task.needs in (Needs.LISTING, Needs.TREE) and work.directory is not None:
                bucket.fill_directory(work.directory, work.count)
            bucket.copy_base(work.size, work.before)

    def _jobs(self, tasks: Sequence[Task]) -> Iterator[Job]:
        """All that will be done, what is the same for all systems once."""
        for number in range(self.setup.rounds):
            for task in tasks:
                shared = task.needs in (Needs.SHARED, Needs.LISTING)
                for system in self._wanted.systems[:1] if shared else self._wanted.systems:
                    yield self._job(task, system, number)

    def _job(self, task: Task, system: str, number: int) -> Job:
        return job(task, system, number, sizes=self.setup.sizes, source=self.setup.content)

    def _systems(
        self, scene: Scene, service: Service, bucket: Bucket, stack: ExitStack
    ) -> Iterator[System]:
        for name in self._wanted.systems:
            try:
                system = self._system(name, scene, service, bucket, stack)
            except Unavailable as error:
                self._excuse(name, scene, " ".join(str(error).split()))
                continue
            if system is not None:
                stack.callback(system.stop)
                yield system

    def _system(
        self, name: str, scene: Scene, service: Service, bucket: Bucket, stack: ExitStack
    ) -> System | None:
        setup = self.setup
        if name in MOUNTS:
            mount = MOUNTS[name](service, setup.work)
            mount.start()
            return MountSystem(mount, service, bucket, setup)
        if name == "httpx":
            return HttpSystem(name, service, bucket, setup)
        if name == "nginx" and not scene.latency_s and self._wanted.given is None:
            address, data = stack.enter_context(nginx(scene, work=setup.work))
            return HttpSystem(name, replace(service, endpoint=address), bucket, setup, data)
        if name == "disk" and scene in (HTTP, ELSEWHERE):
            return DiskSystem(setup)
        return None

    def _excuse(self, system: str, scene: Scene, why: str) -> None:
        for task in tasks_of(scene, self._wanted.tasks):
            for figure in filter(None, (task.name, task.again)):
                self._outcome.outcome(figure, system).error = why

    def _do(self, system: System, task: Task, number: int) -> None:
        work = self._job(task, system.name, number)
        works = [work] if task.again is None else [work, replace(work, again=True)]
        for each in filter(system.can, works):
            outcome = self._outcome.outcome(each.figure, system.name)
            if outcome.error is not None:
                return
            try:
                if not each.again:
                    system.prepare(work)
                outcome.samples.append(system.do(each))
            except (Failure, OSError, RuntimeError, httpx.HTTPError) as error:
                outcome.error = str(error) or type(error).__name__
                self._recover(system)
                return
        system.clean(work)

    def _recover(self, system: System) -> None:
        """A system that cannot be had again fails every task to come by itself."""
        try:
            system.recover()
        except Unavailable as error:
            print(f"bench: {error}", flush=True)


def chosen_tasks(names: Sequence[str]) -> list[Task]:
    """The tasks whose name holds one of *names*; all for none."""
    return [t for t in TASKS if not names or any(name in t.name for name in names)]


def unique_prefix() -> str:
    """For a bucket that holds other things as well."""
    return f"cosfs-bench-{secrets.token_hex(4)}"
