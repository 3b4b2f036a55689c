"""The report of a cutover for people: a verdict, and rows for Markdown and HTML."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final

TITLE: Final = "Report of a cutover"
# Labels of the report's plain fields.
FIELDS: Final = {
    "source": "source",
    "target": "target",
    "fence": "fence",
    "reverse": "turned round",
    "offset": "end offset",
    "replid": "replication id",
    "fenced_seconds": "seconds of fenced writes",
    "seconds": "seconds in all",
}


def verdict(report: dict[str, Any]) -> str:
    """Return the outcome in a sentence, and whether the source takes writes."""
    if report["outcome"] == "done":
        at = f" at offset {report['offset']}" if "offset" in report else ""
        return f"Cut over{at}: the target has everything that the source has taken."
    opened = report.get("source_open")
    now = "The source takes writes." if opened else "The source may still refuse writes: `shaker abort`."
    return f"Not cut over ({report['outcome']}): {report['reason']}. {now}"


def sections(report: dict[str, Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield heading and rows of each part."""
    yield "Cutover", [(label, str(report[name])) for name, label in FIELDS.items() if name in report]
    if verification := report.get("verification"):
        rows = [(name.replace("_", " "), str(value)) for name, value in verification.items() if name != "examples"]
        differing = [
            (f"differs: {each['key']}", f"{each['kind']}: {each['detail']}") for each in verification["examples"]
        ]
        yield "Verification", rows + differing
    if timeline := report.get("timeline"):
        yield "Timeline", [(_moment(each["at"]), each["phase"].replace("_", " ")) for each in timeline]


def _moment(at: float) -> str:
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(at))}.{round(at % 1 * 1000) % 1000:03d} UTC"
