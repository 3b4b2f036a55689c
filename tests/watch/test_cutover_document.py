"""Reasons against a cutover."""

from __future__ import annotations

from shaker.model.cutover import CutoverEvent, CutoverPhase
from shaker.watch.cutover_document import cutover_document, impossible
from shaker.watch.status import State, Status


def streaming() -> Status:
    """A worker that streams and has no lag."""
    return Status(state=State.STREAMING)


def test_a_worker_that_streams_can_be_cut_over() -> None:
    """Nothing speaks against it."""
    document = cutover_document(streaming())
    assert (document["possible"], document["reasons"], document["phase"]) == (True, [], "idle")


def test_each_reason_is_named() -> None:
    """Those of readiness, a refused fence, another cutover."""
    status = streaming()
    status.state = State.CATCHING_UP
    status.reasons["rejected"] = "the target rejected 1 command"
    status.cutover.refused["replicas"] = "no CONFIG SET"
    status.cutover.happen(CutoverEvent.STARTED)
    assert impossible(status, fence="replicas", max_lag_seconds=5) == [
        "state is catching_up",
        "the target rejected 1 command",
        "a cutover is under way (preparing)",
        "no CONFIG SET",
    ]
    assert "no CONFIG SET" not in impossible(status, fence="pause", max_lag_seconds=5)


def test_there_is_one_cutover_only() -> None:
    """After it the worker ends."""
    status = streaming()
    status.cutover.phase = CutoverPhase.DONE
    assert impossible(status, fence="none", max_lag_seconds=5) == ["the replication is cut over already"]
