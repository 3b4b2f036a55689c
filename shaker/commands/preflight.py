"""`shaker preflight`: the named checks of source, target and settings, and the estimate; changes nothing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, Final

import anyio
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from shaker.bytesize import format_size
from shaker.checks.named_files import check_files
from shaker.checks.preflight.catalogue import findings, selected
from shaker.checks.preflight.estimate import estimate
from shaker.checks.preflight.finding import Finding, Status
from shaker.checks.preflight.gather import gather
from shaker.commands.flags import EPILOG, Parser, add_checks, add_settings, load_given
from shaker.errors import EXIT_OK, EXIT_REFUSED
from shaker.settings.secrets import hide
from shaker.text import printable

STYLES: Final = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "bold red", Status.SKIPPED: "dim"}
# Columns of a table that no terminal bounds: a program that reads it searches whole lines.
UNBOUNDED: Final = 10_000


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0 when no check failed, 3 when one did. Raises SettingsError on bad usage."""
    parser = Parser(
        "preflight",
        "Checks source, target and settings before a replication, and estimates it. Changes nothing.",
        epilog=f"Exit code 0 when no check failed, 3 when one did. docs/preflight.md explains each.\n\n{EPILOG}",
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.add_argument(
        "--measure-seconds",
        type=_seconds,
        default=None,
        metavar="SECONDS",
        help="how long to measure the source's write rate (default: preflight.measure_seconds); 0: not at all",
    )
    add_checks(parser)
    add_settings(parser)
    given = parser.parse(arguments)
    loaded = load_given(given)
    checks = selected(loaded.settings)
    check_files(loaded.settings)
    for secret in loaded.secrets():
        hide(secret)

    async def run() -> dict[str, Any]:
        seconds = given["measure_seconds"]
        if seconds is None:
            seconds = loaded.settings.preflight.measure_seconds
        facts = await gather(loaded.settings, rate_seconds=seconds)
        return {"findings": findings(facts, checks), "estimate": estimate(facts)}

    found = anyio.run(run)
    passed = all(finding.status is not Status.FAILED for finding in found["findings"])
    if given["json"]:
        checked = [finding._asdict() for finding in found["findings"]]
        sys.stdout.write(
            json.dumps({"passed": passed, "checks": checked, "estimate": found["estimate"]}, indent=2) + "\n"
        )
    else:
        _print(found["findings"], found["estimate"])
    return EXIT_OK if passed else EXIT_REFUSED


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 600:
        raise argparse.ArgumentTypeError("must be seconds from 0 to 600")
    return seconds


def _print(found: Sequence[Finding], numbers: dict[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else UNBOUNDED, highlight=False)
    columns = (Column("check", no_wrap=True), Column("status", no_wrap=True), Column("finding", overflow="fold"))
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for finding in found:
        text = Text(printable(finding.finding))
        if finding.remedy:
            text.append(f"\n→ {printable(finding.remedy)}", "bold" if finding.status is Status.FAILED else "")
        table.add_row(Text(finding.name), Text(finding.status, STYLES[finding.status]), text)
    console.print(table)
    console.print()
    for line in estimate_lines(numbers):
        console.print(Text(line), soft_wrap=True)
    counts = {status: sum(finding.status is status for finding in found) for status in Status}
    summary = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    console.print(
        Text(f"{summary or 'no check selected'}", STYLES[Status.FAILED if counts[Status.FAILED] else Status.OK])
    )


def estimate_lines(numbers: dict[str, Any]) -> list[str]:
    """Return the estimate for people: bytes, time and memory, each with its basis."""
    measured = numbers["measured"]

    def size(name: str) -> str:
        return "unknown" if numbers[name] is None else format_size(numbers[name])

    def speed(side: str) -> str:
        value = measured[f"{side}_link_bytes_per_second"]
        return "not measured" if value is None else f"{format_size(value)}/s"

    keys = "unknown" if numbers["keys"] is None else f"{numbers['keys']:,} keys"
    sampled = measured["sampled_keys"]
    basis = f"by {sampled} sampled keys" if sampled else "at most, by the memory of the data"
    rate = "not measured" if numbers["write_bytes_per_second"] is None else f"{size('write_bytes_per_second')}/s"
    return [
        f"snapshot: {keys}, {size('snapshot_bytes')} ({basis}), {_duration(numbers['snapshot_seconds'])}; "
        f"then {_duration(numbers['catch_up_seconds'])} to catch up",
        f"links: source {speed('source')}, target {speed('target')} (pipelined ECHO); assumed at most "
        f"{measured['assumed_keys_per_second']:,} keys/s on the target",
        f"source: write rate {rate}; {size('source_buffer_bytes')} in its output buffer during the snapshot; "
        f"at worst {size('source_fork_bytes')} for its fork",
        f"worker: {size('worker_memory_bytes')} between source and target (memory_limit), besides the process",
        f"target: {size('target_memory_bytes')} of memory afterwards",
    ]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "unknown time"
    if seconds < 1:
        return "under 1 s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
