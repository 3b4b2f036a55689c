"""Running the few tasks of one connection together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio


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
    if errors:
        try:
            raise errors[0]
        finally:
            # Its traceback holds this frame: together they would keep all that the tasks held.
            errors.clear()
