"""The checks before a new replication that need more than one round trip: a measurement, a sample, both configurations.

`at_start` has the others. Those in GUARDS hold at every connection, so they are left to it.
"""

from __future__ import annotations

from typing import Final

import anyio
import structlog

from shaker.checks.cut_over import read_checkpoint
from shaker.checks.preflight.at_start import refuse_failed
from shaker.checks.preflight.catalogue import AT_START, GUARDS, findings, selected
from shaker.checks.preflight.gather import gather
from shaker.errors import LinkError
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.preflight")

LONGEST_SECONDS: Final = 60.0  # besides the measurement


async def refuse_new(settings: Settings) -> None:
    """Check both servers unless the target has a checkpoint of this replication; log warnings.

    Raises RefusedError with all failed checks. A server that does not answer is no finding: its link waits for it.
    """
    seconds = settings.preflight.measure_seconds
    checks = [check for check in selected(settings) if check.name not in GUARDS]
    if not seconds or all(check.name in AT_START for check in checks):
        return
    try:
        if await read_checkpoint(settings.target, settings.name) is not None:
            return
    except LinkError:
        return
    log.info("checking both servers", seconds=seconds)
    facts = None
    with anyio.move_on_after(seconds + LONGEST_SECONDS):
        facts = await gather(settings, rate_seconds=seconds)
    if facts is None or facts.source.info is None or facts.target.info is None or facts.checkpoint is not None:
        return
    refuse_failed(findings(facts, checks), quiet=AT_START)
