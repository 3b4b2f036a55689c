"""Jobs wait for a condition that nobody announces by looking at it again and again."""

from __future__ import annotations

import pytest

from shaker.jobs.job import until

pytestmark = pytest.mark.anyio


async def test_a_condition_is_looked_at_until_it_holds() -> None:
    """At once for the first time, and no more once it holds."""
    looks = iter([False, False, True])
    await until(lambda: next(looks), 0.001)
    assert next(looks, None) is None
    await until(lambda: True, 3600)
