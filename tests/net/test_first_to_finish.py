"""Tasks of one connection: they end together, and let go of what they held."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import anyio
import pytest

from shaker.errors import LinkError
from shaker.net.first_to_finish import all_of, first_to_finish

pytestmark = pytest.mark.anyio


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only unreferenced objects are freed."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Held:
    """A stand-in for the bytes of a connection."""


async def fail(held: Held) -> None:
    """A connection that is lost."""
    raise LinkError(f"lost with {type(held).__name__}", kind="lost")


async def test_the_first_to_end_ends_the_others() -> None:
    """One that ends by itself is no error."""

    async def end() -> None:
        await anyio.lowlevel.checkpoint()

    with anyio.fail_after(5):
        await first_to_finish(end, anyio.sleep_forever)


async def test_an_error_comes_as_it_is() -> None:
    """Not as a group."""
    with anyio.fail_after(5), pytest.raises(LinkError, match="lost with Held"):
        await first_to_finish(lambda: fail(Held()), anyio.sleep_forever)


async def test_a_failure_lets_go(no_collector: None) -> None:
    """The memory of a lost connection is freed with it: each may be a window of bytes, and they may be lost quickly."""
    held = Held()
    alive = weakref.ref(held)

    async def lose(mine: Held) -> None:
        try:
            await first_to_finish(lambda: fail(mine))
        except LinkError:
            return

    await lose(held)
    del held
    assert alive() is None


async def test_results_come_in_order_however_the_tasks_end() -> None:
    async def after(steps: int) -> int:
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        return steps

    with anyio.fail_after(5):
        assert await all_of([lambda: after(3), lambda: after(0), lambda: after(1)]) == [3, 0, 1]
        assert await all_of([lambda: after(2)]) == [2]


async def test_the_first_error_ends_all() -> None:
    """As it is, not as a group."""
    with anyio.fail_after(5), pytest.raises(LinkError, match="lost with Held"):
        await all_of([anyio.sleep_forever, lambda: fail(Held())])
