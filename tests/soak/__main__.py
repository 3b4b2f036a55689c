"""Runs load and random faults for as long as asked, heals everything, and compares: exit 1 on any difference."""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.soak.data_faults import WRITE_FAULTS
from tests.soak.faults import FAULTS, FULL_SYNC_FAULTS, SOURCE_LINK_FAULTS
from tests.soak.witness import Verdict, Witness
from tests.soak.world import Fault, World
from tests.soak.writes import SpecialWrites
from tests.support import oracle
from tests.support.compare import differences
from tests.support.load import LoadProcess
from tests.support.servers import DEFAULT, NAMES, SOURCES

LONGEST_PAUSE = 2.0  # seconds between two faults
SHOWN = 10
# Seconds that the target's clock is ahead of the source's: more than expiry.margin_seconds, and less.
CLOCK_DIFFERENCES = (-3.0, -0.5, 0.5, 3.0)
GROWTH_LIMIT = 30  # MiB that a worker may have more in the last third of a run than in the second


def main() -> int:
    """Run; return 0 when both sides are equal and nothing was lost, doubled or complained about."""
    parser = argparse.ArgumentParser(prog="tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=None, help="draw the same faults again")
    parser.add_argument("--rate", type=float, default=1000.0, help="operations per second of the load")
    parser.add_argument("--only", action="append", help="this fault alone, or all that begin so; may be repeated")
    parser.add_argument("--every", type=float, default=None, help="seconds from one fault's begin to the next")
    parser.add_argument("--full-syncs", action="store_true", help="faults that end in a full sync, too")
    parser.add_argument(
        "--stale-keys", choices=("flush", "sweep"), default="sweep", help="what full syncs do to them"
    )
    parser.add_argument(
        "--clock-difference",
        type=float,
        default=None,
        help="seconds that the target's clock is ahead; drawn if not given",
    )
    parser.add_argument("--source", choices=SOURCES, default=DEFAULT)
    parser.add_argument("--target", choices=NAMES, default=DEFAULT)
    parser.add_argument(
        "--special-writes",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="big values, functions, RESTORE and more all the time; by default unless --only is given",
    )
    parser.add_argument("--log", type=Path, default=None, help="write the logs of all workers there if it fails")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.randrange(1 << 31)
    console = Console(highlight=False, width=110)
    faults = FAULTS | (FULL_SYNC_FAULTS if given.full_syncs else {})
    if given.only:
        faults = _chosen(given.only)
    draw = random.Random(seed)
    difference = draw.choice(CLOCK_DIFFERENCES) if given.clock_difference is None else given.clock_difference
    if given.special_writes is None:
        given.special_writes = not given.only
    console.print(
        f"seed {seed}, {given.minutes:g} minutes, {given.source} to {given.target}, "
        f"the target's clock {difference:+g} s",
        style="bold",
    )
    made: Counter[str] = Counter()
    started = time.monotonic()
    world = World(
        full=given.full_syncs,
        stale_keys=given.stale_keys,
        difference=difference,
        source=given.source,
        target=given.target,
    )
    with world, Witness(world.source) as witness:
        worker = world.worker
        assert worker is not None
        worker.wait_state("streaming")
        load = LoadProcess(world.source, seed=seed, rate=given.rate, keys=300)
        special = SpecialWrites(world.source, seed)
        with load, special if given.special_writes else nullcontext():
            while time.monotonic() < started + given.minutes * 60 and not world.complaints:
                begin = time.monotonic()
                name = draw.choice(list(faults))
                console.print(f"{begin - started:7.1f} s  {name}")
                faults[name](world, draw)
                made[name] += 1
                if given.every is None:
                    world.heal()
                    time.sleep(draw.uniform(0, LONGEST_PAUSE))
                else:
                    # A fault that lasts until it is healed, such as slices, has the whole time; one that takes
                    # longer itself leaves as much for going on.
                    spent = time.monotonic() - begin
                    time.sleep(given.every - spent if spent < given.every else given.every)
                    world.heal()
        witness.stop()
        found, verdict = _outcome(world, witness)
        if set(made) <= set(SOURCE_LINK_FAULTS) and (syncs := world.source.info("stats")["sync_full"]) != 1:
            world.complain(f"{syncs} full syncs, where the backlog held all that was missed")
        before, last = world.growth()
        if last - before > GROWTH_LIMIT:
            world.complain(f"the worker's memory grew from {before:.0f} to {last:.0f} MiB")
        console.print(_table(world, made, special, verdict, load.operations, time.monotonic() - started))
        for line in [*found, *world.complaints]:
            console.print(line, style="red", markup=False)
        failed = bool(found or world.complaints or verdict.lost or verdict.doubled)
        if failed and given.log is not None:
            given.log.write_text(world.logs)
    console.print("FAILED" if failed else "equal, nothing lost, nothing doubled", style="bold")
    return int(failed)


def _chosen(names: list[str]) -> dict[str, Fault]:
    """Return the faults of these names, or for what is no name those that begin so."""
    known = FAULTS | FULL_SYNC_FAULTS | SOURCE_LINK_FAULTS | WRITE_FAULTS
    chosen = {}
    for name in names:
        found = [name] if name in known else [one for one in known if one.startswith(name)]
        if not found:
            raise SystemExit(f"no fault {name!r}; there are: {', '.join(known)}")
        chosen |= {one: known[one] for one in found}
    return chosen


def _outcome(world: World, witness: Witness) -> tuple[list[str], Verdict]:
    """Heal everything, wait until all is applied, and compare."""
    world.heal()
    try:
        world.settle()
    except AssertionError as error:
        world.complain(str(error))
    if world.worker is not None:
        world.check_log(world.worker)
    later = round(world.margin * 1000)
    found = differences(world.source, world.target, later=later)
    found += oracle.differences(world.source, world.target, later=later, clocks_differ=world.clock.moved)
    return found[:SHOWN], witness.verdict(world.target)


def _table(
    world: World, made: Counter[str], special: SpecialWrites, verdict: Verdict, operations: int, seconds: float
) -> Table:
    table = Table("figure", "value")
    table.columns[1].justify = "right"
    for name, count in sorted(made.items()):
        table.add_row(f"fault: {name}", f"{count:,}")
    for name, count in sorted(special.made.items()):
        table.add_row(f"written: {name}", f"{count:,}")
    least, median, most = world.memory()
    before, last = world.growth()
    for name, value in (
        ("faults", f"{made.total():,}"),
        ("minutes", f"{seconds / 60:.1f}"),
        ("full syncs", f"{world.total('full_syncs'):,}"),
        ("partial syncs", f"{world.total('partial_syncs'):,}"),
        ("operations of the load", f"{operations:,}"),
        ("commands applied", f"{world.total('stream', 'commands_applied'):,}"),
        ("passes of the verification", f"{world.passes:,}"),
        ("witnessed writes", f"{verdict.written:,}"),
        ("lost", f"{verdict.lost:,}"),
        ("doubled", f"{verdict.doubled:,}"),
        ("memory of the worker, MiB", f"{least:.0f} / {median:.0f} / {most:.0f} (least, median, most)"),
        ("in the second and the last third", f"{before:.0f} / {last:.0f} (medians)"),
    ):
        table.add_row(name, value)
    return table


if __name__ == "__main__":
    sys.exit(main())
