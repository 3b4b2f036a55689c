"""Rounds of all measures side by side, and a table of their medians with the ratios to native replication."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from shaker.commands.sample import seed
from tests.bench import measures, report
from tests.bench.loads import LOADS, write_load, write_restores
from tests.bench.report import NATIVE, PIPE, VARIANTS
from tests.support import compiled
from tests.support.servers import DEFAULT, NAMES, Server
from tests.support.worker import Worker

# "Half load" is half of the commands that the native stream of this kind takes in a second.
MEASURED_LOAD = "SET 100 B"
GROWTH = [10_000, 100_000, 5_000_000]
# One figure of one variant in one round.
Measured = tuple[str, str, float]


def main() -> None:
    """Measure and print, or read what was measured and print."""
    given = _arguments()
    console = Console(stderr=given.json, highlight=False, width=max(130, Console().width))
    document = json.loads(given.read.read_text()) if given.read else _measure(given, console)
    values = document["values"]
    if given.picture:
        report.draw(values, given.picture)
    if given.json:
        json.dump(document, sys.stdout, indent=1)
        sys.stdout.write("\n")
    elif given.markdown:
        sys.stdout.write(report.markdown(values))
    else:
        console.print(
            report.table(values, ", ".join(f"{name} {value}" for name, value in document["machine"].items()))
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=1_000_000, help="mixed keys of the full sync")
    parser.add_argument("--growth", type=int, nargs="*", default=GROWTH, help="other numbers of keys")
    parser.add_argument("--commands", type=int, default=1_000_000, help="of 100 bytes, or as much of other kinds")
    parser.add_argument("--samples", type=int, default=1000, help="writes whose latency is measured")
    parser.add_argument("--server", choices=NAMES, default=DEFAULT)
    parser.add_argument("--variants", choices=VARIANTS, nargs="+", default=VARIANTS)
    parser.add_argument("--json", action="store_true", help="all values of all rounds, as JSON")
    parser.add_argument("--markdown", action="store_true", help="the table for a document")
    parser.add_argument("--picture", type=Path, help="draw the growth into this file; needs matplotlib")
    parser.add_argument("--read", type=Path, help="measure nothing: take what --json has written")
    return parser.parse_args()


def _measure(given: argparse.Namespace, console: Console) -> dict[str, object]:
    load = os.getloadavg()[0]
    values: report.Values = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory(prefix="shaker-bench-") as name:
        bench = Bench(given, Path(name), console)
        with bench.prepared():
            for number in range(given.rounds):
                console.print(f"round {number + 1} of {given.rounds}")
                for figure, variant, value in bench.round():
                    values[figure][variant].append(value)
    machine = {
        "server": given.server,
        "processors": os.cpu_count(),
        "python": platform.python_version(),
        "rounds": given.rounds,
        "load before": round(load, 1),
    }
    return {"machine": machine, "values": values}


class Bench:
    """One run: sources with their keys, files with commands, and the code of both builds."""

    def __init__(self, given: argparse.Namespace, directory: Path, console: Console) -> None:
        self._given = given
        self._directory = directory
        self._console = console
        self._sources: dict[int, Server] = {}
        self._trees: dict[str, Path] = {}
        self._native_seconds: list[float] = []

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Build, write the files and start the sources, which end with it."""
        given, print_ = self._given, self._console.print
        if "plain" in given.variants:
            self._trees["plain"] = compiled.copied(self._directory, "plain")
        if "compiled" in given.variants:
            print_("compiling the codec")
            self._trees["compiled"] = compiled.build(self._directory)
        with ExitStack() as stack:
            for keys in sorted({*given.growth, given.keys}):
                print_(f"preparing {keys:,} keys")
                self._sources[keys] = source = stack.enter_context(Server(given.server))
                # The number of keys tells when a target has all: none may expire on the way.
                seed(source.client(), keys, shortest_expiry=86_400_000)
                if PIPE in given.variants:
                    write_restores(source, self._directory / f"restores-{keys}")
            for kind in LOADS:
                write_load(self._path(kind), kind, given.commands)
            yield

    def _path(self, kind: str) -> Path:
        return self._directory / kind.replace(" ", "-")

    def round(self) -> Iterator[Measured]:
        """Yield all figures once, those of one kind for all variants within the same minute."""
        for keys, source in self._sources.items():
            for variant, figures in self._full_sync(source, self._directory / f"restores-{keys}"):
                yield from _named(f"full sync of {keys:,} keys", variant, figures)
        for kind in LOADS:
            for variant, figures in self._stream(self._path(kind)):
                if kind == MEASURED_LOAD and variant == NATIVE:
                    self._native_seconds.append(figures["s"])
                yield from _named(f"stream of {kind}", variant, figures)
        for name, rate in (("idle", 0.0), ("half load", self._half())):
            for variant, figures in self._latency(rate):
                yield from _named(f"latency, {name}", variant, figures)

    def _half(self) -> float:
        """Return the commands a second that are half of what the native stream takes."""
        seconds = self._native_seconds
        return self._given.commands / statistics.median(seconds) / 2 if seconds else 0.0

    def _worker(self, variant: str, source: Server, target: Server) -> Worker:
        return measures.start_worker(source, target, self._trees[variant])

    def _full_sync(self, source: Server, restores: Path) -> Iterator[tuple[str, measures.Figures]]:
        for variant in self._given.variants:
            with Server(self._given.server) as target:
                if variant == NATIVE:
                    yield variant, measures.native_full_sync(source, target)
                elif variant == PIPE:
                    yield variant, measures.piped(target, restores)
                else:
                    yield variant, measures.worker_full_sync(source, target, self._worker(variant, source, target))

    def _stream(self, commands: Path) -> Iterator[tuple[str, measures.Figures]]:
        for variant in self._given.variants:
            with Server(self._given.server) as source, Server(self._given.server) as target:
                if variant == NATIVE:
                    yield variant, measures.native_stream(commands, source, target)
                elif variant == PIPE:
                    yield variant, measures.piped(source, commands)
                else:
                    worker = self._worker(variant, source, target)
                    yield variant, measures.worker_stream(commands, source, target, worker)

    def _latency(self, rate: float) -> Iterator[tuple[str, measures.Figures]]:
        samples = self._given.samples
        for variant in self._given.variants:
            with Server(self._given.server) as source, Server(self._given.server) as target:
                if variant == NATIVE:
                    yield variant, measures.native_latency(samples, rate, source, target)
                elif variant != PIPE:
                    worker = self._worker(variant, source, target)
                    yield variant, measures.worker_latency(samples, rate, source, target, worker)


def _named(of: str, variant: str, figures: measures.Figures) -> Iterator[Measured]:
    for name, value in figures.items():
        yield f"{of}, {name}", variant, value


if __name__ == "__main__":
    main()
