"""The list of checks: names, selection, and the outcome without INFO."""

from __future__ import annotations

import re

import pytest

from shaker.checks.preflight.catalogue import AT_START, CHECKS, GUARDS, NAMES, findings, selected, selected_at_start
from shaker.errors import LinkError, SettingsError
from shaker.settings.schema import Settings
from tests.support.preflight import made_up, settings_for
from tests.support.worker import ROOT


def chosen(**preflight: str) -> Settings:
    """Return settings with a selection."""
    return settings_for("redis://a", "redis://b", preflight=preflight)


def test_names_are_unique_and_begin_with_their_side() -> None:
    assert len(set(NAMES)) == len(NAMES)
    for check in CHECKS:
        assert check.side == "both" or check.name.startswith(f"{check.side}-")
    assert set(NAMES) >= GUARDS | AT_START
    assert not GUARDS & AT_START


def test_checks_are_left_out_and_chosen() -> None:
    assert [check.name for check in selected(chosen(only_checks="clocks, types"))] == ["clocks", "types"]
    assert "clocks" not in [check.name for check in selected(chosen(skip_checks="clocks"))]
    assert selected(chosen(only_checks="clocks", skip_checks="clocks")) == []
    assert [check.name for check in selected_at_start(chosen(only_checks="types,clocks"))] == ["types"]


def test_a_name_that_is_none_is_named() -> None:
    with pytest.raises(
        SettingsError, match=r"preflight\.skip_checks: target-memroy is not a check; did you mean target-memory"
    ):
        selected(chosen(skip_checks="target-memroy"))
    with pytest.raises(SettingsError, match="the checks are source-reachable"):
        selected(chosen(only_checks="x"))


@pytest.mark.parametrize("name", sorted(GUARDS))
def test_a_guard_cannot_be_left_out_of_run(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} cannot be left out of `shaker run`"):
        selected_at_start(chosen(skip_checks=name))


def test_without_a_server_its_checks_are_skipped() -> None:
    """No check fails for lack of a fact, and only those of reaching the server say that it is away."""
    error = LinkError("gone", hint="look", kind="connect")
    facts = made_up(None, None, source_facts={"error": error}, target_facts={"error": error})
    for finding in findings(facts):
        assert finding.status == ("failed" if finding.name.endswith("-reachable") else "skipped"), finding


def test_with_nothing_but_info_no_check_fails() -> None:
    """Unknown facts are no faults."""
    assert [each for each in findings(made_up({}, {})) if each.status == "failed"] == []


def test_each_check_is_explained() -> None:
    """By its name, with cause and remedy, in the order in which it is made."""
    rows = re.findall(
        r"^\| `([a-z-]+)` \|(.+)\|(.+)\|$", (ROOT / "docs" / "preflight.md").read_text(), re.MULTILINE
    )

    assert [name for name, *_ in rows] == list(NAMES)
    assert all(why.strip() and cure.strip() for _, why, cure in rows)
