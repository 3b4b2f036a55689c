"""Items are made one step ahead, errors come where they belong, and nothing goes on behind the block."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

import anyio
import anyio.lowlevel
import pytest

from shaker.errors import LinkError
from shaker.jobs.read_ahead import read_ahead

pytestmark = pytest.mark.anyio


class Numbers:
    """Numbers from 1 on, and what has been made of them so far."""

    def __init__(self, last: int, error: Exception | None = None) -> None:
        self.made = 0
        self.closed = False
        self._last, self._error = last, error

    async def items(self) -> AsyncGenerator[int, None]:
        """Yield the numbers, then raise the error if there is one."""
        try:
            while self.made < self._last:
                await anyio.lowlevel.checkpoint()
                self.made += 1
                yield self.made
            if self._error is not None:
                raise self._error
        finally:
            self.closed = True


async def work(numbers: Numbers, on: Callable[[int], object]) -> None:
    """Call `on` with each of the numbers."""
    async with read_ahead(numbers.items()) as items:
        async for item in items:
            on(item)


async def test_the_next_item_is_made_meanwhile_and_no_more() -> None:
    numbers, taken = Numbers(5), []
    async with read_ahead(numbers.items()) as items:
        async for item in items:
            await anyio.wait_all_tasks_blocked()
            assert numbers.made == min(item + 1, 5)
            taken.append(item)
    assert taken == [1, 2, 3, 4, 5]
    assert numbers.closed


async def test_an_error_of_the_items_comes_behind_those_before_it() -> None:
    """As it is, not as a group."""
    taken: list[int] = []
    with pytest.raises(LinkError, match="lost"):
        await work(Numbers(3, LinkError("lost")), taken.append)
    assert taken == [1, 2, 3]


async def test_an_error_of_the_block_ends_the_items() -> None:
    numbers = Numbers(100)

    def fail(item: int) -> None:
        raise ValueError("enough")

    with pytest.raises(ValueError, match="enough"):
        await work(numbers, fail)
    assert numbers.closed
    assert numbers.made <= 2


@pytest.mark.parametrize("taken", [0, 2])
async def test_the_block_may_leave_early(taken: int) -> None:
    numbers = Numbers(100)
    async with read_ahead(numbers.items()) as items:
        for _ in range(taken):
            await anext(items)
    assert numbers.closed or not numbers.made
    assert numbers.made <= taken + 1


async def test_cancellation_passes_through() -> None:
    numbers = Numbers(2)
    with anyio.move_on_after(0.05) as scope:
        async with read_ahead(numbers.items()) as items:
            async for item in items:
                if item == 2:
                    await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert numbers.closed
