"""Running a few tasks together, whose errors are raised as they are and not as a group."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import anyio

Result = TypeVar("Result")


async def first_to_finish(*tasks: Callable[[], Awaitable[None]]) -> None:
    """Run `tasks` until the first one ends or fails, then cancel the others.

    Raises the error of the one that failed as it is, not as a group: what ends a connection is one thing.
    """
    errors: list[Exception] = []

    async def run(task: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
        try:
            await task()
        except Exception as error:
            errors.append(error)
        scope.cancel()

    async with anyio.create_task_group() as group:
        for task in tasks:
            group.start_soon(run, task, group.cancel_scope)
    raise_first(errors)


def raise_first(errors: list[Exception]) -> None:
    """Raise the first of `errors`, if there is one, and empty them."""
    if errors:
        try:
            raise errors[0]
        finally:
            # Its traceback holds this frame: together they would keep all that the tasks held.
            errors.clear()


async def all_of(tasks: Sequence[Callable[[], Awaitable[Result]]]) -> list[Result]:
    """Run `tasks` at the same time and return their results in order; the first error ends all of them."""
    results: dict[int, Result] = {}

    async def run(index: int, task: Callable[[], Awaitable[Result]]) -> None:
        results[index] = await task()
        if len(results) < len(tasks):
            await anyio.sleep_forever()

    await first_to_finish(*(partial(run, index, task) for index, task in enumerate(tasks)))
    return [results[index] for index in range(len(tasks))]
