"""All checks by name, in the order in which an operator reads them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from shaker.checks.preflight import (
    pair,
    rights,
    source_buffers,
    source_server,
    target_limits,
    target_server,
)
from shaker.checks.preflight.facts import Facts
from shaker.checks.preflight.finding import Check, Finding, skipped
from shaker.errors import SettingsError
from shaker.settings.schema import Settings

SOURCE: Final = ("source",)
TARGET: Final = ("target",)
BOTH: Final = ("source", "target")

CHECKS: Final = (
    Check("source-reachable", "source", source_server.reachable),
    Check("source-rights", "source", rights.source_rights),
    Check("source-psync", "source", source_server.psync, SOURCE),
    Check("source-version", "source", source_server.version, SOURCE),
    Check("source-role", "source", source_server.role, SOURCE),
    Check("source-cluster", "source", source_server.cluster, SOURCE),
    Check("source-sentinel", "source", source_server.sentinel, SOURCE),
    Check("source-keys", "source", source_server.keys, SOURCE),
    Check("source-backlog", "source", source_buffers.backlog, SOURCE),
    Check("source-output-buffer", "source", source_buffers.output_buffer, SOURCE),
    Check("source-diskless", "source", source_buffers.diskless, SOURCE),
    Check("source-fork-memory", "source", source_buffers.fork_memory, SOURCE),
    Check("source-min-replicas", "source", source_server.min_replicas, SOURCE),
    Check("source-ping-period", "source", source_buffers.ping_period, SOURCE),
    Check("target-reachable", "target", target_server.reachable),
    Check("target-rights", "target", rights.target_rights),
    Check("target-version", "target", target_server.version, TARGET),
    Check("target-cluster", "target", target_server.cluster, TARGET),
    Check("target-writable", "target", target_server.writable, TARGET),
    Check("target-contents", "target", target_server.contents, BOTH),
    Check("target-memory", "target", target_limits.memory, BOTH),
    Check("target-eviction", "target", target_limits.eviction, TARGET),
    Check("target-databases", "target", target_limits.databases, BOTH),
    Check("target-bulk-limit", "target", target_limits.bulk_limit, TARGET),
    Check("target-query-buffer", "target", target_limits.query_buffer, TARGET),
    Check("target-timeout", "target", target_limits.timeout, TARGET),
    Check("target-replicas", "target", target_server.replicas, TARGET),
    Check("target-backlog", "target", target_server.backlog, TARGET),
    Check("target-persistence", "target", target_server.persistence, TARGET),
    Check("target-import-mode", "target", target_server.import_mode, TARGET),
    Check("same-dataset", "both", pair.same_dataset, BOTH),
    Check("loops", "both", pair.loops, BOTH),
    Check("chains", "both", pair.chains, BOTH),
    Check("clocks", "both", pair.clocks, BOTH),
    Check("round-trip", "both", pair.round_trip, BOTH),
    Check("modules", "both", pair.modules, BOTH),
    Check("types", "both", pair.types, BOTH),
)
NAMES: Final = tuple(check.name for check in CHECKS)

# Rules that `shaker run` obeys at every connection and with any selection: without them it would lose or repeat data.
GUARDS: Final = frozenset(
    (
        *("source-cluster", "source-psync", "source-reachable", "source-rights", "source-role"),
        *("target-cluster", "target-contents", "target-reachable", "target-rights", "target-version"),
        *("target-writable", "same-dataset", "loops"),
    )
)
# Checks that need no more than INFO of both sides and the target's configuration: `shaker run` makes them before the
# first write of a new replication.
AT_START: Final = frozenset(
    (
        *("source-version", "target-bulk-limit", "target-databases", "target-eviction", "target-memory"),
        *("target-query-buffer", "target-timeout", "modules", "types"),
    )
)


def selected(settings: Settings) -> list[Check]:
    """Return the checks that preflight.only_checks and preflight.skip_checks leave.

    Raises SettingsError for a name that is none.
    """
    skip = _names("preflight.skip_checks", settings.preflight.skip_checks)
    only = _names("preflight.only_checks", settings.preflight.only_checks) or set(NAMES)
    return [check for check in CHECKS if check.name in only and check.name not in skip]


def selected_at_start(settings: Settings) -> list[Check]:
    """Return the checks that precede the first write of `shaker run`.

    Raises SettingsError for a name that is none, and for a guard that preflight.skip_checks names.
    """
    for name in sorted(_names("preflight.skip_checks", settings.preflight.skip_checks) & GUARDS):
        raise SettingsError(
            f"preflight.skip_checks: {name} cannot be left out of `shaker run`",
            hint="only `shaker preflight` can leave it out, because it guards the data at every connection",
        )
    return [check for check in selected(settings) if check.name in AT_START]


def _names(setting: str, text: str | None) -> set[str]:
    names = {name.strip() for name in (text or "").split(",")} - {""}
    for name in sorted(names - set(NAMES)):
        close = get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {close[0]}?" if close else f"the checks are {', '.join(NAMES)}"
        raise SettingsError(f"{setting}: {name} is not a check", hint=hint)
    return names


def findings(facts: Facts, checks: Iterable[Check] = CHECKS) -> list[Finding]:
    """Return what each check finds."""
    found = []
    for check in checks:
        absent = next((side for side in check.needs if facts.server(side).info is None), None)
        verdict = check.judge(facts) if absent is None else skipped(f"the {absent} gave no INFO")
        found.append(Finding(check.name, check.side, *verdict))
    return found
