"""What the codec does for a key and a command does not grow unnoticed."""

from __future__ import annotations

import pytest

from shaker.build import codec_kind
from tests.bench.work import KINDS, PYTHON, RECORD, count, recorded

UNNOTICED = 0.1


@pytest.mark.skipif(codec_kind() != "plain", reason="machine code has no instructions that Python could count")
@pytest.mark.parametrize("kind", KINDS)
def test_work_is_as_recorded(kind: str) -> None:
    """Calls and instructions are as recorded, to a tenth; less has to be recorded, too, or it could come back."""
    expected = recorded().get(PYTHON)
    if expected is None:
        pytest.skip(f"{RECORD.name} has no counts of Python {PYTHON}")

    found = count(KINDS[kind])

    assert found == pytest.approx(expected[kind], rel=UNNOTICED), (
        "meant? then tell it by python -m tests.bench.work --record"
    )


def test_the_record_is_of_these_kinds() -> None:
    """Nothing is recorded that is not counted any more."""
    assert {kind for counts in recorded().values() for kind in counts} == set(KINDS)


def test_more_work_is_more_counts() -> None:
    """The counts see a call and an instruction more."""

    def work() -> None:
        for _ in range(500):
            len(b"")

    def more() -> None:
        for _ in range(500):
            len(b"")
            len(b"")

    assert count(more)["calls"] == pytest.approx(count(work)["calls"] + 1, rel=0.01)
    if PYTHON in recorded():  # others report only a part of the instructions
        assert count(more)["instructions"] > count(work)["instructions"] * 1.3
