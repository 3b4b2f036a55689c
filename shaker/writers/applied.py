"""Counts applied offsets, commands and keys, and the commands that the target rejected."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from shaker.apply.session import TargetSession
from shaker.errors import UnfaithfulError, counted
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent, WorkState
from shaker.model.entries import keys_in
from shaker.model.items import Item, SnapshotChunk, SnapshotFinish, SnapshotKeys, StreamItem
from shaker.model.rejection import Rejection
from shaker.settings.schema import Settings
from shaker.writers.rejection_log import RejectionLog

log = structlog.get_logger("shaker.target")


class AppliedCounter:
    """Counts for all connections of a flow's writer.

    `stop_error` is the error to end with where a rejected command stops the worker (target.on_error=stop).
    """

    def __init__(self, settings: Settings, flow: Flow) -> None:
        self.rejections = RejectionLog(flow.status.clock)
        self.stop_error: UnfaithfulError | None = None
        self._flow = flow
        self._status = flow.status
        self._stops = settings.target.on_error == "stop"
        self._snapshot_only = settings.mode == "snapshot"

    def count(self, items: Sequence[Item], session: TargetSession) -> None:
        """Count items that have taken effect, in order."""
        status = self._status
        for item in items:
            if isinstance(item, StreamItem):
                commands = item.batch.commands - item.left_out
                latency = status.clock() - item.received_at if commands else None
                offset = item.batch.end_offset
                status.observe_applied(offset, commands, latency, exact=self._flow.expiries.exact(offset))
            elif isinstance(item, SnapshotKeys):
                status.snapshot.keys_done += keys_in(item.entries)
            elif isinstance(item, SnapshotChunk):
                status.snapshot.keys_done += not item.more
            elif isinstance(item, SnapshotFinish):
                self._snapshot_finished(item)
            else:
                self.recall_rejections(session)

    def _snapshot_finished(self, item: SnapshotFinish) -> None:
        status = self._status
        status.snapshot.finished = status.clock()
        status.observe_applied(item.offset, 0, None)
        offset = max(item.offset, status.stream.received_offset, status.stream.source_offset)
        status.observe_source_offset(offset)
        self._flow.snapshot_applied(offset)
        log.info("snapshot applied", offset=item.offset, keys=status.snapshot.keys_done)

    def count_copied(self) -> None:
        """Count as applied the commands that waited for keys to be copied."""
        applied = self._flow.acknowledged_offset
        if 0 < self._status.stream.applied_offset < applied:
            self._status.observe_applied(applied, 0, None)

    def check_complete(self) -> None:
        """Complete the work of mode=snapshot once all is applied and no stale key is left."""
        flow = self._flow
        applied = not flow.loading and not flow.sweep
        if self._snapshot_only and applied and flow.lifecycle.work is not WorkState.COMPLETE:
            flow.happen(FlowEvent.WORK_COMPLETE)

    def rejected(self, rejection: Rejection) -> None:
        """Count a command that the target rejected in itself."""
        status = self._status
        status.count_error("target", "rejected_command")
        self.rejections.rejected(rejection)
        status.stream.commands_rejected += 1
        self._keep_unready(rejection.summary)
        if self._stops:
            self.stop_error = UnfaithfulError(
                f"the target rejected a command: {rejection.summary}",
                hint="target.on_error=continue counts such commands and continues",
                kind="rejected_command",
            )

    def recall_rejections(self, session: TargetSession) -> None:
        """Take over the count of the checkpoint: it outlives the worker, and a full sync clears it."""
        self._status.stream.commands_rejected = session.rejected
        if session.rejected:
            self._keep_unready(session.rejected_last)
        else:
            self._status.reasons.pop("rejected", None)

    def _keep_unready(self, last: str) -> None:
        count = self._status.stream.commands_rejected
        self._status.reasons["rejected"] = f"the target rejected {counted(count, 'command')}, the last one: {last}"
