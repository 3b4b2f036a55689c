"""What was measured, as a table of medians and as a picture of how the time grows with the number of keys."""

from __future__ import annotations

import re
import statistics
from pathlib import Path
from typing import Final

from rich.table import Table

NATIVE: Final = "native"
PIPE: Final = "redis-cli --pipe"
VARIANTS: Final = (NATIVE, PIPE, "plain", "compiled")
# Figure → variant → the values of all rounds.
Values = dict[str, dict[str, list[float]]]
FULL_SYNC: Final = re.compile(r"full sync of ([\d,]+) keys, s")


def rows(values: Values) -> list[list[str]]:
    """Return a row for each figure: its name, the medians, and the ratios of both builds to native replication."""
    found = []
    for figure, by_variant in values.items():
        median = {variant: statistics.median(all_rounds) for variant, all_rounds in by_variant.items()}
        row = [figure, *(f"{median[variant]:.2f}" if variant in median else "" for variant in VARIANTS)]
        for variant in VARIANTS[2:]:
            both = NATIVE in median and variant in median
            row.append(f"{median[variant] / median[NATIVE]:.2f} x" if both else "")
        found.append(row)
    return found


HEADER: Final = ("figure", *VARIANTS, "plain / native", "compiled / native")


def table(values: Values, title: str) -> Table:
    """Return the medians as a table for a terminal."""
    out = Table(title=f"medians: {title}")
    for number, name in enumerate(HEADER):
        out.add_column(name, justify="right" if number else "left")
    for row in rows(values):
        out.add_row(*row)
    return out


def markdown(values: Values) -> str:
    """Return the medians as a table for a document."""
    lines = [HEADER, ("---", *["---:"] * (len(HEADER) - 1)), *rows(values)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def growth(values: Values) -> dict[str, list[tuple[int, float]]]:
    """Return, for each variant, pairs of a number of keys and the median seconds of its full sync."""
    found: dict[str, list[tuple[int, float]]] = {}
    for figure, by_variant in values.items():
        if matched := FULL_SYNC.fullmatch(figure):
            for variant, all_rounds in by_variant.items():
                pair = int(matched[1].replace(",", "")), statistics.median(all_rounds)
                found.setdefault(variant, []).append(pair)
    return {variant: sorted(pairs) for variant, pairs in found.items()}


def draw(values: Values, path: Path) -> None:
    """Draw the growth into an SVG or PNG file; needs matplotlib, which nothing else of the project needs."""
    try:
        import matplotlib
        from matplotlib import pyplot
    except ImportError as error:
        raise SystemExit("--picture needs matplotlib: .venv/bin/pip install matplotlib") from error
    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "shaker", "svg.fonttype": "none"})  # the same values, the same file
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    for variant, pairs in growth(values).items():
        axes.plot(*zip(*pairs, strict=True), marker="o", label=variant)
    axes.set(xscale="log", yscale="log", xlabel="keys", ylabel="seconds", title="Full sync")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
