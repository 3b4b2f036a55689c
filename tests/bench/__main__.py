"""Rounds of all measures side by side, and a table of their medians with the ratio to native replication."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shaker.build import codec_kind
from shaker.sample import seed
from tests.bench import measures
from tests.servers import DEFAULT, NAMES, Server

VARIANTS = ("native", "redis-cli --pipe", "shaker")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=1_000_000, help="mixed keys of the full sync")
    parser.add_argument("--sets", type=int, default=1_000_000, help="SET commands of the stream, 100 bytes each")
    parser.add_argument("--samples", type=int, default=1000, help="writes whose latency is measured")
    parser.add_argument("--server", choices=NAMES, default=DEFAULT)
    parser.add_argument("--json", action="store_true", help="all values of all rounds, as JSON")
    given = parser.parse_args()
    console = Console(stderr=given.json, highlight=False)
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory(prefix="shaker-bench-") as name, Server(given.server) as source:
        directory = Path(name)
        console.print(f"preparing {given.keys:,} keys and {given.sets:,} commands")
        # The number of keys tells when a target has all: none may expire on the way.
        seed(source.client(), given.keys, shortest_expiry=86_400_000)
        measures.write_restores(source, directory / "restores")
        measures.write_sets(directory / "sets", given.sets)
        for number in range(given.rounds):
            console.print(f"round {number + 1} of {given.rounds}")
            for variant, figures in _round(source, directory, given):
                for figure, value in figures.items():
                    values[figure][variant].append(value)
    if given.json:
        machine = {"processors": os.cpu_count(), "codec": codec_kind(), "server": given.server}
        json.dump({"settings": vars(given), "machine": machine, "values": values}, sys.stdout, indent=1)
        sys.stdout.write("\n")
        return
    console.print(_table(values, f"{given.server}, codec {codec_kind()}, {os.cpu_count()} processors"))


@contextmanager
def _servers(name: str) -> Iterator[tuple[Server, Server]]:
    with Server(name) as source, Server(name) as target:
        yield source, target


def _round(source: Server, directory: Path, given: argparse.Namespace) -> Iterator[tuple[str, measures.Figures]]:
    """Yield the figures of each variant, all measured within the same minutes."""
    with Server(given.server) as target:
        yield "native", measures.native_full_sync(source, target)
    with Server(given.server) as target:
        yield "redis-cli --pipe", measures.piped_full_sync(target, directory / "restores")
    with Server(given.server) as target:
        yield "shaker", measures.worker_full_sync(source, target)
    with _servers(given.server) as (empty, target):
        yield "native", measures.native_stream(empty, target, directory / "sets", given.samples)
    with _servers(given.server) as (empty, target):
        yield "shaker", measures.worker_stream(empty, target, directory / "sets", given.samples)


def _table(values: dict[str, dict[str, list[float]]], title: str) -> Table:
    table = Table(title=f"medians: {title}")
    table.add_column("figure")
    for variant in (*VARIANTS, "shaker / native"):
        table.add_column(variant, justify="right")
    for figure, by_variant in values.items():
        median = {variant: statistics.median(found) for variant, found in by_variant.items()}
        row = [f"{median[variant]:.2f}" if variant in median else "" for variant in VARIANTS]
        both = "native" in median and "shaker" in median
        table.add_row(figure, *row, f"{median['shaker'] / median['native']:.2f} x" if both else "")
    return table


if __name__ == "__main__":
    main()
