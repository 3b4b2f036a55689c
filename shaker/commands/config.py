"""`shaker config`: the effective settings and the origin of each, without secrets."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from shaker.checks.named_files import check_files
from shaker.commands.flags import EPILOG, Parser, add_settings, load_given
from shaker.errors import EXIT_OK
from shaker.settings.sources import DEFAULT, Loaded, masked

# Columns of a table that goes to no terminal: a broken line would hide a value from grep.
UNBOUNDED = 10_000


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0, or raise SettingsError if the settings are not valid."""
    parser = Parser(
        "config", "Shows the effective settings and the origin of each, with secrets masked.", epilog=EPILOG
    )
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    parser.add_argument("--check", action="store_true", help="only check the settings and the files they name")
    add_settings(parser)
    given = parser.parse(arguments)
    loaded = load_given(given)
    if given["check"]:
        check_files(loaded.settings)
        sys.stdout.write("settings are valid\n")
    elif given["json"]:
        sys.stdout.write(json.dumps(document(loaded), indent=2) + "\n")
    else:
        console = Console(width=None if sys.stdout.isatty() else UNBOUNDED, highlight=False)
        console.print(_table(loaded))
    return EXIT_OK


def document(loaded: Loaded) -> dict[str, dict[str, object]]:
    """Return each setting's `value`, masked, and `origin`."""
    return {
        setting: {"value": masked(setting, loaded.value(setting)), "origin": origin}
        for setting, origin in loaded.origins.items()
    }


def _table(loaded: Loaded) -> Table:
    # Folded, because a truncated value is ambiguous.
    columns = (Column(name, overflow="fold") for name in ("setting", "value", "origin"))
    table = Table(*columns, box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for setting, row in document(loaded).items():
        value = row["value"]
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
        # Text, not str: a value may look like rich's markup.
        style = "dim" if row["origin"] == DEFAULT else ""
        table.add_row(Text(setting), Text(text, style), Text(str(row["origin"]), style))
    return table
