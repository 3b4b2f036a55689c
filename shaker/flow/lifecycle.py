"""The lifecycle of a flow: six regions that change independently, and one table of what changes them.

Rule 1: everything that changes a state is a row of `TRANSITIONS`; nothing else is set.
Rule 2: an event changes every region that has a row for it, all or none; in a state without a row it is an error.
docs/states.md shows the table as diagrams, made by docs/make_states.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final


class SourceState(Enum):
    """The connection to the source."""

    DISCONNECTED = "disconnected"
    HANDSHAKING = "handshaking"
    SNAPSHOT_REQUESTED = "snapshot_requested"
    SNAPSHOT_PENDING = "snapshot_pending"
    RECEIVING = "receiving"


class TargetState(Enum):
    """The one connection that writes to the target."""

    UNREGISTERED = "unregistered"
    REGISTERED = "registered"
    LOST = "lost"


class DataState(Enum):
    """The data of the target. `LOADING` lasts until the end of a snapshot is applied."""

    UNKNOWN = "unknown"
    LOADING = "loading"
    CURRENT = "current"


class RecordsState(Enum):
    """The worker's records on the target. `REFILLING`: the target was this worker's and has no checkpoint yet."""

    KEPT = "kept"
    WIPED = "wiped"
    REFILLING = "refilling"


class WorkState(Enum):
    """The work of a one-off mode; with mode=follow it is never complete."""

    COPYING = "copying"
    RESTORING_EXPIRIES = "restoring_expiries"
    COMPLETE = "complete"


class RunState(Enum):
    """The flow's tasks. `INTERRUPTED`: they ended before all received data were applied and saved."""

    STARTING = "starting"
    RUNNING = "running"
    DRAINING = "draining"
    DRAINED = "drained"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    FENCED = "fenced"
    FAILED = "failed"


FlowState = SourceState | TargetState | DataState | RecordsState | WorkState | RunState


class FlowEvent(Enum):
    """An event of a flow."""

    STARTED = "started"
    STOP_REQUESTED = "stop requested"
    DRAINED = "drained"
    ENDED = "ended"
    FENCED = "fenced by a newer worker"
    FAILED = "failed"
    SOURCE_CONNECTED = "connected"
    SNAPSHOT_REQUESTED = "snapshot requested"
    FULL_SYNC = "full sync begun"
    SNAPSHOT_ARRIVES = "snapshot arrives"
    PARTIAL_SYNC = "partial sync begun"
    SOURCE_LOST = "source lost"
    REGISTERED = "registered at a checkpoint"
    REGISTERED_EMPTY = "registered without a checkpoint"
    TARGET_LOST = "target lost"
    RECORDS_WIPED = "records wiped"
    POSITION_FOUND = "position found"
    POSITION_LOST = "position lost"
    SNAPSHOT_APPLIED = "snapshot applied"
    END_REACHED = "end offset reached"
    WORK_COMPLETE = "work complete"


class LifecycleError(RuntimeError):
    """An event that its state has no row for: a bug of the worker."""


INITIAL: Final[Mapping[type[FlowState], FlowState]] = {
    RunState: RunState.STARTING,
    WorkState: WorkState.COPYING,
    SourceState: SourceState.DISCONNECTED,
    TargetState: TargetState.UNREGISTERED,
    DataState: DataState.UNKNOWN,
    RecordsState: RecordsState.KEPT,
}
E_, S, T, D, R, W, U = (FlowEvent, SourceState, TargetState, DataState, RecordsState, WorkState, RunState)
TRANSITIONS: Final[dict[tuple[FlowState, FlowEvent], FlowState]] = {
    (U.STARTING, E_.STARTED): U.RUNNING,
    (U.RUNNING, E_.STOP_REQUESTED): U.DRAINING,
    (U.DRAINING, E_.DRAINED): U.DRAINED,
    (U.DRAINED, E_.DRAINED): U.DRAINED,
    (U.DRAINED, E_.ENDED): U.STOPPED,
    (U.DRAINING, E_.ENDED): U.INTERRUPTED,
    (U.RUNNING, E_.ENDED): U.INTERRUPTED,
    **{(state, E_.FENCED): U.FENCED for state in (U.RUNNING, U.DRAINING, U.DRAINED)},
    **{(state, E_.FAILED): U.FAILED for state in (U.RUNNING, U.DRAINING, U.DRAINED)},
    # A one-off mode looks every second whether its end is reached, and at every reply whether its work is complete.
    (W.COPYING, E_.END_REACHED): W.RESTORING_EXPIRIES,
    (W.RESTORING_EXPIRIES, E_.END_REACHED): W.RESTORING_EXPIRIES,
    (W.COMPLETE, E_.END_REACHED): W.COMPLETE,
    **{(state, E_.WORK_COMPLETE): W.COMPLETE for state in W},
    (S.DISCONNECTED, E_.SOURCE_CONNECTED): S.HANDSHAKING,
    (S.HANDSHAKING, E_.SNAPSHOT_REQUESTED): S.SNAPSHOT_REQUESTED,
    (S.SNAPSHOT_REQUESTED, E_.FULL_SYNC): S.SNAPSHOT_PENDING,
    (S.HANDSHAKING, E_.FULL_SYNC): S.SNAPSHOT_PENDING,  # the stream was requested, and is not to be had
    (S.SNAPSHOT_PENDING, E_.SNAPSHOT_ARRIVES): S.RECEIVING,
    (S.HANDSHAKING, E_.PARTIAL_SYNC): S.RECEIVING,
    **{(state, E_.SOURCE_LOST): S.DISCONNECTED for state in S},
    # A registration ends the connection that was registered before, whether this side has noticed its loss or not.
    **{(state, E_.REGISTERED): T.REGISTERED for state in T},
    **{(state, E_.REGISTERED_EMPTY): T.REGISTERED for state in T},
    (T.UNREGISTERED, E_.TARGET_LOST): T.UNREGISTERED,
    (T.REGISTERED, E_.TARGET_LOST): T.LOST,
    (T.LOST, E_.TARGET_LOST): T.LOST,
    **{(state, E_.RECORDS_WIPED): R.WIPED for state in R},
    (R.KEPT, E_.REGISTERED): R.KEPT,
    (R.KEPT, E_.REGISTERED_EMPTY): R.KEPT,
    (R.WIPED, E_.REGISTERED): R.REFILLING,  # this checkpoint's data may be gone
    (R.WIPED, E_.REGISTERED_EMPTY): R.REFILLING,
    (R.REFILLING, E_.REGISTERED): R.KEPT,
    (R.REFILLING, E_.REGISTERED_EMPTY): R.REFILLING,
    **{(state, E_.POSITION_FOUND): D.CURRENT for state in D},
    **{(state, E_.POSITION_LOST): D.LOADING for state in D},
    **{(state, E_.FULL_SYNC): D.LOADING for state in (D.CURRENT, D.LOADING)},
    (D.LOADING, E_.SNAPSHOT_APPLIED): D.CURRENT,
    (D.CURRENT, E_.SNAPSHOT_APPLIED): D.CURRENT,  # of two snapshots in the window
}
del E_, S, T, D, R, W, U


def _regions() -> dict[FlowEvent, tuple[type[FlowState], ...]]:
    found: dict[FlowEvent, dict[type[FlowState], None]] = {event: {} for event in FlowEvent}
    for state, event in TRANSITIONS:
        found[event][type(state)] = None
    return {event: tuple(regions) for event, regions in found.items()}


REGIONS: Final = _regions()  # that each event changes


class Lifecycle:
    """The state of each region of one flow. Read them; `happen` is the only thing that changes them."""

    def __init__(self) -> None:
        self.run = RunState.STARTING
        self.work = WorkState.COPYING
        self.source = SourceState.DISCONNECTED
        self.target = TargetState.UNREGISTERED
        self.data = DataState.UNKNOWN
        self.records = RecordsState.KEPT

    def happen(self, event: FlowEvent) -> None:
        """Change the regions that `event` concerns; raises LifecycleError where one of them does not know it."""
        following = [self._following(region, event) for region in REGIONS[event]]
        for state in following:
            setattr(self, ATTRIBUTES[type(state)], state)

    def _following(self, region: type[FlowState], event: FlowEvent) -> FlowState:
        state: FlowState = getattr(self, ATTRIBUTES[region])
        following = TRANSITIONS.get((state, event))
        if following is None:
            raise LifecycleError(f"{event.value!r} happened to a flow that was {state.value}")
        return following


ATTRIBUTES: Final[Mapping[type[FlowState], str]] = {
    RunState: "run",
    WorkState: "work",
    SourceState: "source",
    TargetState: "target",
    DataState: "data",
    RecordsState: "records",
}
