"""`shaker verify`: one whole pass over all keys, exact under load, through the running worker or in its place."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from shaker.commands.control import ask
from shaker.commands.flags import EPILOG, Parser, add_settings, load_given
from shaker.commands.status import fetch, local_url
from shaker.errors import EXIT_DIFFERENT, EXIT_INCOMPLETE, EXIT_OK, LinkError, SettingsError
from shaker.settings.schema import Settings
from shaker.watch.report_file import write_report

if TYPE_CHECKING:
    from shaker.jobs.verify_wanted import Wanted

POLL_SECONDS = 0.5


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0 when every key is equal, 5 when some differ, 75 when the pass was not completed."""
    parser = Parser("verify", "Compares every key of source and target, while the stream runs.", epilog=EPILOG)
    options = parser.add_argument_group("verify")
    options.add_argument("--keys-only", action="store_true", help="compare existence, type and expiry; no values")
    options.add_argument("--sample", metavar="PERCENT", help="compare that share of the keys")
    options.add_argument("--pattern", metavar="GLOB", help="compare keys that match, as in KEYS")
    options.add_argument("--database", metavar="N", help="compare one database")
    options.add_argument(
        "--keys-per-second", "--rate", dest="keys_per_second", metavar="KEYS/S", help="limit the rate"
    )
    options.add_argument(
        "--repair", action="store_true", help="copy differing keys from the source, remove extra ones"
    )
    options.add_argument(
        "--static", action="store_true", help="compare two servers without writers; needs no worker"
    )
    options.add_argument("--json", action="store_true", help="print the report as JSON")
    options.add_argument("--report", metavar="FILE", help="write the report to a file, too: .md, .html, or JSON")
    options.add_argument("--url", metavar="URL", help="the worker's health server, such as http://worker-1:8080")
    add_settings(parser)
    given = parser.parse(arguments)
    fields = _fields(given)
    settings = load_given(given).settings
    if given["static"] and given["repair"]:
        raise SettingsError("--repair: needs a worker, as --static writes nothing")
    if given["static"]:
        report: dict[str, Any] | None = _compare_static(settings, fields, quiet=given["json"])
    else:
        here = {"health.host": settings.health.host, "health.port": str(settings.health.port)}
        report = _verify(given["url"] or local_url(here), settings, fields, quiet=given["json"])
    if report is None:
        sys.stderr.write("shaker: the pass was not completed\n")
        return EXIT_INCOMPLETE
    if given["json"]:
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        _print(report)
    if given["report"]:
        try:
            write_report(Path(given["report"]), report)
        except OSError as error:
            raise SettingsError(f"--report: {given['report']} cannot be written: {error.strerror}") from None
    return EXIT_OK if report["equal"] else EXIT_DIFFERENT


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    """Return the options as the control endpoint takes them. Raises SettingsError naming the option."""
    fields: dict[str, Any] = {"keys_only": given["keys_only"], "repair": given["repair"]}
    for name, convert, flag in (
        ("sample", float, "--sample"),
        ("database", int, "--database"),
        ("keys_per_second", float, "--rate"),
    ):
        if given[name] is not None:
            try:
                fields["rate" if name == "keys_per_second" else name] = convert(given[name].rstrip("%"))
            except ValueError:
                raise SettingsError(f"{flag}: must be a number") from None
    if given["pattern"] is not None:
        fields["pattern"] = given["pattern"]
    return fields


def _verify(url: str, settings: Settings, fields: dict[str, Any], *, quiet: bool) -> dict[str, Any] | None:
    try:
        document = fetch(url)
    except LinkError:
        document = None  # no worker runs: this process takes the replication over for as long
    if document is None or document["name"] != settings.name:
        return _in_place(settings, fields)
    number = ask(url, settings.control.token_file, "verify", fields)["id"]
    with _bar(quiet=quiet) as show:
        while True:
            verification = fetch(url)["verification"]
            requested = verification["requested"] or {}
            show(verification["share"], verification["keys_compared"])
            if requested.get("id") != number:
                return None  # the worker was restarted, or somebody asked for another pass
            if not requested["running"]:
                report: dict[str, Any] | None = requested["report"]
                return report
            time.sleep(POLL_SECONDS)


@contextmanager
def _bar(*, quiet: bool) -> Iterator[Callable[[float | None, int], None]]:
    """Show a bar on a terminal; yield the function that takes the share of the walk and the keys compared."""
    console = Console(stderr=True)
    columns = (TextColumn("verifying"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[keys]:,} keys"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=quiet or not console.is_terminal
    ) as bar:
        task = bar.add_task("verifying", total=None, keys=0)

        def show(share: float | None, keys: int) -> None:
            bar.update(task, total=None if share is None else 1.0, completed=share or 0.0, keys=keys)

        yield show


def _wanted(fields: dict[str, Any]) -> Wanted:
    """Return the pass that the options ask for. Raises SettingsError for an impossible one."""
    from shaker.run.control import wanted_of
    from shaker.watch.http.control import ControlError

    try:
        return wanted_of(fields)
    except ControlError as error:
        raise SettingsError(f"verify: {error}") from None


def _in_place(settings: Settings, fields: dict[str, Any]) -> dict[str, Any] | None:
    import anyio

    from shaker.run.worker import run
    from shaker.watch import log

    log.configure("console", "error")
    wanted = _wanted(fields)
    quiet = settings.model_copy(update={"verify": settings.verify.model_copy(update={"continuous": False})})
    anyio.run(run, quiet, wanted)
    return wanted.report


def _compare_static(settings: Settings, fields: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    import anyio

    from shaker.jobs.verify_static import compare_static
    from shaker.watch import log

    log.configure("console", "error")
    wanted = _wanted(fields)
    with _bar(quiet=quiet) as show:
        findings = anyio.run(
            lambda: compare_static(
                settings,
                wanted.selection,
                keys_only=wanted.keys_only,
                keys_per_second=wanted.keys_per_second,
                progress=lambda counted: show(counted.share, counted.keys),
            )
        )
    return findings.report(time.time())


def _print(report: dict[str, Any]) -> None:
    console = Console()
    if report["examples"]:
        table = Table("database", "key", "difference", "detail", box=None)
        for each in report["examples"]:
            database = "" if each["database"] is None else str(each["database"])
            table.add_row(database, each["key"], each["kind"], each["detail"])
        console.print(table)
    counts = ", ".join(f"{count:,} {kind}" for kind, count in report["differences"].items() if count)
    verdict = "EQUAL" if report["equal"] else f"DIFFERENT: {counts or 'some keys changed too often to be compared'}"
    repaired = f", {report['repaired']:,} repaired" if report["repaired"] else ""
    console.print(
        f"{verdict}{repaired}. {report['keys_compared']:,} keys compared in {report['seconds']:.1f} s, "
        f"up to offset {report['offset']}.",
        markup=False,
        highlight=False,
    )
