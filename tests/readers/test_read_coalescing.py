"""Where much comes, reads are few and large; where little comes, nothing waits."""

from __future__ import annotations

import anyio
import pytest

from shaker.readers.read_coalescing import HIGH_RATE, PAUSE_SECONDS, RATED_SECONDS, ReadCoalescing

FULL = 240 * 1024
pytestmark = pytest.mark.anyio


class Reading:
    """Reads that follow one another on a clock of their own, which runs on through pauses."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses = 0
        self.pace = ReadCoalescing(FULL, lambda: self.now, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        assert seconds == PAUSE_SECONDS
        self.now += seconds
        self.pauses += 1

    async def read(self, size: int, rate: float) -> int:
        """Read `size` bytes at a rate of bytes a second; return how many pauses followed."""
        before = self.pauses
        self.now += size / rate
        await self.pace.gather(size)
        return self.pauses - before


@pytest.fixture
def reading() -> Reading:
    return Reading()


async def test_little_never_waits(reading: Reading) -> None:
    """A high rate for a moment, as of a single large write, does not either."""
    for size in (100, 64 * 1024, FULL - 1) * 50:
        assert await reading.read(size, 0.9 * HIGH_RATE) == 0
    reading.now += 1
    assert await reading.read(FULL - 1, 100 * HIGH_RATE) == 0


async def test_much_waits_behind_each_read_that_was_not_full(reading: Reading) -> None:
    """Behind a full one more is there already."""
    while reading.now + 16 * 1024 / HIGH_RATE < RATED_SECONDS:
        assert await reading.read(16 * 1024, 1.1 * HIGH_RATE) == 0
    assert await reading.read(16 * 1024, 1.1 * HIGH_RATE) == 1
    assert await reading.read(FULL, 1.1 * HIGH_RATE) == 0
    assert await reading.read(FULL - 1, 1.1 * HIGH_RATE) == 1


async def test_the_first_command_behind_a_rest_does_not_wait(reading: Reading) -> None:
    """At any rate before."""
    while reading.pauses == 0:
        await reading.read(64 * 1024, 2 * HIGH_RATE)
    reading.now += RATED_SECONDS * 2
    assert await reading.read(100, 2 * HIGH_RATE) == 0


async def test_it_is_over_with_the_rate(reading: Reading) -> None:
    """Soon after the rate falls, no read waits."""
    while reading.pauses == 0:
        await reading.read(64 * 1024, 2 * HIGH_RATE)
    began = reading.now
    while await reading.read(10_000, 0.5 * HIGH_RATE):
        assert reading.now < began + 2 * RATED_SECONDS
    assert await reading.read(10_000, 0.5 * HIGH_RATE) == 0


async def test_it_really_waits() -> None:
    """By the clock of the event loop; so much at once that it is much however slow the machine is."""
    size = 1 << 40
    pace = ReadCoalescing(size + 1, anyio.current_time)
    until = anyio.current_time() + RATED_SECONDS
    while anyio.current_time() < until:
        await pace.gather(size)
        await anyio.sleep(0.001)
    await pace.gather(size)
    began = anyio.current_time()
    await pace.gather(size)
    assert anyio.current_time() - began >= PAUSE_SECONDS * 0.9
