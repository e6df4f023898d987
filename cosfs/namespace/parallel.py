"""Requests side by side: one request for all who want it, and many requests with a limit.

Only the project's own errors are handed on bare; a bug surfaces as trio shows it.
"""

import itertools
from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import trio

from cosfs.errors import CosfsError

T = TypeVar("T")


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
