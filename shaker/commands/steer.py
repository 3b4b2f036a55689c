"""`shaker pause`, `resume`, `ack` and `rate`: steer a running worker through its control endpoint."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from shaker.bytesize import exact_size, parse_size
from shaker.commands.control import ask
from shaker.commands.flags import Parser
from shaker.commands.healthcheck import section_of_file
from shaker.commands.status import local_url
from shaker.errors import EXIT_OK, SettingsError, counted
from shaker.flow.rates import RATES

TOKEN_VARIABLE: Final = "SHAKER_CONTROL__TOKEN_FILE"  # noqa: S105 - the name of a setting
PURPOSES: Final = {
    "pause": "Takes nothing more from the source until `shaker resume`; the worker keeps its connections.",
    "resume": "Ends a pause, and lets a held mass deletion continue (target.max_deletions).",
    "ack": "Clears recorded rejected commands from /readyz, after an operator has looked at them.",
    "rate": "Changes the rates at which the worker takes data from the source; without a rate, shows them.",
}


def main(verb: str, arguments: Sequence[str]) -> int:
    """Run the command; return 0. Raises RefusedError with the worker's reason, LinkError where none answers."""
    parser = Parser(
        verb,
        PURPOSES[verb],
        epilog="Exit code 0 when the worker has done it, 3 when it refuses with a reason, 75 when it does not answer.",
    )
    if verb == "rate":
        parser.add_argument(
            "rates",
            nargs="*",
            metavar="NAME=VALUE",
            help=f"{', '.join(RATES)}: a number or a size a second, or none",
        )
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--url", metavar="URL", help="the worker's health server, such as http://worker-1:8080")
    parser.add_argument("--config", metavar="FILE", help="TOML file of settings (SHAKER_CONFIG)")
    parser.add_argument("--health.host", metavar="HOST", help="host to ask (default: the setting health.host)")
    parser.add_argument("--health.port", metavar="PORT", help="port to ask (default: the setting health.port)")
    parser.add_argument(
        "--control.token-file", dest="token_file", metavar="FILE", help="file with the token (control.token_file)"
    )
    given = parser.parse(arguments)
    fields = _changes(given["rates"]) if verb == "rate" else {}
    url = given["url"] or local_url({name: value for name, value in given.items() if isinstance(value, str)})
    answer = ask(url, token_file(given), verb, fields)
    if given["json"]:
        sys.stdout.write(json.dumps(answer) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines(verb, answer)))
    return EXIT_OK


def token_file(given: Mapping[str, Any]) -> Path | None:
    """Return the file with the token: from the flag, else as the worker's settings name it."""
    name = given["token_file"] or os.environ.get(TOKEN_VARIABLE)
    config = given["config"] or os.environ.get("SHAKER_CONFIG")
    if not name and config:
        name = section_of_file(config, "control").get("token_file")
    return Path(str(name)) if name else None


def lines(verb: str, answer: Mapping[str, Any]) -> list[str]:
    """Return the worker's answer for people."""
    if verb == "pause":
        left = answer["overflows_in_seconds"]
        if left is None:
            return ["paused; at its present write rate the source's buffer does not overflow"]
        return [f"paused; the source drops the connection in about {left:.0f} s: {answer['overflow_reason']}"]
    if verb == "resume":
        done = [("resumed", answer["resumed"]), ("held deletions continue", answer["deletions_allowed"])]
        return ["; ".join(text for text, true in done if true)]
    if verb == "abort":
        return [f"aborted: {', '.join(answer['aborted'])}"]
    if verb == "ack":
        return [f"{counted(answer['cleared'], 'rejected command')} cleared"]
    return [f"{name:16} {_limit(name, limit)}" for name, limit in answer["rates"].items()]


def _limit(name: str, limit: int | None) -> str:
    if limit is None:
        return "none"
    return f"{exact_size(limit)}/s" if name.endswith("_bytes") else f"{limit:,}/s"


def _changes(given: Sequence[str]) -> dict[str, int | None]:
    """Return the rates by name. Raises SettingsError naming the argument that is wrong."""
    found: dict[str, int | None] = {}
    for each in given:
        name, _, text = each.partition("=")
        name = name.removeprefix("rate.")
        if name not in RATES:
            raise SettingsError(f"{name}: is not a rate", hint=f"the rates are {', '.join(RATES)}")
        if text == "none":
            found[name] = None
            continue
        try:
            value = parse_size(text) if name.endswith("_bytes") else int(text)
        except ValueError:
            value = 0
        if value < 1:
            raise SettingsError(f"{name}: must be a number above 0, or none", hint=f"such as {name}=5000")
        found[name] = value
    return found
