"""The position that the target is known to have applied, its checkpoint, and whether the checkpoint lacks something."""

from __future__ import annotations

from collections.abc import Callable

from shaker.apply.deferred_expiries import Expiries
from shaker.apply.in_flight import Progress
from shaker.apply.records import Checkpoint
from shaker.apply.tally import Tally
from shaker.apply.unconfirmed import Unconfirmed
from shaker.apply.window import Window
from shaker.model.position import Phase
from shaker.model.rejection import Rejection


class Ledger:
    """The state of one connection. `checkpoint` is the newest one that the target answered for.

    `applied` is the offset up to which the stream has taken effect, and may be after the checkpoint's. `source` is
    how the next checkpoint names the source, `verified` its text about the verification, `cutover` and `turned` those
    about cutovers, `complete` whether it records that a migration is complete. `progress` are items answered and not
    reported.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        window: Window,
        expiries: Expiries,
        unconfirmed: Unconfirmed,
        on_rejected: Callable[[Rejection], None],
    ) -> None:
        self.checkpoint = checkpoint
        self.expiries = expiries
        self.unconfirmed = unconfirmed
        self.source = checkpoint.named_source
        self.verified = checkpoint.verified
        self.complete = False
        self.cutover = checkpoint.cutover
        self.turned = checkpoint.turned
        self.progress: list[Progress] = []
        self.tally = Tally(*window.rejections_at(checkpoint), on_rejected)
        base = window.applied_position
        self.applied = base.number if base is not None and base.phase == Phase.STREAM else checkpoint.offset

    @property
    def lags(self) -> bool:
        """Whether the checkpoint lacks an offset, a rejection, or keys that have to be copied."""
        return self._moved or self.tally.count != self.checkpoint.rejected or bool(self.expiries.lacking)

    @property
    def behind(self) -> bool:
        """Whether the checkpoint lacks something that the worker knows: an offset, replies read, a rejection."""
        verified = self.checkpoint.verified == self.verified
        return self.checkpoint.phase == Phase.STREAM and (self._moved or self._lacks or not verified)

    @property
    def unpersisted(self) -> bool:
        """Whether the checkpoint lacks only an offset without effect, or also the position of the verification."""
        return self.checkpoint.phase == Phase.STREAM and self._moved and not self._lacks

    @property
    def _moved(self) -> bool:
        return self.applied != self.checkpoint.offset

    @property
    def _lacks(self) -> bool:
        """Whether a checkpoint of the same offset would say more."""
        checkpoint = self.checkpoint
        return (
            (checkpoint.expiring, checkpoint.named_source) != (self.expiries.waiting, self.source)
            or self.tally.count != checkpoint.rejected
            or self.unconfirmed.lacks(checkpoint, min(self.applied, checkpoint.offset))
            or (self.complete and not checkpoint.is_complete)
            or (checkpoint.cutover, checkpoint.turned) != (self.cutover, self.turned)
            or bool(self.expiries.lacking)
        )
