"""`shaker status`: the `/status` of the local worker, as a line, as JSON, or drawn live."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from shaker.bytesize import format_size
from shaker.commands.flags import Parser
from shaker.commands.healthcheck import worker_address
from shaker.errors import EXIT_INCOMPLETE, EXIT_OK, LinkError, SettingsError
from shaker.text import printable

TIMEOUT_SECONDS = 5.0
WATCH_SECONDS = 1.0
# Kinds of errors of a server that answers but cannot comply now.
_NOT_NOW = (
    "oom",
    "readonly",
    "misconf",
    "noreplicas",
    "loading",
    "busy",
    "masterdown",
    "clusterdown",
    "tryagain",
    "behind",
)
MAX_BODY = 1024 * 1024


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0 when the worker answered, 75 when it did not. Raises SettingsError on bad usage."""
    parser = Parser(
        "status",
        "Shows the status of the running worker.",
        epilog="Exit code 0 if the worker answers, in any state; otherwise 75.",
    )
    parser.add_argument("--json", action="store_true", help="the whole status as JSON")
    parser.add_argument("--watch", action="store_true", help="draw the status live until interrupted")
    parser.add_argument("--url", metavar="URL", help="the worker's health server, such as http://worker-1:8080")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings (SHAKER_CONFIG)")
    parser.add_argument("--health.host", metavar="HOST", help="host to ask (default: the setting health.host)")
    parser.add_argument("--health.port", metavar="PORT", help="port to ask (default: the setting health.port)")
    given = parser.parse(arguments)
    url = given["url"] or local_url({name: value for name, value in given.items() if isinstance(value, str)})
    if given["watch"]:
        return watch(url)
    try:
        document = fetch(url)
    except LinkError as error:
        sys.stderr.write(f"shaker: {error}\n")
        return EXIT_INCOMPLETE
    if given["json"]:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        sys.stdout.write(line(document) + "\n")
    return EXIT_OK


def fetch(url: str) -> dict[str, Any]:
    """Return the status document of the health server at `url`.

    Raises LinkError if there is no answer or it is not a status, SettingsError if `url` is not an address.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https"):
        raise SettingsError("--url: is not an address such as http://127.0.0.1:8080")
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(host, port, timeout=TIMEOUT_SECONDS)
    where = f"{host} port {connection.port}"
    try:
        connection.request("GET", parts.path.rstrip("/").removesuffix("/status") + "/status")
        document = json.loads(connection.getresponse().read(MAX_BODY))
    except (OSError, HTTPException) as error:
        raise LinkError(f"no answer from the worker at {where}: {error}", hint="is it running?") from None
    except ValueError:
        document = None
    finally:
        connection.close()
    if not isinstance(document, dict) or not {"state", "stream", "snapshot"} <= document.keys():
        raise LinkError(f"the server at {where} is not a worker", hint="check health.port, or set --url")
    return document


def line(document: dict[str, Any]) -> str:
    """Return the status as one line for people, without terminal escapes."""
    stream = document["stream"]
    parts = [f"{document['name']}: {document['state']}, {'ready' if document['ready'] else 'not ready'}"]
    if document["state"] == "snapshot":
        parts.append(f"snapshot {snapshot_text(document['snapshot'])}")
    parts.append(f"lag {format_size(stream['lag_bytes'])}, {stream['lag_seconds']:.1f} s")
    parts.append(f"offset {stream['applied_offset']} applied of {stream['source_offset']}")
    parts.append(f"{stream['commands_per_second']:,.0f} commands/s")
    ends = " to ".join(document[side]["address"] or "?" for side in ("source", "target"))
    parts.append(ends + _reversed(document))
    if document["reasons"]:
        parts.append("not ready because " + ", ".join(document["reasons"]))
    return printable("; ".join(parts))


def _reversed(document: dict[str, Any]) -> str:
    """Return a word about a replication that a cutover has turned round."""
    return " (reverse)" if document.get("cutover", {}).get("direction") == "reverse" else ""


def snapshot_text(snapshot: dict[str, Any]) -> str:
    """Return the progress of the snapshot, for people."""
    keys = f"{snapshot['keys_done']:,}" + (f" of {snapshot['keys_total']:,}" if snapshot["keys_total"] else "")
    size = format_size(snapshot["bytes_done"])
    size += f" of {format_size(snapshot['bytes_total'])}" if snapshot["bytes_total"] else ""
    eta = snapshot["eta_seconds"]
    return f"{keys} keys, {size}" + ("" if eta is None else f", {eta:.0f} s left")


def watch(url: str) -> int:
    """Draw the status at `url` each second until interrupted; return 0 if the worker answered last, else 75."""
    code = EXIT_INCOMPLETE
    try:
        with Live(Text("asking the worker"), console=Console(), auto_refresh=False) as live:
            while True:
                try:
                    drawing, code = draw(fetch(url)), EXIT_OK
                except LinkError as error:
                    drawing, code = Text(printable(str(error)), "red"), EXIT_INCOMPLETE
                live.update(drawing, refresh=True)
                time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        return code


def draw(document: dict[str, Any]) -> RenderableType:
    """Return the status drawn for a terminal."""
    stream, snapshot = document["stream"], document["snapshot"]
    title = Text(printable(f"shaker {document['name']}  "), "bold")
    title.append(f"{document['state']}, {'ready' if document['ready'] else 'not ready'}", _colour(document))
    rows = Table.grid(padding=(0, 2))
    for label, text in (
        ("source", _side(document["source"]) + _reversed(document)),
        ("target", _side(document["target"])),
        ("snapshot", snapshot_text(snapshot)),
        ("lag", f"{format_size(stream['lag_bytes'])}, {stream['lag_seconds']:.1f} s"),
        ("commands", f"{stream['commands_applied']:,} applied, {stream['commands_per_second']:,.0f} per second"),
        ("source offset", f"{stream['source_offset']:,}"),
        ("received offset", f"{stream['received_offset']:,}"),
        ("applied offset", f"{stream['applied_offset']:,}"),
        ("checkpoint offset", f"{stream['checkpoint_offset']:,}"),
        ("synchronizations", f"{document['full_syncs']} full, {document['partial_syncs']} partial"),
    ):
        rows.add_row(Text(label, "dim"), Text(printable(text)))
    parts: list[RenderableType] = [title, rows]
    total = snapshot["bytes_total"] or snapshot["keys_total"]
    if document["state"] == "snapshot" and total:
        done = snapshot["bytes_done"] if snapshot["bytes_total"] else snapshot["keys_done"]
        parts.append(ProgressBar(total=total, completed=min(done, total), width=60))
    parts.extend(Text(printable(f"not ready: {reason}"), "yellow") for reason in document["reasons"])
    return Group(*parts)


def _colour(document: dict[str, Any]) -> str:
    if document["state"] in ("failed", "fenced"):
        return "red"
    return "green" if document["ready"] else "yellow"


def _side(side: dict[str, Any]) -> str:
    parts = [
        side["address"] or "unknown",
        side["server"],
        "connected" if side["connected"] else _answers(side),
    ]
    if side["last_error"]:
        parts.append(f"last error: {side['last_error']}")
    return ", ".join(part for part in parts if part)


def _answers(side: dict[str, Any]) -> str:
    """Return whether a side that is not connected answers, by its kind of error (docs/operations.md)."""
    answered = side.get("last_error_kind") in (*_NOT_NOW, "access", "refused")
    return "reachable, but refuses" if answered else "not connected"


def local_url(options: dict[str, str]) -> str:
    """Return the address of the local worker's health server; raises SettingsError where its port is not known."""
    host, port = worker_address(options, os.environ)
    if port == 0:
        raise SettingsError("health.port is 0, so the port is not known", hint="give --health.port or --url")
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
