"""Function libraries belong to a pass over all keys, and to the last look of a cutover."""

from __future__ import annotations

import pytest

from shaker.jobs.verify_walk import Selection
from shaker.jobs.verify_wanted import Wanted


@pytest.mark.parametrize(
    ("wanted", "libraries"),
    [
        (Wanted(), True),
        (Wanted(keys_only=True), True),
        (Wanted(Selection(database=0)), False),
        (Wanted(only={0: [b"k"]}), False),
        (Wanted(only={}, fenced=True), True),
    ],
)
def test_when_libraries_are_compared(wanted: Wanted, libraries: bool) -> None:
    """A part of the keys says nothing of them."""
    assert wanted.libraries is libraries
