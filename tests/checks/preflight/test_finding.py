"""Verdicts: each has its status, and a rule that raises becomes a failed one."""

from __future__ import annotations

from shaker.checks.preflight.finding import Status, Verdict, failed, ok, refused, skipped, warning
from shaker.errors import RefusedError


def test_each_verdict_has_its_status() -> None:
    """Only findings that need one have a remedy."""
    assert ok("fine") == Verdict(Status.OK, "fine", "")
    assert warning("risky", "do this") == Verdict(Status.WARNING, "risky", "do this")
    assert failed("wrong", "do that") == Verdict(Status.FAILED, "wrong", "do that")
    assert skipped("no INFO") == Verdict(Status.SKIPPED, "no INFO", "")


def test_a_rule_that_raises_is_a_failed_check() -> None:
    """With the error's text and hint; a rule that holds is none."""

    def rule() -> None:
        raise RefusedError("both are one server", hint="name another target")

    assert refused(rule) == Verdict(Status.FAILED, "both are one server", "name another target")
    assert refused(lambda: None) is None
