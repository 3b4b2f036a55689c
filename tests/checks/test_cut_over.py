"""A worker after a cutover: refused while its note says that it is done."""

from __future__ import annotations

import pytest

from shaker.apply.records import Checkpoint
from shaker.checks.cut_over import refuse_after_cutover
from shaker.errors import RefusedError
from shaker.model.cutover import CutoverNote


def test_a_cutover_that_is_done_is_refused() -> None:
    """With the offset, and the way back."""
    with pytest.raises(RefusedError, match=r"cut over at offset 7.*`shaker abort`"):
        refuse_after_cutover(Checkpoint(cutover=str(CutoverNote(True, {}, 7, 1))))


@pytest.mark.parametrize("text", ["", "damaged", str(CutoverNote(False, {"min-replicas-to-write": "0"}))])
def test_any_other_checkpoint_is_taken(text: str) -> None:
    """The job undoes a cutover that is not done."""
    refuse_after_cutover(Checkpoint(cutover=text))
