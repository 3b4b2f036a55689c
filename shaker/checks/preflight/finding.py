"""Verdicts of checks, and findings: a verdict under the name of its check."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Literal, NamedTuple

from shaker.checks.preflight.facts import Facts
from shaker.errors import ShakerError

Side = Literal["source", "target", "both"]


class Status(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


class Verdict(NamedTuple):
    """The judgement of one check: the finding with its consequence, and the command or setting that fixes it."""

    status: Status
    finding: str
    remedy: str = ""


class Finding(NamedTuple):
    """A verdict under the name and side of its check, as `shaker preflight --json` prints it."""

    name: str
    side: Side
    status: Status
    finding: str
    remedy: str


class Check(NamedTuple):
    """A named check. `needs` lists the sides whose INFO it reads; without one of them it is skipped."""

    name: str
    side: Side
    judge: Callable[[Facts], Verdict]
    needs: tuple[Literal["source", "target"], ...] = ()


def ok(finding: str) -> Verdict:
    """Return the verdict of a check that passed."""
    return Verdict(Status.OK, finding)


def warning(finding: str, remedy: str) -> Verdict:
    """Return the verdict for a risk that an operator can accept."""
    return Verdict(Status.WARNING, finding, remedy)


def failed(finding: str, remedy: str) -> Verdict:
    """Return the verdict for a fault that stops the replication or makes it fail."""
    return Verdict(Status.FAILED, finding, remedy)


def skipped(finding: str, remedy: str = "") -> Verdict:
    """Return the verdict of a check that lacks a fact; `finding` names the missing fact."""
    return Verdict(Status.SKIPPED, finding, remedy)


def refused(rule: Callable[[], None]) -> Verdict | None:
    """Run a rule that raises ShakerError; return the error as a failed verdict, None where the rule holds."""
    try:
        rule()
    except ShakerError as error:
        return failed(error.what, error.hint)
    return None
