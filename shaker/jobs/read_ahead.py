"""Reads items one step ahead of those who work on them, so that servers and worker are busy at the same time."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

import anyio

from shaker.net.first_to_finish import raise_first

Item = TypeVar("Item")


@asynccontextmanager
async def read_ahead(items: AsyncGenerator[Item, None]) -> AsyncIterator[AsyncIterator[Item]]:
    """Iterate over `items`, whose next one is made while the block works on the one before it.

    An error of theirs is raised where the next item would come. `items` are closed at the end of the block.
    """
    errors: list[Exception] = []
    sender, receiver = anyio.create_memory_object_stream[Item]()

    async def make() -> None:
        async with sender, aclosing(items):
            try:
                async for item in items:
                    await sender.send(item)
            except Exception as error:
                errors.append(error)

    async def made() -> AsyncIterator[Item]:
        async for item in receiver:
            yield item
        raise_first(errors)

    async with receiver, anyio.create_task_group() as tasks:
        tasks.start_soon(make)
        try:
            yield made()
        except Exception as error:
            errors.append(error)  # to be raised as it is, not as a group
        tasks.cancel_scope.cancel()
    raise_first(errors)
