"""A cutover that fails at any step under load does no harm; with the worker killed, tests/e2e/test_cutover.py."""

from __future__ import annotations

import pytest

from tests.soak.cutovers import FENCE_SECONDS, STEPS, fail


@pytest.mark.timeout(180)
@pytest.mark.parametrize("ending", ["aborted", "link lost"])
@pytest.mark.parametrize("step", STEPS)
def test_a_cutover_that_fails_leaves_the_source_open(step: str, ending: str) -> None:
    """The source takes writes again, the worker streams, and nothing is lost."""
    found = fail(STEPS[step], ending, keys=500, rate=1000)
    assert found.closed_seconds < FENCE_SECONDS
