"""One direction of a replication: wires settings, links, jobs and status together."""

from __future__ import annotations

import gc
import signal
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial

import anyio
import anyio.lowlevel
import anyio.to_thread
import structlog
from anyio.abc import TaskGroup
from anyio.from_thread import BlockingPortal

from shaker.checks.cut_over import OtherDirection
from shaker.checks.preflight.before_new import refuse_new
from shaker.errors import EXIT_INCOMPLETE, EXIT_OK, FencedError, ShakerError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent, RunState, SourceState
from shaker.jobs.barrier import Barriers
from shaker.jobs.confirm import Confirm
from shaker.jobs.cutover import Cutover
from shaker.jobs.job import Job
from shaker.jobs.remove_stale_keys import RemoveStaleKeys
from shaker.jobs.restore_expiries import RestoreExpiries
from shaker.jobs.source_monitor import SourceMonitor
from shaker.jobs.target_monitor import TargetMonitor
from shaker.jobs.verify import Verify
from shaker.jobs.verify_wanted import Wanted
from shaker.model.cutover import Turn
from shaker.model.position import Phase
from shaker.readers.psync import SourceLink
from shaker.run.control import Control
from shaker.run.cutover_control import CutoverControl
from shaker.run.migration import Migration, find_complete
from shaker.run.progress import ProgressReport
from shaker.run.report import RunReport
from shaker.run.supervise import supervise
from shaker.settings.schema import Settings
from shaker.watch.combined import combine
from shaker.watch.http.control import ControlEndpoint
from shaker.watch.log import dropped_lines
from shaker.watch.status import Status
from shaker.writers.redis import TargetLink
from shaker.writers.turn import write_turned

log = structlog.get_logger("shaker")

TICK_SECONDS = 0.2
LAST_LOOK_SECONDS = 5.0
IDLE_SECONDS = 1.0
# The window holds received and unanswered items. The rest is for one value in assembly and for copies in sending.
WINDOW_SHARE = 4


class Direction:
    """The tasks of one direction and how they end.

    `other` says that the replication continues in the other direction; None where the process ends.
    """

    def __init__(
        self, settings: Settings, status: Status, *, reopening: bool = False, shut: Mapping[str, str] | None = None
    ) -> None:
        self._settings = settings
        self._status = status
        self._flow = Flow(status, settings, window_limit=settings.memory_limit // WINDOW_SHARE)
        self._source = SourceLink(settings, self._flow)
        self._target = TargetLink(settings, self._flow)
        self._monitors = (SourceMonitor(settings, self._flow), TargetMonitor(settings, self._flow))
        barriers = Barriers(self._flow)
        self._verify = Verify(settings, self._flow, barriers, status.verification)
        self._cutover = Cutover(settings, self._flow, self._verify, status.cutover, write_turned=write_turned)
        self._cutover.shut = shut or {}
        self._migration = Migration(settings, self._flow, self._monitors[0], self._verify)
        self._report = RunReport(settings, status, self._flow)
        self._flow.target.reopening = reopening
        self._jobs: tuple[Job, ...] = (
            *self._monitors,
            RemoveStaleKeys(settings, self._flow),
            RestoreExpiries(settings, self._flow, barriers),
            Confirm(settings, self._flow, barriers),
            self._verify,
            self._cutover,
        )
        self._stop = anyio.Event()  # drain now: a signal came, or the work of a one-off mode is complete
        self._scope = anyio.CancelScope()
        self._error: ShakerError | None = None
        self.other: OtherDirection | None = None

    def control_endpoint(self, portal: BlockingPortal) -> ControlEndpoint | None:
        """Return the control endpoint, None without a token; `portal` leads into the worker's event loop."""
        control = self._settings.control
        if control.token_file is None:
            return None
        return ControlEndpoint(
            CutoverControl(self._status, self._cutover).join(Control(self._flow, self._verify, portal)),
            control.token_file,
            allow_plain=control.allow_plain,
        )

    @property
    def attached(self) -> AsyncExitStack:
        """The connection that keeps the target's stream until the other direction reads it."""
        return self._cutover.attached

    async def run(self, wanted: Wanted | None, attached: AsyncExitStack) -> int:
        """Run until the work is complete, a signal has been obeyed, or an error ends it; return the exit code.

        With `wanted`, end after that verification pass. `attached` is closed once the source sends its stream.
        """
        # Long-lived objects are allocated once and have no cycles; without this, each collection walks them again.
        gc.freeze()
        completed_before, progress = False, None
        with self._scope:
            completed_before = wanted is None and await self._completed_before()
            if not completed_before:
                progress = ProgressReport(self._settings, self._status)
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._let_go, attached)
                    await self._work(tasks, progress, wanted)
                    tasks.cancel_scope.cancel()
        if completed_before:
            return EXIT_OK
        code = self._exit_code()
        if self.other is not None and not self._cutover.turned:
            return code  # nothing was done in this direction
        if progress is not None:
            progress.end(code)
        await anyio.to_thread.run_sync(self._report.end, code, self._migration.verification, self._error)
        return code

    async def _let_go(self, attached: AsyncExitStack) -> None:
        await self._flow.until(lambda lifecycle: lifecycle.source is SourceState.RECEIVING)
        await attached.aclose()

    async def _work(self, tasks: TaskGroup, progress: ProgressReport, wanted: Wanted | None) -> None:
        tasks.start_soon(self._tick, progress)
        tasks.start_soon(self._finish)
        tasks.start_soon(self._end_by_deadline)
        tasks.start_soon(self._end_after_cutover)
        if wanted is not None:
            tasks.start_soon(self._end_after, wanted)
        self._status.started = True
        self._flow.happen(FlowEvent.STARTED)
        await self._replicate()
        if isinstance(self._error, FencedError) and self._settings.fenced_action == "wait":
            await self._wait_fenced()

    async def _completed_before(self) -> bool:
        """Whether an earlier run has completed the migration: another one would overwrite newer data of the target."""
        if self._settings.mode != "migrate" or self._settings.migrate.again:
            return False
        checkpoint = await find_complete(self._settings)
        if checkpoint is not None:
            log.info(
                "migration already complete",
                offset=checkpoint.offset,
                effect="nothing was done",
                hint="migrate.again=true continues it with the writes that the source has had since",
            )
        return checkpoint is not None

    async def _replicate(self) -> None:
        """Run the links until they have drained or failed."""
        try:
            await self._check()
            if self._error is not None:
                return
            async with anyio.create_task_group() as links:
                links.start_soon(self._guard, self._source.run, links.cancel_scope)
                links.start_soon(self._guard, self._target.run, links.cancel_scope)
                for job in self._jobs:
                    supervised = partial(supervise, job, self._status, self._settings)
                    links.start_soon(self._guard, supervised, links.cancel_scope)
                await self._stop.wait()
                await self._drain()
                await self._look_once_more()
                links.cancel_scope.cancel()
        finally:
            for task in ("source", "target"):
                self._status.forget(task)
            self._flow.happen(self._ending())

    async def _check(self) -> None:
        """Make the checks of a new replication; a signal ends them."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._cancel_at_stop, tasks.cancel_scope)
            try:
                await refuse_new(self._settings)
            except ShakerError as error:
                self._fail(error)
            tasks.cancel_scope.cancel()

    async def _cancel_at_stop(self, scope: anyio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()

    def _ending(self) -> FlowEvent:
        if self._error is None:
            return FlowEvent.ENDED
        return FlowEvent.FENCED if isinstance(self._error, FencedError) else FlowEvent.FAILED

    async def _guard(self, link: object, scope: anyio.CancelScope) -> None:
        """Run a link; an error that ends it ends the replication."""
        try:
            await link()  # type: ignore[operator]
        except OtherDirection as other:
            self.other = other
            scope.cancel()
        except ShakerError as error:
            self._fail(error)
            scope.cancel()

    def _fail(self, error: ShakerError) -> None:
        """Keep the first error that ends the replication."""
        if self._error is None:
            self._error = error
            log.error("replication ends", kind=error.kind, error=error.what, hint=error.hint or None)
            self.other = None
            self._status.count_error("worker", error.kind)

    async def _drain(self) -> None:
        """Stop reading, and let received data be applied and saved."""
        flow = self._flow
        flow.happen(FlowEvent.STOP_REQUESTED)
        self._source.stop()
        flow.wakeups.work.set()
        if flow.phase != Phase.STREAM:
            return  # an interrupted snapshot starts over: waiting gains nothing
        with anyio.move_on_after(self._settings.drain_timeout_seconds):
            await self._drop_unfinished()
            if self._status.target.connected or flow.unapplied:
                await flow.until(lambda lifecycle: lifecycle.run is RunState.DRAINED)
            else:
                flow.happen(FlowEvent.DRAINED)
            if self._status.source.connected:
                await self._source.ended.wait()

    async def _look_once_more(self) -> None:
        """Ask both servers once more: the summary of a one-off run says how much the source has written since."""
        if self._complete:
            with anyio.move_on_after(LAST_LOOK_SECONDS):
                await self._monitors[1].poll.fresh()
                # The clients of a busy source write within a second: with less it would pass for idle.
                await anyio.sleep(IDLE_SECONDS)
                await self._monitors[0].poll.fresh()

    async def _drop_unfinished(self) -> None:
        """Discard a partially received batch; reading has stopped, and the next run fetches it again."""
        await anyio.lowlevel.checkpoint()  # the reader has stopped
        if self._status.traffic.spool_bytes == 0 and self._flow.window.drop_unfinished():
            await self._flow.restart_target()

    async def _wait_fenced(self) -> None:
        """Stay alive and not ready until stopped: otherwise a supervisor would start this worker again."""
        log.warning("fenced, waiting to be stopped")
        await self._stop.wait()

    def signalled(self, number: signal.Signals) -> None:
        """Obey a signal: pause or resume, drain, and at the second one end at once."""
        if number == signal.SIGUSR1:
            self._toggle_pause()
            return
        log.info("signal", name=number.name)
        self.other = None
        if self._stop.is_set():
            self._scope.cancel()
        self._stop.set()

    async def _end_after(self, wanted: Wanted) -> None:
        """Stop once a verification pass has ended."""
        await self._verify.ask(wanted).wait()
        self._stop.set()

    async def _end_after_cutover(self) -> None:
        """Stop once a cutover is done, or an earlier one is undone where that is all to do."""
        await self._cutover.completed.wait()
        if self._cutover.turned and not self._stop.is_set():
            self.other = OtherDirection(Turn.parse(self._flow.target.notes.turned or "").shut)
        elif not self._flow.target.reopening:
            self._migration.cut_over()
        self._stop.set()

    async def _finish(self) -> None:
        """Stop once the work of a one-off mode is complete."""
        try:
            await self._migration.run()
        except ShakerError as error:
            self._fail(error)
        self._stop.set()

    async def _end_by_deadline(self) -> None:
        """Stop a migration that is not complete in time."""
        seconds = self._settings.migrate.deadline_seconds
        if self._settings.mode == "migrate" and seconds is not None:
            await anyio.sleep(seconds)
            if not self._complete:
                log.error("deadline passed", seconds=seconds, hint="run the migration again: it continues")
                self._stop.set()

    def _toggle_pause(self) -> None:
        if self._flow.intake.held:
            self._flow.unpause("SIGUSR1")
        elif self._flow.lifecycle.run is RunState.RUNNING:
            self._flow.pause("SIGUSR1")

    async def _tick(self, progress: ProgressReport) -> None:
        """Keep the derived parts of the status fresh."""
        status, flow = self._status, self._flow
        sampled = 0.0
        while True:
            status.heartbeat("loop", within=10.0)
            flow.refresh_state()
            self._source.reconnect.refresh()
            self._target.reconnect.refresh()
            combine(status)
            status.log_lines_dropped = dropped_lines()
            now = status.clock()
            if now - sampled >= 1.0:
                sampled = now
                status.sample_rate()
            progress.refresh()
            self._report.refresh()
            await anyio.sleep(TICK_SECONDS)

    @property
    def _complete(self) -> bool:
        """Whether the work of a one-off mode is complete."""
        return self._migration.complete

    def _exit_code(self) -> int:
        if self._error is not None:
            return self._error.exit_code
        flow = self._flow
        if self._settings.mode != "follow" and not self._cutover.completed.is_set():
            if not self._complete:
                return EXIT_INCOMPLETE
            if (code := self._migration.code) != EXIT_OK:
                return code
        complete = flow.phase == Phase.STREAM and not flow.sweep and flow.drained
        return EXIT_OK if complete else EXIT_INCOMPLETE
