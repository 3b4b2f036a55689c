"""Runs the test suite of Redis or Valkey against a source that the worker replicates, and compares both servers."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter, deque
from pathlib import Path

from rich.console import Console

from tests.suite.expected import EXPECTED
from tests.suite.pair import Pair
from tests.suite.runner import Suite, Unit
from tests.support.servers import DEFAULT, NAMES, binary

COMPARE_SECONDS = 5.0
OWN_SHOWN = 5
FAULTS = "faults"
COUNTED = (
    "units with tests that ran", "tests passed", "tests failed", "tests that the suite skips",
    "commands applied", "kills of the worker", "comparisons", "commands rejected",
    "differences of a native replica too", FAULTS,
)  # fmt: skip


def main() -> int:
    """Run; return 0 when both servers were equal at every comparison and the target took every command."""
    parser = argparse.ArgumentParser(prog="tests.suite", description=__doc__)
    parser.add_argument("--tests", type=Path, required=True, help="the root of the server's sources")
    parser.add_argument("--server", choices=NAMES, default=DEFAULT, help="the source")
    parser.add_argument("--target", choices=NAMES, default=None, help="as the source if not given")
    parser.add_argument("--unit", action="append", help="this unit alone, or all that begin so; may be repeated")
    parser.add_argument(
        "--even-skipped", metavar="UNIT", action="append", default=[],
        help="of this unit, or all that begin so, also the tests that the suite skips in its external mode",
    )  # fmt: skip
    parser.add_argument("--kill-every", type=float, default=None, help="seconds between two SIGKILLs of the worker")
    parser.add_argument(
        "--compare-every", type=float, default=None,
        help=f"seconds between two comparisons within a unit; 0 is after each test "
        f"(default: 0, and {COMPARE_SECONDS:g} with --kill-every)",
    )  # fmt: skip
    parser.add_argument("--log", type=Path, default=None, help="write the output of all units there")
    given = parser.parse_args()
    console = Console(highlight=False, width=150, soft_wrap=True)
    return _Run(given, console).all()


class _Run:
    """Runs units, each that has tests with servers and worker of its own, and adds them up."""

    def __init__(self, given: argparse.Namespace, console: Console) -> None:
        self.given = given
        self.console = console
        self.every = given.compare_every
        if self.every is None:
            self.every = 0.0 if given.kill_every is None else COMPARE_SECONDS
        self.compared_at = 0.0
        self.counts: Counter[str] = Counter()

    def all(self) -> int:
        """Run the chosen units; return the exit code."""
        with Suite(self.given.tests, binary(self.given.server)) as suite:
            units = deque(self._chosen(suite))
            while units:
                self._with_one_pair(suite, units)
        for name in COUNTED:
            self.console.print(f"{name:40} {self.counts[name]:>12,}")
        failed = bool(self.counts[FAULTS])
        self.console.print("FAILED" if failed else "no difference, nothing rejected", style="bold")
        return int(failed)

    def _chosen(self, suite: Suite) -> list[str]:
        units = suite.units()
        if self.given.unit:
            units = [unit for unit in units if unit.startswith(tuple(self.given.unit))]
        return units

    def _with_one_pair(self, suite: Suite, units: deque[str]) -> None:
        """Run units until one has run a test: what it leaves behind must not reach the next."""
        name = self.given.server
        with Pair(name, self.given.target or name, kill_every=self.given.kill_every) as pair:
            ran = False
            while units and not ran:
                ran = self._unit(suite, pair, units.popleft())
            for key, value in (
                ("commands applied", pair.applied),
                ("kills of the worker", pair.kills),
                ("comparisons", pair.compared),
                ("commands rejected", pair.rejected),
                ("differences of a native replica too", len(pair.own)),
                (FAULTS, len(pair.faults)),
            ):
                self.counts[key] += value

    def _unit(self, suite: Suite, pair: Pair, unit: str) -> bool:
        """Run one unit; return whether a test ran."""
        even = unit.startswith(tuple(self.given.even_skipped))
        started, noted = time.monotonic(), pair.compared

        def tested(test: str) -> None:
            if time.monotonic() >= self.compared_at + self.every:
                pair.check(f"{unit}: {test}")
                self.compared_at = time.monotonic()

        try:
            found = suite.run(unit, pair.source, tested=tested, tick=pair.tick, even_skipped=even)
        except TimeoutError as error:
            found = Unit(failures=[str(error)])
        pair.check(f"{unit}: end")
        ran = bool(found.passed or found.failures)
        self.counts["units with tests that ran"] += ran
        self.counts["tests passed"] += found.passed
        self.counts["tests failed"] += len(found.failures)
        self.counts["tests that the suite skips"] += found.skipped
        if self.given.log is not None:
            with self.given.log.open("a") as log:
                log.write(f"### {unit}\n{found.output}")
        self.console.print(
            f"{unit:34} {found.passed:4} passed {len(found.failures):3} failed {found.skipped:4} skipped "
            f"{time.monotonic() - started:6.1f} s  {pair.compared - noted:4} comparisons, {len(pair.faults)} faults"
        )
        self._explain(found, pair)
        return ran

    def _explain(self, found: Unit, pair: Pair) -> None:
        for failure in found.failures:
            reason = EXPECTED.get(failure.partition(" in tests/")[0])
            style, why = ("dim", f": expected, {reason}") if reason else ("yellow", "")
            self.console.print(f"    suite: {failure}{why}", style=style, markup=False)
        for line in pair.own[:OWN_SHOWN]:
            self.console.print(f"    as on a native replica: {line}", style="dim", markup=False)
        if len(pair.own) > OWN_SHOWN:
            self.console.print(f"    as on a native replica: {len(pair.own) - OWN_SHOWN} more", style="dim")
        for fault in pair.faults:
            self.console.print(f"    {fault}", style="red", markup=False)


if __name__ == "__main__":
    sys.exit(main())
