"""The checks before the first write of `shaker run`: those that cost one round trip to the target."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import structlog

from shaker.checks.preflight.catalogue import findings, selected_at_start
from shaker.checks.preflight.facts import Facts, ServerFacts
from shaker.checks.preflight.finding import Finding, Status
from shaker.checks.preflight.read_server import configuration
from shaker.errors import RefusedError
from shaker.model.server_info import ServerInfo, SourceIdentity
from shaker.net.client import Request
from shaker.net.connection import Connection, ReplyError
from shaker.settings.schema import Settings

log = structlog.get_logger("shaker.preflight")

PARAMETERS: Final = ("client-query-buffer-limit", "databases", "proto-max-bulk-len", "timeout")


async def refuse_at_start(
    connection: Connection, settings: Settings, source: SourceIdentity, target: ServerInfo
) -> None:
    """Make the checks of a new replication on the target's connection; log warnings.

    Raises RefusedError with all failed checks. Leaves database 0 selected.
    """
    checks = selected_at_start(settings)
    if source.info is None or not checks:
        return
    highest = max(source.info.keyspace, default=0)
    requests: list[Request] = [("CONFIG", "GET", name) for name in PARAMETERS]
    *replies, selected, _ = await connection.pipeline([*requests, ("SELECT", highest), ("SELECT", 0)])
    config, refused = configuration(PARAMETERS, replies)
    facts = Facts(
        settings,
        ServerFacts(settings.source.address.text, source.info),
        ServerFacts(settings.target.address.text, target, config=config, config_refused=refused),
        highest_database=has_database(selected),
    )
    refuse_failed(findings(facts, checks))


def refuse_failed(found: Sequence[Finding], *, quiet: Collection[str] = ()) -> None:
    """Log each warning, but for checks in `quiet`. Raises RefusedError with all that failed."""
    for finding in found:
        if finding.status is Status.WARNING and finding.name not in quiet:
            log.warning("preflight", check=finding.name, finding=finding.finding, remedy=finding.remedy)
    failed = [finding for finding in found if finding.status is Status.FAILED]
    if failed:
        raise RefusedError(
            "; ".join(f"{finding.finding} ({finding.name})" for finding in failed),
            hint=", and ".join(dict.fromkeys(finding.remedy for finding in failed))
            + ". To start all the same: --skip-check "
            + " --skip-check ".join(finding.name for finding in failed),
        )


def has_database(reply: object) -> bool | None:
    """Return whether a server has the database of a SELECT by its reply; None where it does not reveal that."""
    if not isinstance(reply, ReplyError):
        return True
    return False if "out of range" in str(reply) else None
