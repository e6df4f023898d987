"""Requests side by side: one request for all who want it, and many requests with a limit.

Only the project's own errors are handed on bare; a bug surfaces as trio shows it.
"""

import itertools
import logging
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import trio

from cosfs.errors import CosfsError

T = TypeVar("T")
log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Flight(Generic[T]):
    """A call on its way. *result* stays None when its caller was cancelled."""

    done: trio.Event = field(default_factory=trio.Event)
    result: tuple[T] | CosfsError | None = None


class SingleFlight(Generic[T]):
    """Calls for the same key at the same time share one answer, or one error."""

    def __init__(self) -> None:
        self._flights: dict[Hashable, _Flight[T]] = {}

    async def share(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        """The answer of *call*, or of the one under way for *key*. Yields."""
        while (flight := self._flights.get(key)) is not None:
            await flight.done.wait()
            if isinstance(flight.result, tuple):
                return flight.result[0]
            if flight.result is not None:
                raise flight.result
        return await self._lead(key, call)

    async def _lead(self, key: Hashable, call: Callable[[], Awaitable[T]]) -> T:
        flight = self._flights[key] = _Flight()
        try:
            flight.result = (await call(),)
        except CosfsError as error:
            flight.result = error
            raise
        finally:
            del self._flights[key]
            flight.done.set()
        return flight.result[0]


class Begun(Generic[T]):
    """A call that runs already, in *nursery*, before somebody waits for its answer."""

    def __init__(self, nursery: trio.Nursery, call: Callable[[], Awaitable[T]]) -> None:
        self._call = call
        self._scope = trio.CancelScope()
        self._done = trio.Event()
        self._answer: tuple[T] | None = None
        self._error: Exception | None = None
        nursery.start_soon(self._run)

    async def answer(self) -> T:
        """What the call returned or raised. Yields."""
        await self._done.wait()
        if self._error is not None:
            raise self._error
        assert self._answer is not None, "cancelled, and waited for"
        return self._answer[0]

    def cancel(self) -> None:
        """Nobody will wait for it. Does not yield."""
        self._scope.cancel()

    async def _run(self) -> None:
        try:
            with self._scope:
                self._answer = (await self._call(),)
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer gets it
            self._error = error
        finally:
            self._done.set()


async def in_background(call: Callable[[], Awaitable[None]]) -> None:
    """Run *call*, whose errors nobody waits for: who wants what it asks for asks again."""
    try:
        await call()
    except CosfsError as error:
        log.debug("not asked ahead error=%s", error)
    except Exception:
        log.exception("asking ahead broke")


async def for_each(
    items: Iterable[T], action: Callable[[T], Awaitable[None]], *, parallel: int
) -> None:
    """Run *action* on every item, *parallel* at a time. The first error ends all and is raised."""
    waiting = iter(items)
    errors: list[CosfsError] = []
    async with trio.open_nursery() as nursery:
        for item in itertools.islice(waiting, parallel):
            nursery.start_soon(_work, item, waiting, action, errors, nursery.cancel_scope)
    if errors:
        raise errors[0]


async def _work(
    item: T,
    waiting: Iterator[T],
    action: Callable[[T], Awaitable[None]],
    errors: list[CosfsError],
    scope: trio.CancelScope,
) -> None:
    try:
        await action(item)
        for another in waiting:
            await action(another)
    except CosfsError as error:
        errors.append(error)
        scope.cancel()
