"""The end of a one-off mode: a hold before the cutover, the verification, and the record of completion."""

from __future__ import annotations

from typing import Any, Final

import anyio
import structlog

from shaker.apply.records import Checkpoint
from shaker.checks.cut_over import read_checkpoint
from shaker.errors import EXIT_DIFFERENT, EXIT_OK, EXIT_UNFAITHFUL, GivenUpError, LinkError, RefusedError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import WorkState
from shaker.jobs.job import until
from shaker.jobs.source_monitor import SourceMonitor
from shaker.jobs.verify import Verify
from shaker.jobs.verify_wanted import Wanted
from shaker.model.cutover import CutoverNote
from shaker.settings.schema import Settings
from shaker.watch.status import State

log = structlog.get_logger("shaker.migrate")

POLL_SECONDS: Final = 0.2
# A source whose offset grows by no more than its own PINGs for so long has no writers.
REST_SECONDS: Final = 1.0
PING_BYTES: Final = 14
PINGS: Final = 2


class Migration:
    """Brings a one-off mode to its end. `verification` is the report of its pass, `complete` says that it has ended."""

    def __init__(self, settings: Settings, flow: Flow, monitor: SourceMonitor, verify: Verify) -> None:
        self.complete = False
        self.verification: dict[str, Any] | None = None
        self._settings = settings
        self._flow = flow
        self._monitor = monitor
        self._verify = verify

    def cut_over(self) -> None:
        """Record that a cutover has ended the migration, which proves what it needs by itself."""
        self.complete = True
        self._flow.target.complete = self._settings.mode == "migrate"

    async def run(self) -> None:
        """Return once the work is complete and proven. Raises GivenUpError where the verification does not progress."""
        await self._flow.until(lambda lifecycle: lifecycle.work is WorkState.COMPLETE)
        if self._settings.mode == "migrate":
            await self._prove()
            rests = await self._source_rests()
            self._flow.target.complete = rests and self.code == EXIT_OK
        self.complete = True

    @property
    def code(self) -> int:
        """The exit code as far as the copied data decide it."""
        if self._settings.mode == "migrate":
            if self._flow.status.stream.commands_rejected:
                return EXIT_UNFAITHFUL
            if self.verification is not None and not self.verification["equal"]:
                return EXIT_DIFFERENT
        return EXIT_OK

    async def _prove(self) -> None:
        """Verify the copy, unless that is done or not wanted; again if a full resync has replaced it meanwhile."""
        verifies, links = self._settings.migrate.verify and self.verification is None, self._flow.status.links
        while True:
            before = links.full_syncs
            if verifies:
                await self._verify_all()
            await self._settle()
            if links.full_syncs == before:
                return

    async def _verify_all(self) -> None:
        flow, wanted = self._flow, Wanted(repair=self._settings.verify.repair)
        log.info("verifying", offset=flow.status.stream.applied_offset)
        ended = self._verify.ask(wanted)
        before, since = self._steps(), flow.status.clock()
        while not ended.is_set():
            with anyio.move_on_after(POLL_SECONDS):
                await ended.wait()
            if (steps := self._steps()) != before or flow.intake.held:
                before, since = steps, flow.status.clock()
            elif flow.status.clock() - since > self._settings.give_up_after_seconds > 0:
                raise GivenUpError(
                    f"the verification made no progress for {self._settings.give_up_after_seconds:g} s",
                    hint=f"migrate.verify=false ends without it, which waits because {flow_text(flow)}",
                )
        if wanted.report is None:
            raise GivenUpError("the verification was aborted by an operator", hint="run the migration again")
        self.verification = wanted.report
        if not wanted.report["equal"]:
            log.error(
                "verification found differences",
                differences=wanted.report["differences"],
                too_busy=len(wanted.report["too_busy"]),
                hint="`shaker verify --repair` copies the keys from the source",
            )

    def _steps(self) -> tuple[int, int]:
        """Return what changes while the verification gets further, or catches up to continue."""
        status = self._flow.status
        applied = 0 if status.state is State.STREAMING else status.stream.applied_offset
        return self._verify.progress, applied

    async def _settle(self) -> None:
        """Return once nothing of the copy is open: during the verification a link may have been lost."""
        flow = self._flow
        await until(lambda: flow.settled and not flow.loading and flow.state is State.STREAMING, POLL_SECONDS)
        with anyio.move_on_after(self._settings.target.timeout_seconds):
            # A clean pass clears the count of rejected commands with the next checkpoint.
            await until(lambda: not flow.target.rejections_judged, POLL_SECONDS)

    async def _source_rests(self) -> bool:
        """Whether nobody writes to the source."""
        stream, began = self._flow.status.stream, self._flow.status.clock()
        await self._monitor.poll.fresh()
        before = stream.source_offset
        await anyio.sleep(REST_SECONDS)
        await self._monitor.poll.fresh()
        # A slow answer to INFO leaves room for more PINGs; a busy source writes more than these in any case.
        most = PINGS * PING_BYTES * max(1.0, self._flow.status.clock() - began)
        return stream.source_offset - before <= most


def flow_text(flow: Flow) -> str:
    """Return what keeps the flow from being verified, for people."""
    reasons = flow.status.not_ready(max_lag_seconds=None)
    return ", and ".join(reasons) or "keys change during each comparison"


async def find_complete(settings: Settings) -> Checkpoint | None:
    """Return the checkpoint where an earlier run has completed this migration; None for any other, or no answer."""
    try:
        checkpoint = await read_checkpoint(settings.target, settings.name)
    except (LinkError, RefusedError):
        return None  # the links or the registration report it
    if checkpoint is None or checkpoint.source != settings.source.address.text:
        return None
    note = CutoverNote.parse(checkpoint.cutover)
    turned = note is not None and note.turned
    return checkpoint if checkpoint.is_complete and not turned else None
