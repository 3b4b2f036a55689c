"""Whether the replication can be cut over now, and the `cutover` part of `/status`."""

from __future__ import annotations

from typing import Any, Final

from shaker.model.cutover import CutoverPhase
from shaker.watch.status import Status

MAX_LAG_SECONDS: Final = 5.0  # the default of `shaker cutover --max-lag`


def impossible(status: Status, *, fence: str, max_lag_seconds: float) -> list[str]:
    """Return why a cutover with that fence cannot begin now, one sentence each; empty where it can."""
    state = status.cutover
    reasons = status.not_ready(max_lag_seconds=max_lag_seconds)
    if state.phase is CutoverPhase.DONE:
        reasons.append("the replication is cut over already")
    elif state.phase is not CutoverPhase.IDLE:
        reasons.append(f"a cutover is under way ({state.phase})")
    if refused := state.refused.get(fence):
        reasons.append(refused)
    return reasons


def cutover_document(status: Status) -> dict[str, Any]:
    """Return the `cutover` part of `/status`: `possible` and `reasons` are for the defaults of `shaker cutover`."""
    state = status.cutover
    reasons = impossible(status, fence="replicas", max_lag_seconds=MAX_LAG_SECONDS)
    return {
        "possible": not reasons,
        "reasons": reasons,
        "phase": str(state.phase),
        "direction": "reverse" if state.reversed else "forward",
        "id": state.number,
        "keys_left": state.keys_left,
        "report": state.report,
    }
