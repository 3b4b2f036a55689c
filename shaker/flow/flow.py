"""One source stream into one target: its window, where it resumes, its lifecycle, and how its tasks wake each other.

A worker has one flow for each source shard and target node; nothing in it is global. Readers `put` items and wait
for `room`; the writer waits for the `next` ones and reports `applied` checkpoints; jobs request a `barrier`; everybody
reads the `state`. Only the event loop calls its methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import anyio
import structlog

from shaker.apply.deferred_expiries import Expiries
from shaker.apply.expired import ExpiredKeys
from shaker.apply.records import Checkpoint, checkpoint_key
from shaker.apply.unconfirmed import Unconfirmed
from shaker.apply.upstream import Upstream
from shaker.apply.window import Window, position_of
from shaker.flow.expiry_view import ExpiryView
from shaker.flow.intake import Intake
from shaker.flow.known import KnownSource, KnownTarget
from shaker.flow.lifecycle import DataState, FlowEvent, Lifecycle, RecordsState, RunState, SourceState
from shaker.flow.public_state import CAUGHT_UP_SECONDS, public_state, reasons
from shaker.flow.registrations import Registrations
from shaker.flow.wakeups import Wakeups
from shaker.flow.watch import KeyWatch, StreamWatch
from shaker.model.batch import Batch
from shaker.model.items import Barrier, Item, StreamItem
from shaker.model.position import Phase, Resume, Sweep
from shaker.rules.scripts import Scripts
from shaker.settings.schema import Settings
from shaker.watch.status import FlowStatus, State

log = structlog.get_logger("shaker")

AnyWatch = TypeVar("AnyWatch", bound=StreamWatch)


class Flow:
    """One source stream and its target."""

    def __init__(self, status: FlowStatus, settings: Settings, *, window_limit: int) -> None:
        self.status = status
        self.lifecycle = Lifecycle()
        self.window = Window(window_limit)
        self.resume: Resume | None = None  # where the source is asked to continue, None for a full sync
        self.restarts = 0  # how often the window was emptied, so that the source had to be asked again
        self.source = KnownSource(upstream=Upstream(checkpoint_key(settings.name)))
        self.target = KnownTarget()
        self.wakeups = Wakeups()
        self.registrations = Registrations()
        self.intake = Intake(status.clock)
        self.scripts = Scripts()  # that EVALSHA may name: a target that has restarted knows none
        self.unconfirmed = Unconfirmed(settings.name)
        self.expiry = ExpiryView(settings, status, self.window, self.lifecycle, self.source, self.target)
        self._changed = anyio.Event()
        self._watches: list[StreamWatch] = []
        self.limit(settings.rate.model_dump())

    # --- the verbs of readers, writers and jobs ---

    def put(self, item: Item) -> None:
        """Append an item to the window."""
        self.window.put(item)
        self.status.traffic.window_bytes = self.window.size
        self.wakeups.work.set()

    def put_batch(self, batch: Batch, item: StreamItem) -> None:
        """Append a batch of the stream and move the resume position to its end."""
        for body in batch.scripts:
            self.scripts.add(body)
        for watch in self._watches:
            watch.see(batch)
        if not batch.more:
            # Within an unfinished batch, another database can be selected than where it begins.
            self.resume = Resume(batch.replid, batch.end_offset, batch.database)
        self.put(item)

    async def room(self) -> None:
        """Return once the window has room."""
        while self.window.full:
            await self.wakeups.space.wait()

    async def next(self) -> None:
        """Return once there may be more to write."""
        await self.wakeups.work.wait()

    def applied(self, checkpoint: Checkpoint) -> None:
        """Take over the newest checkpoint that the target has answered for."""
        self.target.checkpoint = checkpoint
        if checkpoint.sweeps_first:
            self.wakeups.sweep.set()
        status = self.status
        status.traffic.window_bytes = self.window.size
        status.expiries.pending = self.expiries.waiting
        if checkpoint.phase == Phase.STREAM:
            status.stream.checkpoint_offset = checkpoint.offset
            status.stream.replid = checkpoint.replid
        if not self.window.full:
            self.wakeups.space.set()
        wanted = self.source.ack_wanted
        if wanted is not None and self.acknowledged_offset >= wanted:
            self.source.ack_wanted = None
            self.wakeups.acknowledge.set()

    @contextmanager
    def watch(self, key: bytes) -> Iterator[KeyWatch]:
        """Watch the stream for commands on `key` within the block."""
        with self.watching(KeyWatch(key)) as watch:
            yield watch

    @contextmanager
    def watching(self, watch: AnyWatch) -> Iterator[AnyWatch]:
        """Show every batch of the stream to `watch` within the block."""
        self._watches.append(watch)
        try:
            yield watch
        finally:
            self._watches.remove(watch)

    def barrier(self, barrier: Barrier) -> bool:
        """Request that the target is held at the barrier; False where no stream is being taken."""
        if self.intake.held or self.lifecycle.source is not SourceState.RECEIVING:
            return False
        self.intake.request(barrier)
        self.wakeups.barrier.set()
        return True

    @property
    def state(self) -> State:
        """The public state."""
        return self.status.state

    # --- what follows from the state ---

    @property
    def phase(self) -> Phase:
        """Phase of the newest checkpoint."""
        checkpoint = self.target.checkpoint
        return checkpoint.phase if checkpoint is not None else Phase.NONE

    @property
    def sweep(self) -> str:
        """Progress of the sweep of the newest checkpoint; empty when there is none."""
        checkpoint = self.target.checkpoint
        return checkpoint.sweep if checkpoint is not None else ""

    @property
    def expiries(self) -> Expiries:
        """The deferred expiries."""
        return self.expiry.deferred

    @property
    def ours(self) -> bool:
        """Whether, as far as known, the keys of the target are this worker's."""
        return self.target.checkpoint is not None or self.lifecycle.records is RecordsState.REFILLING

    @property
    def loading(self) -> bool:
        """Whether a snapshot is being received, or its end is not applied yet."""
        return self.lifecycle.data is DataState.LOADING

    @property
    def listing(self) -> bool:
        """Whether a snapshot waits until the keys of the target are listed."""
        return self.phase == Phase.SNAPSHOT and self.sweep == Sweep.LISTING

    @property
    def unapplied(self) -> bool:
        """Whether received bytes are not applied yet: in the window or in the spool."""
        return len(self.window) > 0 or self.status.traffic.spool_bytes > 0

    @property
    def settled(self) -> bool:
        """Whether no key waits to be removed, for its true expiry, to be copied, or to be compared."""
        return not (self.sweep or self.expiries.waiting or self.unconfirmed.pending)

    @property
    def keeping_up(self) -> bool:
        """Whether the stream is applied, no stale key is left, and expiries are not behind: barriers make sense."""
        streams = self.state in (State.STREAMING, State.CATCHING_UP)
        return streams and not self.sweep and not self.expiry.behind

    @property
    def acknowledged_offset(self) -> int:
        """The applied offset to acknowledge to the source, 0 until the stream begins on the target.

        A snapshot implies deletions too: they are applied once no stale key is left.
        """
        base = self.window.applied_position
        if self.loading or self.phase != Phase.STREAM or self.sweep or base is None or base.phase != Phase.STREAM:
            return 0
        return self.expiries.exact(base.number)

    # --- what an operator does ---

    def pause(self, by: str) -> None:
        """Take nothing more of what the source sends, until `unpause`."""
        self.intake.hold()
        self.status.traffic.pause.begin(by)
        log.info("paused", by=by)
        self.refresh_state()

    def unpause(self, by: str) -> None:
        """Take what the source sends again."""
        self.intake.release()
        self.status.traffic.pause.end()
        log.info("resumed", by=by)
        self.refresh_state()

    def allow_deletions(self) -> bool:
        """Let held deletions of this full resync continue; False where none are held."""
        if not self.status.sweep.held:
            return False
        self.target.deletions_allowed = True
        self.wakeups.deletions.set()
        return True

    def limit(self, limits: Mapping[str, int | None]) -> None:
        """Change the limits of the intake that are named; None is no limit."""
        self.intake.rates.change(limits)
        self.status.traffic.limits = self.intake.rates.limits

    # --- what happens to the flow ---

    def happen(self, event: FlowEvent) -> None:
        """Let `event` change the lifecycle, and derive the public state from it."""
        self.lifecycle.happen(event)
        self._announce()

    def _announce(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()
        self.refresh_state()

    async def until(self, condition: Callable[[Lifecycle], bool]) -> None:
        """Return once the lifecycle meets `condition`."""
        while not condition(self.lifecycle):
            await self._changed.wait()

    def request_snapshot(self) -> None:
        """Record that the source is asked for a snapshot."""
        self.source.snapshot_requested_at = self.status.clock()
        self.happen(FlowEvent.SNAPSHOT_REQUESTED)

    def begin_snapshot(self) -> None:
        """Record that the source has begun a full sync: it replaces all keys of the target."""
        if self.lifecycle.source is not SourceState.SNAPSHOT_REQUESTED:
            self.source.snapshot_requested_at = self.status.clock()
        self.source.caught_up_at = 0
        self.source.upstream.clear()
        self.unconfirmed.begin_snapshot()
        self.window.discard_waiting()
        self.resume = None
        self.target.deletions_allowed = False
        self.status.reasons.pop("expired", None)
        self.happen(FlowEvent.FULL_SYNC)

    def continue_stream(self, caught_up_at: int) -> None:
        """Record that the source continues the stream; until `caught_up_at` is applied, the flow is catching up."""
        self.source.caught_up_at = caught_up_at
        self.happen(FlowEvent.PARTIAL_SYNC)

    def snapshot_applied(self, caught_up_at: int) -> None:
        """Record that the end of a snapshot is applied; until `caught_up_at` is too, the flow is catching up."""
        self.source.caught_up_at = caught_up_at
        self.status.reasons.pop("records_wiped", None)
        self.happen(FlowEvent.SNAPSHOT_APPLIED)

    def registered(self, checkpoint: Checkpoint | None, *, same_server_run: bool, first: bool) -> bool:
        """Align the window with the checkpoint read at a registration; False when the source had to be restarted."""
        # Items already in the window may defer more expiries.
        if checkpoint is not None:
            self.expiry.widen(checkpoint.margin)
        if checkpoint is not None and checkpoint.expiring:
            self.expiries.waiting = self.expiries.unsettled = self.expiries.doubts = True
        if first and checkpoint is not None:
            self.expiries.expired = ExpiredKeys.parse(checkpoint.expired)
        self.target.checkpoint = checkpoint
        wiped = self.lifecycle.records is RecordsState.WIPED
        kept = not first and not wiped and self.window.recover(checkpoint, same_server_run=same_server_run)
        kept = kept and self.unconfirmed.recovered(checkpoint, self.window, self.target.table)
        self.lifecycle.happen(FlowEvent.REGISTERED if checkpoint is not None else FlowEvent.REGISTERED_EMPTY)
        if not kept:
            self._start_over(None if wiped else checkpoint, found=checkpoint, first=first)
        if checkpoint is not None and checkpoint.phase == Phase.STREAM:
            applied = self.acknowledged_offset or checkpoint.offset
            self.status.stream.applied_offset = applied
            self.status.lag.applied(max(applied, checkpoint.offset))
            self.status.stream.checkpoint_offset = checkpoint.offset
            self.status.stream.replid = checkpoint.replid
        self._announce()
        self.wakeups.space.set()
        self.target.ready.set()
        return kept or first

    def _start_over(self, usable: Checkpoint | None, *, found: Checkpoint | None, first: bool) -> None:
        """Drop the window; the stream resumes at the `usable` checkpoint, or a full sync replaces the data `found`."""
        self.unconfirmed.found(found)
        self.window.clear(position_of(found))
        self.resume = None
        if usable is not None and usable.resumable:
            self.resume = Resume(usable.replid, usable.offset, usable.database)
        self.lifecycle.happen(FlowEvent.POSITION_LOST if self.resume is None else FlowEvent.POSITION_FOUND)
        if not first:
            self.restarts += 1
            self.wakeups.restart_source.set()

    async def restart_target(self) -> None:
        """Let the writer drop its connection, with what it began there, and wait until it has registered again."""
        self.target.ready = anyio.Event()
        self.wakeups.restart_target.set()
        await self.target.ready.wait()

    def refresh_state(self) -> None:
        """Derive the public state, and the reasons that keep the worker from being ready."""
        status, checkpoint, before = self.status, self.target.checkpoint, self.status.state
        status.enter(public_state(self.lifecycle, checkpoint, near=self._near, paused=self.intake.held))
        if status.state is not before:
            log.info("state", state=str(status.state), before=str(before))
        status.expiries.pending = self.expiries.waiting
        status.stream.unconfirmed_bytes = max(self.unconfirmed.bytes, 1) if self.unconfirmed.pending else 0
        found = reasons(self.lifecycle, status, checkpoint, self.unconfirmed, self.source.snapshot_requested_at)
        for name, reason in found.items():
            if reason:
                status.reasons[name] = reason
            else:
                status.reasons.pop(name, None)

    @property
    def _near(self) -> bool:
        """Whether the flow has caught up; once it is streaming, lag alone does not change that."""
        status = self.status
        if status.stream.applied_offset < self.source.caught_up_at:
            return False
        return status.state is State.STREAMING or not (
            status.lag_seconds > CAUGHT_UP_SECONDS or (self.expiries.waiting and self.expiries.unsettled)
        )

    @property
    def drained(self) -> bool:
        """Whether all received data are applied and saved, and the flow's tasks may end."""
        return self.lifecycle.run in (RunState.DRAINED, RunState.STOPPED)
