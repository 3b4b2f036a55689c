"""One `Status` that every stage counts into and that health, metrics, logs, page and commands read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from shaker.watch.counters import (
    ExpiryProgress,
    KeyCounts,
    LinkCounts,
    ServerClocks,
    SideStatus,
    SnapshotProgress,
    StreamProgress,
    SweepProgress,
    Traffic,
)
from shaker.watch.cutover import CutoverState
from shaker.watch.history import History
from shaker.watch.lag import LagClock
from shaker.watch.verification import Verification

TIMELINE = 1000  # changes of the state that are kept
# Reasons that mean a difference, not a delay.
DIVERGING = frozenset(("rejected", "eviction", "expired", "verification"))


class State(StrEnum):
    """The activity of the worker; the values are the public names in `/status` and `shaker_state`."""

    STARTING = "starting"
    CONNECTING = "connecting"
    HANDSHAKING = "handshaking"
    SNAPSHOT = "snapshot"
    CATCHING_UP = "catching_up"
    STREAMING = "streaming"
    PAUSED = "paused"
    DRAINING = "draining"
    STOPPED = "stopped"
    FENCED = "fenced"
    FAILED = "failed"


@dataclass(slots=True)
class FlowStatus:
    """Counters and states of one flow. Written by the event loop only; reading needs no lock.

    The health server reads from another thread: it copies collections by one atomic `tuple()` before iterating.

    `reasons` maps a stable name to a sentence, for each reason besides state and lag that keeps `/readyz` at 503.
    `heartbeats` maps a task to the time of its last heartbeat and the maximum seconds until the next.
    """

    clock: Callable[[], float] = time.monotonic
    state: State = State.STARTING
    source: SideStatus = field(default_factory=SideStatus)
    target: SideStatus = field(default_factory=SideStatus)
    snapshot: SnapshotProgress = field(default_factory=SnapshotProgress)
    stream: StreamProgress = field(default_factory=StreamProgress)
    links: LinkCounts = field(default_factory=LinkCounts)
    traffic: Traffic = field(default_factory=Traffic)
    keys: KeyCounts = field(default_factory=KeyCounts)
    sweep: SweepProgress = field(default_factory=SweepProgress)
    expiries: ExpiryProgress = field(default_factory=ExpiryProgress)
    clocks: ServerClocks = field(default_factory=ServerClocks)
    lag: LagClock = field(default_factory=LagClock)
    reasons: dict[str, str] = field(default_factory=dict)
    heartbeats: dict[str, tuple[float, float]] = field(default_factory=dict)

    def heartbeat(self, task: str, *, within: float = 30.0) -> None:
        """Record a heartbeat of `task`; the next is due `within` that many seconds."""
        self.heartbeats[task] = (self.clock(), within)

    def forget(self, task: str) -> None:
        """Stop expecting heartbeats of `task`, which has ended."""
        self.heartbeats.pop(task, None)

    def stalled(self) -> list[str]:
        """Return the tasks that missed their heartbeat, for which `/livez` answers 503."""
        now = self.clock()
        return sorted(task for task, (at, within) in tuple(self.heartbeats.items()) if now - at > within)

    def enter(self, state: State) -> None:
        """Change the public state."""
        self.state = state

    def begin_snapshot(self, offset: int) -> None:
        """Count a full sync and reset its progress; the stream will begin at `offset`."""
        self.links.full_syncs += 1
        before = self.snapshot
        # One assignment, so that no scrape sees a counter decrease.
        self.snapshot = SnapshotProgress(
            started=self.clock(),
            offset=offset,
            keys_expected=self.keys.present.get("source", 0),
            keys_before=before.keys_before + before.keys_done,
            bytes_before=before.bytes_before + before.bytes_done,
        )

    def count_error(self, side: str, kind: str, text: str = "") -> None:
        """Count an error of `side` (`source`, `target` or `worker`); `text` becomes that side's last error."""
        self.links.errors[side, kind] += 1
        if text and side in ("source", "target"):
            endpoint = self.source if side == "source" else self.target
            endpoint.last_error, endpoint.last_error_kind = text, kind

    def observe_source_keys(self, keys: int) -> None:
        """Record how many keys the source has."""
        self.keys.present["source"] = keys
        if self.snapshot.started is not None and not self.snapshot.keys_expected:
            self.snapshot.keys_expected = keys

    def observe_source_offset(self, offset: int, asked: float | None = None) -> None:
        """Record the source's own replication offset, from the stream or from its report when asked at `asked`."""
        self.stream.source_offset = offset
        self.lag.observe(self.clock(), offset)
        if asked is not None:
            self.lag.reported(asked, offset)

    def observe_applied(
        self, offset: int, commands: int, latency: float | None, *, exact: int | None = None
    ) -> None:
        """Record the target's answer for everything up to `offset`; `latency` is in seconds.

        `exact` is the offset up to which the target equals the source, if lower.
        """
        self.stream.applied_offset = offset if exact is None else exact
        self.lag.applied(offset)
        self.stream.applied(commands)
        if latency is not None:
            self.stream.latency.observe(latency)

    def smooth_lag(self) -> None:
        """Take a sample of the usual lag; called about once a second."""
        if self.state is State.STREAMING:
            self.lag.smooth(self.lag_seconds)

    @property
    def lag_bytes(self) -> int:
        """Bytes of the source's history that the target has not applied, including those still inside the source.

        During a snapshot they start after the offset of the snapshot.
        """
        stream = self.stream
        applied = stream.applied_offset or self.snapshot.offset
        return max(0, max(stream.source_offset, stream.received_offset) - applied)

    @property
    def lag_seconds(self) -> float:
        """Age in seconds of the oldest source offset that is not yet applied."""
        return self.lag.seconds(self.clock(), self.stream.applied_offset)

    @property
    def diverged(self) -> bool:
        """Whether the target is known to differ from the source at the applied offset."""
        return not DIVERGING.isdisjoint(reason.rpartition("/")[2] for reason in tuple(self.reasons))

    @property
    def snapshot_keys(self) -> int:
        """Keys of the snapshot, 0 while unknown."""
        progress = self.snapshot
        return max(progress.keys_total, 0 if progress.finished is not None else progress.keys_expected)

    def snapshot_share(self) -> float | None:
        """Return the done share of the snapshot, from 0 to 1; None while its size is unknown."""
        progress = self.snapshot
        if progress.bytes_total:
            return min(1.0, progress.bytes_done / progress.bytes_total)
        keys = self.snapshot_keys
        return min(1.0, progress.keys_done / keys) if keys else None

    def eta_seconds(self) -> float | None:
        """Return the seconds left of the snapshot at its average rate; None if unknown."""
        progress, share = self.snapshot, self.snapshot_share()
        if progress.started is None or progress.finished is not None or not share:
            return None
        return (self.clock() - progress.started) / share * (1 - share)

    def not_ready(self, *, max_lag_seconds: float | None, max_lag_bytes: int | None = None) -> list[str]:
        """Return why the worker is not ready, one sentence each; empty when it is."""
        out = []
        if self.state is not State.STREAMING:
            out.append(f"state is {self.state}")
            out.extend(side.last_error for side in (self.source, self.target) if side.last_error)
        out.extend(tuple(self.reasons.values()))
        if max_lag_seconds is not None and self.lag_seconds > max_lag_seconds:
            out.append(f"lag of {self.lag_seconds:.1f} s is above {max_lag_seconds:g} s")
        if max_lag_bytes is not None and self.lag_bytes > max_lag_bytes:
            out.append(f"lag of {self.lag_bytes} bytes is above {max_lag_bytes} bytes")
        return out


@dataclass(slots=True)
class Status(FlowStatus):
    """The status of the worker process, read by page, metrics, probes and logs.

    A worker with one flow counts into this record itself. A worker with more has a record of its own for each in
    `flows`, and `shaker.watch.combined` derives this one from them.
    """

    name: str = "default"
    mode: str = "follow"
    codec: str = "plain"
    version: str = ""
    started: bool = False
    flows: dict[str, FlowStatus] = field(default_factory=dict)
    verification: Verification = field(default_factory=Verification)
    cutover: CutoverState = field(default_factory=CutoverState)
    log_lines_dropped: int = 0  # not accepted by standard output
    history: History = field(default_factory=History)
    timeline: deque[tuple[float, State]] = field(default_factory=lambda: deque(maxlen=TIMELINE))
    _rate: tuple[float, int, float] = (0.0, 0, 0.0)

    def enter(self, state: State) -> None:
        """Change the public state and keep when that was, as Unix time."""
        if not self.timeline or self.timeline[-1][1] is not state:
            self.timeline.append((time.time(), state))
        self.state = state

    @property
    def records(self) -> tuple[FlowStatus, ...]:
        """The record of each flow."""
        return tuple(self.flows.values()) or (self,)

    def sample_rate(self) -> None:
        """Add a sample to `commands_per_second` and the history; called about once a second."""
        now, done = self.clock(), self.stream.commands_applied
        for record in self.records:
            record.smooth_lag()
        # Before the checkpoint is read, the applied offset is unknown and the lag would seem to be the whole history.
        known = self.stream.applied_offset or self.snapshot.started is not None
        self.history.add(
            now,
            lag_bytes=self.lag_bytes if known else 0,
            lag_seconds=self.lag_seconds,
            commands=done,
            keys=self.snapshot.keys_done,
            received=self.traffic.received_bytes,
        )
        at, before, _ = self._rate
        if now > at:
            self._rate = (now, done, (done - before) / (now - at) if at else 0.0)

    @property
    def commands_per_second(self) -> float:
        """Commands applied per second over the last sample."""
        return self._rate[2]
