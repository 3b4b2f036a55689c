"""The operator's view of a flow: its public state, and the reasons that keep the worker from being ready. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from shaker.apply.records import Checkpoint
from shaker.apply.unconfirmed import Unconfirmed
from shaker.flow.lifecycle import DataState, Lifecycle, RunState, SourceState, TargetState
from shaker.model.position import Phase, Sweep
from shaker.watch.status import FlowStatus, State

# A flow whose lag has been longer is not `streaming` before it has caught up once.
CAUGHT_UP_SECONDS: Final = 1.0
# The public state wherever the flow's tasks are not all at work.
OF_RUN: Final[Mapping[RunState, State]] = {
    RunState.STARTING: State.STARTING,
    RunState.DRAINING: State.DRAINING,
    RunState.DRAINED: State.DRAINING,
    RunState.STOPPED: State.STOPPED,
    RunState.INTERRUPTED: State.STOPPED,
    RunState.FENCED: State.FENCED,
    RunState.FAILED: State.FAILED,
}


def public_state(lifecycle: Lifecycle, checkpoint: Checkpoint | None, *, near: bool, paused: bool = False) -> State:
    """Return the first state that applies, in the order of the table in docs/states.md.

    `near`: the flow has come to where the source was when the stream began, with its expiries restored.
    `paused`: an operator has paused the worker.
    """
    if lifecycle.run in OF_RUN:
        return OF_RUN[lifecycle.run]
    if paused or lifecycle.target is TargetState.LOST:
        return State.PAUSED
    if lifecycle.source in (SourceState.HANDSHAKING, SourceState.SNAPSHOT_REQUESTED):
        return State.HANDSHAKING
    if lifecycle.source is SourceState.DISCONNECTED or lifecycle.target is TargetState.UNREGISTERED:
        return State.CONNECTING
    if lifecycle.data is DataState.LOADING or checkpoint is None or checkpoint.phase != Phase.STREAM:
        return State.SNAPSHOT
    return State.STREAMING if near and not checkpoint.sweep else State.CATCHING_UP


def reasons(
    lifecycle: Lifecycle,
    status: FlowStatus,
    checkpoint: Checkpoint | None,
    unconfirmed: Unconfirmed,
    snapshot_requested_at: float,
) -> dict[str, str]:
    """Return a sentence for each reason that follows from the flow's state; empty for one that does not apply."""
    snapshot = sweep = work = ""
    if lifecycle.source in (SourceState.SNAPSHOT_REQUESTED, SourceState.SNAPSHOT_PENDING):
        waited = status.clock() - snapshot_requested_at
        snapshot = f"waiting for the source's snapshot ({waited:.0f} s)"
    if checkpoint is not None and checkpoint.sweeps_first and not status.sweep.held:
        listing = checkpoint.phase == Phase.SNAPSHOT and checkpoint.sweep == Sweep.LISTING
        sweep = (
            f"the keys of the target are being listed: {status.sweep.listed} so far"
            if listing
            else f"stale keys are being removed: {status.sweep.deleted} deleted, {status.sweep.stale} left"
        ) + _interrupted(status.sweep.error)
    if unconfirmed.pending:
        work = (
            f"{max(unconfirmed.bytes, 1)} bytes of the stream are unconfirmed, because their replies were not read: "
            "their keys are being compared with the source's"
        ) + _interrupted(unconfirmed.error)
    return {
        "paused": _paused(status),
        "snapshot": snapshot,
        "max_deletions": status.sweep.held,
        "sweep": sweep,
        "unconfirmed": work,
    }


def _paused(status: FlowStatus) -> str:
    """Return since when an operator has paused the worker, and when the source's buffer for it overflows."""
    pause = status.traffic.pause
    if pause.since is None:
        return ""
    text = f"paused by an operator ({time.time() - pause.since:.0f} s ago)"
    left = pause.overflows_in_seconds
    if left is not None:
        text += f"; the source drops the connection in about {left:.0f} s: {pause.overflow_reason}"
    return text


def _interrupted(error: str) -> str:
    return f"; interrupted: {error}" if error else ""
