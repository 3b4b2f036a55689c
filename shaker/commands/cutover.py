"""`shaker cutover`: has the running worker cut over, runs the hook, reports, and aborts on any failure."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from shaker.commands.abort import left_behind, reopen, where
from shaker.commands.control import ask
from shaker.commands.flags import EPILOG, Parser, add_settings, load_given
from shaker.commands.status import local_url
from shaker.errors import (
    EXIT_DIFFERENT,
    EXIT_INCOMPLETE,
    EXIT_OK,
    EXIT_REFUSED,
    LinkError,
    RefusedError,
    SettingsError,
)
from shaker.model.cutover import FENCES, rule_fault
from shaker.settings.schema import Settings
from shaker.watch.cutover_document import MAX_LAG_SECONDS
from shaker.watch.cutover_report import verdict
from shaker.watch.report_file import write_report

EXIT_CODES = {"done": EXIT_OK, "different": EXIT_DIFFERENT, "refused": EXIT_REFUSED}
POLL_SECONDS = 0.1
HOOK_END_SECONDS = 2.0  # for a hook to obey SIGTERM
RESTART_SECONDS = 10.0  # for a supervisor to start the next worker


def main(arguments: Sequence[str]) -> int:
    """Run the command; return 0 once the target has taken over, 5 for differences, 75 when the cutover was given up.

    In all cases but 0, the source takes writes again. Raises RefusedError with every reason against a cutover.
    """
    given = _parser().parse(arguments)
    fields = _fields(given)
    settings = load_given(given).settings
    here = {"health.host": settings.health.host, "health.port": str(settings.health.port)}
    url = given["url"] or local_url(here)
    if given["dry_run"]:
        ask(url, settings.control.token_file, "cutover", fields | {"dry_run": True})
        sys.stdout.write("A cutover is possible.\n")
        return EXIT_OK
    report = Follower(url, settings, fields, given["run_when_fenced"]).follow()
    sys.stdout.write(json.dumps(report, indent=2) + "\n" if given["json"] else text_of(report))
    if given["report"]:
        try:
            write_report(Path(given["report"]), report)
        except OSError as error:  # the exit code is that of the cutover
            sys.stderr.write(f"shaker: --report: {given['report']} cannot be written: {error.strerror}\n")
    return EXIT_CODES.get(report["outcome"], EXIT_INCOMPLETE)


def _parser() -> Parser:
    parser = Parser("cutover", "Moves the writes from the source to the target.", epilog=EPILOG)
    options = parser.add_argument_group("cutover")
    options.add_argument("--dry-run", action="store_true", help="only say whether it is possible, and why not")
    options.add_argument(
        "--fence",
        choices=FENCES,
        help="replicas (default): pause writers, then refuse writes by min-replicas-to-write; pause: only pause them; "
        "none: the applications are stopped already",
    )
    options.add_argument(
        "--fence-acl",
        metavar="USER=RULES",
        action="append",
        default=[],
        help="instead: pause writers, then take from a user of the applications the right to write, by ACL rules such "
        "as app=-@write; once for each user",
    )
    options.add_argument(
        "--timeout",
        metavar="SECONDS",
        help="most seconds for which writes are fenced before giving up (default: 30)",
    )
    options.add_argument(
        "--max-lag", metavar="SECONDS", help=f"largest lag at the beginning (default: {MAX_LAG_SECONDS:g})"
    )
    options.add_argument(
        "--fence-seconds",
        metavar="SECONDS",
        help="seconds after which the source opens by itself when the worker is gone (default: 10)",
    )
    options.add_argument("--no-verify", action="store_true", help="compare no keys")
    options.add_argument(
        "--run-when-fenced",
        metavar="COMMAND",
        help="shell command to run while writes are fenced and all keys are equal, such as one that switches a "
        "service; its failure aborts",
    )
    options.add_argument(
        "--reverse",
        action="store_true",
        help="continue in the other direction: the worker applies the target's new writes to the source; with "
        "--fence-acl or --fence none",
    )
    options.add_argument("--report", metavar="FILE", help="write the report as JSON to a file")
    options.add_argument("--json", action="store_true", help="print the report as JSON")
    options.add_argument("--url", metavar="URL", help="the worker's health server, such as http://worker-1:8080")
    add_settings(parser)
    return parser


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"verify": not given["no_verify"]}
    users = dict(_user_rules(text) for text in given["fence_acl"])
    if users and given["fence"] is not None:
        raise SettingsError("--fence-acl: takes the place of --fence: give one of them")
    if given["reverse"]:
        fields["reverse"] = True
    fields |= {"fence_acl": users} if users else {"fence": given["fence"] or FENCES[0]}
    for name in ("timeout", "max_lag", "fence_seconds"):
        if given[name] is not None:
            try:
                fields[name] = float(given[name])
            except ValueError:
                raise SettingsError(f"--{name.replace('_', '-')}: must be a number of seconds") from None
    return fields


def _user_rules(text: str) -> tuple[str, str]:
    user, equals, rules = text.partition("=")
    why = rule_fault(rules)
    if not user or not equals:
        why = "must be a user and ACL rules, such as app=-@write"
    if why:
        raise SettingsError(f"--fence-acl: {why}")
    return user, rules


class _Interrupted(Exception):
    """A signal asks the command to end."""


class Follower:
    """Follows one cutover from the order to the report."""

    def __init__(self, url: str, settings: Settings, fields: dict[str, Any], hook: str | None) -> None:
        self._url = url
        self._settings = settings
        self._fields = fields | {"attended": True, "hook": hook is not None}
        self._hook = hook
        self._phase = ""
        self._number = 0
        self._reversed = False  # before the cutover

    def follow(self) -> dict[str, Any]:
        """Order the cutover and return its report; raises RefusedError where it is not possible."""
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGINT, _interrupt)
        answer = self._ask("cutover", self._fields)
        self._number, self._reversed = answer["id"], answer["reversed"]
        try:
            return self._until_ended()
        except _Interrupted:
            return self._abort("interrupted")
        except (LinkError, RefusedError) as error:
            return self._after_loss(str(error))

    def _ask(self, verb: str, fields: dict[str, Any]) -> dict[str, Any]:
        return ask(self._url, self._settings.control.token_file, verb, fields)

    def _until_ended(self) -> dict[str, Any]:
        while True:
            answer = self._ask("cutover", {"id": self._number})
            if answer["report"] is not None:
                report: dict[str, Any] = answer["report"]
                return report
            self._show(answer)
            if answer["phase"] == "hook" and self._hook is not None:
                code = self._run_hook(self._hook)
                self._hook = None
                if code:
                    return self._abort(f"the hook ended with {code}")
                self._ask("cutover", {"id": self._number, "proceed": True})
            time.sleep(POLL_SECONDS)

    def _show(self, answer: dict[str, Any]) -> None:
        if answer["phase"] != self._phase:
            self._phase = answer["phase"]
            sys.stderr.write(f"shaker: {self._phase.replace('_', ' ')}\n")

    def _run_hook(self, command: str) -> int:
        """Run the hook, and keep asking for the progress meanwhile: the worker gives up without it."""
        source, target = self._settings.source.address.text, self._settings.target.address.text
        if self._reversed:
            source, target = target, source
        environment = os.environ | {"CUTOVER_SOURCE": source, "CUTOVER_TARGET": target}
        with subprocess.Popen(  # noqa: S602 - the operator's own command
            command,
            shell=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            process_group=0,
        ) as process:
            try:
                while process.poll() is None:
                    answer = self._ask("cutover", {"id": self._number})
                    if answer["report"] is not None:
                        break
                    time.sleep(POLL_SECONDS)
            finally:
                _end_group(process)
        return process.returncode

    def _abort(self, reason: str) -> dict[str, Any]:
        """Abort, and return the report: that of a cutover that was done in the same moment, where it was."""
        self._hook = None
        try:
            with suppress(RefusedError):  # it has ended by itself
                self._ask("cutover", {"id": self._number, "abort": reason})
            return self._until_ended()
        except (LinkError, RefusedError) as error:
            return self._after_loss(str(error))

    def _after_loss(self, error: str) -> dict[str, Any]:
        """Find out what the worker that is gone left behind, and undo a cutover that it did not complete."""
        sys.stderr.write(f"shaker: {error}\n")
        report = {
            "kind": "cutover",
            "outcome": "failed",
            "reason": f"the worker is gone: {error}",
            "fence": self._fields.get("fence", "acl"),
        }
        try:
            turned, note = where(self._settings)
            if turned is not self._reversed:
                return report | {"outcome": "done", "reason": "", "source_open": False, "reverse": True}
            if note is not None and note.done:
                return report | {"outcome": "done", "reason": "", "offset": note.offset, "source_open": False}
            if note is None or not note.before:
                return report | {"source_open": True}
            ended = time.monotonic() + RESTART_SECONDS
            while time.monotonic() < ended:
                if left_behind(self._settings) is None:
                    return report | {"source_open": True}  # the next worker has undone it
                time.sleep(1.0)
            return report | {"source_open": reopen(self._settings)}
        except LinkError as second:
            reason = f"{report['reason']}; {second}; use `shaker abort` once both servers answer"
            return report | {"reason": reason, "source_open": None}


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End the hook, if it still runs, with everything that it has started: it must not switch a cutover that failed."""
    if process.poll() is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        ended = time.monotonic() + HOOK_END_SECONDS
        while time.monotonic() < ended:
            time.sleep(POLL_SECONDS)
            process.poll()
            os.killpg(process.pid, 0)  # raises once nobody is left
        os.killpg(process.pid, signal.SIGKILL)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise _Interrupted


def text_of(report: dict[str, Any]) -> str:
    """Return the report for people."""
    lines = [verdict(report)]
    if report["outcome"] == "done" and report["fence"] == "replicas":
        lines.append("The source refuses writes (min-replicas-to-write) until it restarts or `shaker abort`.")
    if report["outcome"] == "done" and report.get("reverse"):
        lines.append("The worker applies the new writes to the old source from here on.")
    elif report["outcome"] == "done" and report["fence"] == "acl":
        lines.append("The source refuses writes of the users named by --fence-acl until `shaker abort`.")
    if report.get("fenced_seconds"):
        lines.append(f"Writes were fenced for {report['fenced_seconds']:.3f} s.")
    if verification := report.get("verification"):
        lines.append(
            f"{verification['keys_compared']:,} keys were compared before the fence, "
            f"{verification['keys_compared_fenced']:,} within it."
        )
    return "".join(f"{line}\n" for line in lines)
