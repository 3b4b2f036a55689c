"""One source stream into one target: window, position, wake-ups."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

import anyio

from shaker.apply.deferred_expiries import Expiries
from shaker.apply.expired import ExpiredKeys, expired_nothing
from shaker.apply.records import Checkpoint, Fence
from shaker.apply.rejections import DEFAULT_MAX_BULK
from shaker.apply.unconfirmed import Unconfirmed
from shaker.apply.upstream import Upstream
from shaker.apply.window import Window, position_of
from shaker.model.batch import Batch
from shaker.model.items import Barrier, Item, StreamItem
from shaker.model.position import Phase, Resume, Sweep
from shaker.model.server_info import SourceIdentity
from shaker.rules.command_table import CommandTable
from shaker.rules.expiry import NEVER, Times
from shaker.rules.scripts import Scripts
from shaker.settings.schema import Settings
from shaker.watch.status import FlowStatus, State

# While behind, how long it will take to catch up is a guess: so much, and so many times what is known of it.
BEHIND_SECONDS: Final = 600.0
BEHIND_FACTOR: Final = 4.0
# What asking the source, and the time between two questions, may add to what is known of the lag.
NOTICE_SECONDS: Final = 0.25
# A question takes one round trip to the source and a transaction two to the target; one may begin behind another.
ROUND_TRIPS: Final = 2.0
# The margin of expiries is at least so many times what makes the target early, and from this share of it on a delay
# counts as too long: the rest is for what happens between the look at the clock and the target's own.
MARGIN_FACTOR: Final = 4.0
MARGIN_SHARE: Final = 0.75
MOST_SKEW_SECONDS: Final = 3600.0  # clocks that differ by more are wrong, and no margin makes up for that


class Wakeup:
    """Wakes its one waiter; a `set` while nobody waits is kept for the next wait."""

    def __init__(self) -> None:
        self._event = anyio.Event()

    def set(self) -> None:
        """Wake the waiter."""
        self._event.set()

    async def wait(self) -> None:
        """Return after the next `set`, at once if one came since the last wait."""
        await self._event.wait()
        self._event = anyio.Event()


class Flow:
    """The state of one worker's replication. All methods are synchronous and called by the event loop only."""

    def __init__(self, status: FlowStatus, settings: Settings, *, window_limit: int) -> None:
        self.status = status
        self._settings = settings
        self.expiries = Expiries(settings.name, self.times)
        self.unconfirmed = Unconfirmed(settings.name)
        self.window = Window(window_limit)
        self.scripts = Scripts()  # that EVALSHA may name: a target that has restarted knows none
        self.work = Wakeup()  # for the target's sender: the window or a reply changed
        self.space = Wakeup()  # for the source's reader: the window has room
        self.sweep_due = Wakeup()  # for the sweep: it has to go on before anything else is written
        self.ack = Wakeup()  # for the source's acknowledgements: the applied offset that was asked for is reached
        self.source: SourceIdentity | None = None
        self.source_known = anyio.Event()
        self.upstream = Upstream()  # records of other workers on the source
        self.target_ids: frozenset[str] = frozenset()  # run id and replication id of the target
        self.table = CommandTable({})
        self.max_bulk = DEFAULT_MAX_BULK  # bytes of one argument that the target takes
        self.target_run_id = ""  # of the server that the registered connection writes to
        self.target_expired: ExpiredKeys | None = None  # what it had expired when it was last asked
        self.checkpoint: Checkpoint | None = None  # the newest that the target is known to hold
        self.resume: Resume | None = None
        self.target_ready = anyio.Event()  # registered, and `resume` is true
        self.restart_source = Wakeup()
        self.source_restarts = 0
        self.target_restart = Wakeup()
        self.fence: Fence | None = None  # the one that this worker wrote last
        self.records_wiped = False  # somebody else took the records: what the checkpoint says may not be there
        self.refilling = False  # what the target held was this worker's, though it holds no checkpoint any longer
        self.records_gone = Wakeup()  # for the target link: the same, noticed while nothing is written
        self.handshaking = False  # from the connection to the source until it answers PSYNC
        self.snapshot_asked: float | None = None  # when, as long as the source has sent nothing of it
        self.on_state: Callable[[State, State], None] = lambda before, now: None
        self.target_registered = False
        self.cut: Callable[[Barrier], None] | None = (
            None  # holds the stream at an offset; only while there is a stream
        )
        self._gate = anyio.Event()  # set while what the source sends may be taken
        self._gate.set()
        self.ack_wanted: int | None = None
        self.finished = anyio.Event()  # the work of a one-off mode is complete
        self.settling = False  # a one-off mode has all that it came for and puts its work in order
        self.loading = False  # a snapshot is being received, or its end is not applied yet
        self.caught_up_at = 0  # where the source stood when the stream began or went on: not ready before
        self.draining = False
        self.drained = anyio.Event()
        self.final: State | None = None

    @property
    def phase(self) -> str:
        """Phase of the newest checkpoint: empty, `snapshot` or `stream`."""
        return self.checkpoint.phase if self.checkpoint is not None else ""

    @property
    def sweep(self) -> str:
        """How far the sweep of the newest checkpoint is; empty when there is none."""
        return self.checkpoint.sweep if self.checkpoint is not None else ""

    @property
    def ours(self) -> bool:
        """Whether the keys of the target are this worker's, for what it knows."""
        return self.checkpoint is not None or self.refilling

    @property
    def listing(self) -> bool:
        """Whether a snapshot waits until the keys of the target are listed."""
        return self.phase == Phase.SNAPSHOT and self.sweep == Sweep.LISTING

    @property
    def unapplied(self) -> bool:
        """Whether something was read and is not applied: in the window or in the spool."""
        return len(self.window) > 0 or self.status.spool_bytes > 0

    @property
    def acknowledged_offset(self) -> int:
        """The offset to acknowledge to the source: what is applied, 0 until the stream begins on the target.

        Deletions before the snapshot are part of what it stands for: they are applied when no stale key is left.
        """
        base = self.window.applied_position
        if self.loading or self.phase != Phase.STREAM or self.sweep or base is None or base.phase != Phase.STREAM:
            return 0
        return self.expiries.exact(base.number)

    def begin_snapshot(self) -> None:
        """Note that a snapshot is on its way, which replaces all keys of the target."""
        self.loading = True
        self.expiries.begin_snapshot(self.target_expired)
        self.unconfirmed.begin_snapshot()
        self.status.reasons.pop("expired", None)

    @property
    def source_now(self) -> float:
        """The source's clock, Unix time in seconds, by the worker's where the source does not tell."""
        offset = self.status.clock_offsets.get("source")
        return time.time() if offset is None else self.status.clock() + offset

    @property
    def grace(self) -> float:
        """Seconds by which the target may be late without being behind, with the time it takes to notice that."""
        round_trips = sum(self.status.round_trips.values())
        return self._settings.expiry.hold_below_seconds + NOTICE_SECONDS + ROUND_TRIPS * round_trips

    @property
    def behind(self) -> bool:
        """Whether the stream is so far behind that near expiries are put off."""
        return self._longest >= self.grace

    @property
    def late(self) -> bool:
        """Whether the target may expire a key before a renewal that the source has made already is applied."""
        margin = self._settings.expiry.margin_seconds
        return self._longest + self._ahead >= (MARGIN_SHARE * margin if margin else self.grace)

    @property
    def _longest(self) -> float:
        """Seconds for which, at most, the source has been ahead of what is applied; endless while nobody knows."""
        status, base = self.status, self.window.applied_position
        if self.loading or (base.number if base else status.stream.applied_offset) < self.caught_up_at:
            return math.inf
        return status.lag.longest(status.clock())

    @property
    def margin_seconds(self) -> float:
        """How much later than on the source expiries lie on the target."""
        margin = self._settings.expiry.margin_seconds
        if not margin or self._settings.mode != "follow" or self.expiries.by_target:
            return 0.0
        skew = min(abs(self.status.clock_skew_seconds or 0.0), MOST_SKEW_SECONDS)
        early = self.status.usual_lag_seconds + skew
        seconds = max(margin, MARGIN_FACTOR * early)
        self.status.expiry_margin_seconds = max(self.status.expiry_margin_seconds, seconds)
        return seconds

    def _catching_up_seconds(self, *, snapshot: bool) -> float:
        """Return how long it may take to catch up: much longer than the lag, far longer where there is none yet."""
        status, longest = self.status, self._longest
        if snapshot or longest == math.inf:
            return BEHIND_SECONDS + BEHIND_FACTOR * (status.lag_seconds + (status.eta_seconds() or 0.0))
        return BEHIND_FACTOR * longest

    @property
    def _ahead(self) -> float:
        """Seconds by which the target expires keys too early: what its clock is ahead of the source's."""
        return max(self.status.clock_skew_seconds or 0.0, 0.0)

    def times(self, item: StreamItem | None) -> Times:
        """Return how expiries are treated now: of an item of the stream, or without one of a snapshot."""
        status, now, mode = self.status, self.source_now, self._settings.mode
        age = 0.0
        if item is not None:
            seen = status.lag.written(item.batch.end_offset)
            age = status.clock() - (item.received_at if seen is None else min(seen, item.received_at))
        # A copy that is not kept up to date any more has the source's expiries.
        final = self.settling or mode == "snapshot"
        # A migration has no margin: what is near is put off until it settles.
        holds = not final and (item is None or self.behind or mode == "migrate")
        late = not final and item is not None and self.late
        near = until = 0
        if holds:
            safe = now + self._ahead + self.grace
            until = int((safe + self._settings.expiry.hold_seconds) * 1000)
            near = min(int((safe + self._catching_up_seconds(snapshot=item is None)) * 1000), until)
        return Times(
            written=int((now - age) * 1000),
            near=near if holds else NEVER,
            until=until,
            margin=0 if final else int(self.margin_seconds * 1000),
            late=late,
            passed=late or not expired_nothing(self.expiries.expired, self.target_expired),
        )

    def observe_expired(self, asked_late: bool, expired: ExpiredKeys | None) -> None:
        """Note what the target had expired when it was asked; `asked_late` is what `late` was before the question."""
        self.target_expired = expired
        if not (asked_late or self.late or self.expiries.doubts):
            self.expiries.expired = expired

    def put(self, item: Item) -> None:
        """Append to the window and remember where the source would go on behind it."""
        self.window.put(item)
        self.status.window_bytes = self.window.size
        self.work.set()

    def put_batch(self, batch: Batch, item: StreamItem) -> None:
        """Append a batch of the stream."""
        for body in batch.scripts:
            self.scripts.add(body)
        if not batch.more:
            # Inside of what is not whole yet, another database can be selected than where it begins.
            self.resume = Resume(batch.replid, batch.end_offset, batch.database)
        self.put(item)

    def answered(self, checkpoint: Checkpoint) -> None:
        """Take over what the target answered for."""
        self.checkpoint = checkpoint
        if checkpoint.sweeps_first:
            self.sweep_due.set()
        status = self.status
        status.window_bytes = self.window.size
        status.expiries_pending = self.expiries.waiting
        if checkpoint.phase == Phase.STREAM:
            status.stream.checkpoint_offset = checkpoint.offset
            status.stream.replid = checkpoint.replid
        if not self.window.full:
            self.space.set()
        if self.ack_wanted is not None and self.acknowledged_offset >= self.ack_wanted:
            self.ack_wanted = None
            self.ack.set()

    def close_gate(self) -> None:
        """Take nothing more of what the source sends, until `open_gate`."""
        self._gate = anyio.Event()

    def open_gate(self) -> None:
        """Go on taking what the source sends."""
        self._gate.set()

    async def pass_gate(self) -> None:
        """Return when what the source sent may be taken."""
        while not self._gate.is_set():
            await self._gate.wait()

    async def restart_target(self) -> None:
        """Have the target link drop its connection, with what it began there, and wait until it is back."""
        self.target_ready = anyio.Event()
        self.target_restart.set()
        await self.target_ready.wait()

    def registered(self, checkpoint: Checkpoint | None, *, same_server_run: bool, first: bool) -> bool:
        """Line up with the checkpoint read at a registration; False when the source had to be restarted."""
        # What the window holds already may put more of them there.
        if checkpoint is not None and checkpoint.expiring:
            self.expiries.waiting = self.expiries.unsettled = self.expiries.doubts = True
        if first and checkpoint is not None:
            self.expiries.expired = ExpiredKeys.parse(checkpoint.expired)
        self.checkpoint = checkpoint
        wiped, self.records_wiped = self.records_wiped, False
        self.refilling = wiped or (self.refilling and checkpoint is None)
        kept = not first and not wiped and self.window.recover(checkpoint, same_server_run=same_server_run)
        kept = kept and self.unconfirmed.recovered(checkpoint, self.window, self.table)
        if not kept:
            self.unconfirmed.found(checkpoint)
            self.window.clear(position_of(checkpoint))
            self.resume = (
                Resume(checkpoint.replid, checkpoint.offset, checkpoint.database)
                if checkpoint is not None and checkpoint.resumable and not wiped
                else None
            )
            self.loading = self.resume is None
            if not first:
                self.source_restarts += 1
                self.restart_source.set()
        if checkpoint is not None and checkpoint.phase == Phase.STREAM:
            applied = self.acknowledged_offset or checkpoint.offset
            self.status.stream.applied_offset = applied
            self.status.lag.applied(max(applied, checkpoint.offset))
            self.status.stream.checkpoint_offset = checkpoint.offset
            self.status.stream.replid = checkpoint.replid
        self.target_registered = True
        self.space.set()
        self.target_ready.set()
        return kept or first

    def refresh_state(self) -> None:
        """Derive the public state from what is known, and whether stale keys keep the worker from being ready."""
        status, before = self.status, self.status.state
        status.state = self._state()
        if status.state is not before:
            self.on_state(before, status.state)
        if self.snapshot_asked is None:
            status.reasons.pop("snapshot", None)
        else:
            waited = status.clock() - self.snapshot_asked
            status.reasons["snapshot"] = f"waiting for the source's snapshot ({waited:.0f} s)"
        status.expiries_pending = self.expiries.waiting
        if status.deletions_held:
            status.reasons["max_deletions"] = status.deletions_held
        else:
            status.reasons.pop("max_deletions", None)
        if self.checkpoint is not None and self.checkpoint.sweeps_first and not status.deletions_held:
            status.reasons["sweep"] = (
                f"the keys of the target are being listed: {status.sweep_listed} so far"
                if self.listing
                else f"stale keys are being removed: {status.sweep_deleted} deleted, {status.sweep_stale} left"
            ) + (f"; interrupted: {status.sweep_error}" if status.sweep_error else "")
        else:
            status.reasons.pop("sweep", None)
        self._refresh_unconfirmed()

    def _refresh_unconfirmed(self) -> None:
        """Derive whether work of which no reply was read keeps the worker from being ready."""
        status, unconfirmed = self.status, self.unconfirmed
        if not unconfirmed.pending:
            status.unconfirmed_bytes = 0
            status.reasons.pop("unconfirmed", None)
            return
        status.unconfirmed_bytes = max(unconfirmed.bytes, 1)
        status.reasons["unconfirmed"] = (
            f"{status.unconfirmed_bytes} bytes of the stream are unconfirmed, because their replies were not read: "
            "their keys are being compared with the source's"
        ) + (f"; interrupted: {unconfirmed.error}" if unconfirmed.error else "")

    def _state(self) -> State:
        status = self.status
        if self.final is not None:
            return self.final
        if self.draining:
            return State.DRAINING
        if not status.started:
            return State.STARTING
        if not status.target.connected and self.target_registered:
            return State.PAUSED
        if self.handshaking:
            return State.HANDSHAKING
        if not status.source.connected or not status.target.connected:
            return State.CONNECTING
        if self.loading or self.phase != Phase.STREAM:
            return State.SNAPSHOT
        if self.sweep or status.stream.applied_offset < self.caught_up_at:
            return State.CATCHING_UP
        if status.state is not State.STREAMING and (
            status.lag_seconds > 1.0 or (self.expiries.waiting and self.expiries.unsettled)
        ):
            return State.CATCHING_UP
        return State.STREAMING
