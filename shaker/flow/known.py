"""Facts about the two servers of a flow. Each is learned in one place and read from here."""

from __future__ import annotations

from dataclasses import dataclass, field

import anyio

from shaker.apply.expired import ExpiredKeys
from shaker.apply.records import Checkpoint, Fence
from shaker.apply.rejections import DEFAULT_MAX_BULK
from shaker.apply.upstream import Upstream
from shaker.model.server_info import SourceIdentity
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable
from shaker.rules.target_form import EVERYTHING, TargetForm


@dataclass(slots=True)
class KnownSource:
    """The source. The reader learns who it is, and how far the worker has to catch up.

    `upstream` are the records of other workers there. `caught_up_at` is the offset at which the source was when the
    stream began or resumed: the worker is not ready before. `snapshot_requested_at` is a reading of the status's
    clock. `ack_wanted` is the offset that the source waits to see acknowledged.
    """

    identity: SourceIdentity | None = None
    identified: anyio.Event = field(default_factory=anyio.Event)
    upstream: Upstream = field(default_factory=Upstream)
    caught_up_at: int = 0
    snapshot_requested_at: float = 0.0
    ack_wanted: int | None = None

    def identify(self, identity: SourceIdentity) -> None:
        """Record who the source is."""
        self.identity = identity
        self.identified.set()


@dataclass(slots=True)
class Notes:
    """Texts that the next checkpoint has to keep, None for those of the last one.

    `cutover` is the note of a cutover, `turned` how often the replication was turned round.
    """

    cutover: str | None = None
    turned: str | None = None

    def lacking(self, checkpoint: Checkpoint) -> bool:
        """Whether the checkpoint does not have them."""
        return self.cutover not in (None, checkpoint.cutover) or self.turned not in (None, checkpoint.turned)


@dataclass(slots=True)
class KnownTarget:
    """The target. Registrations learn who it is and what it takes, replies how far it has come.

    `ids` are its run id and replication ids; `run_id` is that of the server that the registered connection writes
    to. `max_bulk` is the maximum size of one argument in bytes. `expired` is what it had expired when last asked.
    `checkpoint` is the newest that it is known to hold, `fence` the last that this worker wrote. `ready` is set while
    a connection is registered and the flow's resume position is that of the target. `rejections_judged` lets the writer
    clear the count of rejected commands: verification or an operator has judged them. `verified` is the progress of the
    verification that the next checkpoint keeps, `complete` has it record that a migration is complete, `notes` are
    further texts for it. `deletions_allowed`: an operator has let held deletions
    continue. `reopening`: the worker may register at the checkpoint of a cutover that is done.
    """

    run_id: str = ""
    ids: frozenset[str] = frozenset()
    table: CommandTable = field(default_factory=lambda: CommandTable({}))
    form: TargetForm = EVERYTHING
    max_bulk: int = DEFAULT_MAX_BULK
    expired: ExpiredKeys | None = None
    checkpoint: Checkpoint | None = None
    fence: Fence | None = None
    rejections_judged: bool = False
    verified: str = ""
    complete: bool = False
    deletions_allowed: bool = False
    notes: Notes = field(default_factory=Notes)
    reopening: bool = False
    ready: anyio.Event = field(default_factory=anyio.Event)

    @property
    def chain(self) -> Chain:
        """The rules for this target's commands."""
        return Chain(self.table, self.form)
