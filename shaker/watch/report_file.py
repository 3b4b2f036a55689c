"""Writes a report to a file: as JSON, or for people as Markdown or HTML, by the suffix of the file."""

from __future__ import annotations

import html
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from shaker.bytesize import format_size
from shaker.text import printable
from shaker.watch import cutover_report

WIDTH, HEIGHT = 720, 120  # of a curve, in pixels
CURVES: Final[Mapping[str, str]] = {
    "lag_seconds": "lag in seconds",
    "lag_bytes": "lag in bytes",
    "keys_per_second": "keys of the snapshot per second",
    "commands_per_second": "commands applied per second",
    "received_bytes_per_second": "bytes received per second",
}
STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:.5rem 0}td,th{padding:.2rem .8rem .2rem 0;text-align:left;"
    "vertical-align:top;border-bottom:1px solid #ddd;overflow-wrap:anywhere}svg{max-width:100%}"
)


def write_report(path: Path, document: dict[str, Any]) -> None:
    """Write `document` whole, or leave the file as it was. Raises OSError."""
    text = FORMATS.get(path.suffix.lower(), as_json)(document)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def as_json(document: dict[str, Any]) -> str:
    """Return the report as JSON."""
    return json.dumps(document, indent=2) + "\n"


def as_markdown(document: dict[str, Any]) -> str:
    """Return the report as Markdown; the curves are SVG."""
    lines = [f"# {_title(document)}", "", _verdict(document), ""]
    for heading, rows in sections(document):
        lines += [f"## {heading}", "", "| | |", "| --- | --- |"]
        lines += [f"| {_cell(name)} | {_cell(text)} |" for name, text in rows]
        lines.append("")
    for name, picture in _pictures(document):
        lines += [f"### {name}", "", picture, ""]
    return "\n".join(lines)


def as_html(document: dict[str, Any]) -> str:
    """Return the report as one HTML page that loads nothing."""
    parts = [f"<h1>{html.escape(_title(document))}</h1>", f"<p>{html.escape(_verdict(document))}</p>"]
    for heading, rows in sections(document):
        cells = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in rows)
        parts.append(f"<h2>{html.escape(heading)}</h2><table>{cells}</table>")
    parts += [f"<h3>{html.escape(name)}</h3>{picture}" for name, picture in _pictures(document)]
    title = html.escape(_title(document))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
        f"</head><body>{''.join(parts)}</body></html>\n"
    )


FORMATS: Final[Mapping[str, Callable[[dict[str, Any]], str]]] = {
    ".md": as_markdown,
    ".html": as_html,
    ".htm": as_html,
}


def _title(document: dict[str, Any]) -> str:
    if document.get("kind") == "run":
        return f"Report of {document['name']} ({document['mode']})"
    if document.get("kind") == "cutover":
        return cutover_report.TITLE
    return "Report of a verification"


def _verdict(document: dict[str, Any]) -> str:
    if document.get("kind") == "cutover":
        return cutover_report.verdict(document)
    if document.get("kind") != "run":
        return "Every compared key is equal." if document["equal"] else "The servers differ."
    outcome = "Complete" if document["complete"] else f"Ended with exit code {document['exit_code']}"
    return f"{outcome} after {document['seconds']:,.1f} s: {document['next']}."


def sections(document: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield heading and rows of each part of a report."""
    if document.get("kind") == "cutover":
        yield from cutover_report.sections(document)
        return
    if document.get("kind") != "run":
        yield "Verification", list(_verification(document))
        return
    yield (
        "Run",
        [
            ("began", _moment(document["began"])),
            ("ended", _moment(document["ended"])),
            ("source", _server(document["source"])),
            ("target", _server(document["target"])),
            ("version", f"{document['shaker_version']}, codec {document['codec']}"),
            ("earlier workers of this name", f"{document['restarts']:,}"),
        ],
    )
    if document["error"] is not None:
        yield "Error", [(document["error"]["kind"], document["error"]["text"])]
    yield "Snapshot", list(_copied(document["copied"]))
    yield "Stream", [(name.replace("_", " "), _number(value)) for name, value in document["stream"].items()]
    yield (
        "Synchronizations and errors",
        [
            *((f"{name} syncs", f"{document['syncs'][name]:,}") for name in ("full", "partial")),
            *(
                (f"reconnects of the {side}", f"{count:,}")
                for side, count in document["syncs"]["reconnects"].items()
            ),
            *((f"errors {name}", f"{count:,}") for name, count in document["errors"].items() if count),
            *((f"last error of the {side}", text) for side, text in document["last_errors"].items()),
            ("stale keys removed", f"{document['deleted_stale_keys']:,}"),
            *((f"{name.replace('_', ' ')} left out", f"{count:,}") for name, count in document["left_out"].items()),
        ],
    )
    if document["verification"] is not None:
        yield "Verification", list(_verification(document["verification"]))
    if document["cutover"] is not None:
        yield from _cutover(document["cutover"])
    yield (
        "Timeline",
        [(_moment(each["at"]), f"{each['state']} for {each['seconds']:,.1f} s") for each in document["timeline"]],
    )
    yield "Settings", [(name, _number(value)) for name, value in document["settings"].items()]


def _copied(copied: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "keys copied", f"{copied['keys']:,}"
    yield "bytes copied", format_size(copied["bytes"])
    if copied["snapshot_seconds"] is not None:
        yield "duration", f"{copied['snapshot_seconds']:,.1f} s"
        yield "rate", f"{copied['keys_per_second']:,} keys/s, {format_size(copied['bytes_per_second'])}/s"
    for database, types in copied["databases"].items():
        yield f"database {database}", ", ".join(f"{count:,} {kind}" for kind, count in types.items() if count)
    yield "keys on the source", _number(copied["source_keys"])
    yield "keys on the target", _number(copied["target_keys"])


def _verification(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "equal", "yes" if report["equal"] else "no"
    yield "keys compared", f"{report['keys_compared']:,} ({format_size(report['bytes_compared'])})"
    yield "offset", str(report["offset"])
    yield "duration", f"{report['seconds']:,.1f} s"
    yield "differences", ", ".join(f"{count:,} {kind}" for kind, count in report["differences"].items())
    yield "repaired", f"{report['repaired']:,}"
    for each in report["examples"]:
        yield f"differs: {each['key']}", f"database {each['database']}, {each['kind']}: {each['detail']}"


def _cutover(report: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    parts = dict(cutover_report.sections(report))
    yield "Cutover", [("outcome", cutover_report.verdict(report)), *parts.pop("Cutover")]
    for heading, rows in parts.items():
        yield f"{heading} of the cutover", rows


def _pictures(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    curves = document.get("curves") or {}
    for name, title in CURVES.items():
        if any(curves.get(name, ())):
            yield title, curve(curves["at"], curves[name], size=name.endswith(("_bytes", "_bytes_per_second")))


def curve(times: list[float], values: list[float], *, size: bool) -> str:
    """Return a curve as SVG; `size`: values are bytes."""
    highest = max(values) or 1.0
    first, last = times[0], times[-1]
    span = (last - first) or 1.0
    points = " ".join(
        f"{WIDTH * (at - first) / span:.1f},{HEIGHT - HEIGHT * value / highest:.1f}"
        for at, value in zip(times, values, strict=True)
    )
    top = format_size(highest) if size else f"{highest:,.1f}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT + 20}" role="img" '
        f'viewBox="0 -2 {WIDTH} {HEIGHT + 20}">'
        f'<polyline points="{points}" fill="none" stroke="#2563eb" stroke-width="1.5"/>'
        f'<text x="2" y="12" font-size="12" fill="#666">{top}</text>'
        f'<text x="2" y="{HEIGHT + 14}" font-size="12" fill="#666">{_moment(first)}</text>'
        f'<text x="{WIDTH - 2}" y="{HEIGHT + 14}" font-size="12" fill="#666" text-anchor="end">{_moment(last)}</text>'
        "</svg>"
    )


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at))


def _number(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:,}" if isinstance(value, int) else str(value)


def _server(side: dict[str, Any]) -> str:
    return ", ".join(text for text in (side["address"], side["server"], f"run id {side['run_id']}") if text)


def _cell(text: str) -> str:
    return printable(text).replace("|", "\\|")
