"""The cutover's command: its flags, and the report for people."""

from __future__ import annotations

from typing import Any

import pytest

from shaker.commands.cutover import main, text_of
from shaker.errors import SettingsError


@pytest.mark.parametrize("flag", ["--timeout", "--max-lag", "--fence-seconds"])
def test_seconds_have_to_be_numbers(flag: str) -> None:
    """Each flag is named."""
    with pytest.raises(SettingsError, match=f"{flag}: must be a number of seconds"):
        main([flag, "soon"])


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--fence-acl", "app"], "must be a user and ACL rules"),
        (["--fence-acl", "app="], "a rule is missing"),
        (["--fence-acl", "app=on >word"], "'on' is no rule about commands or keys"),
        (["--fence-acl", "app=-@write", "--fence", "none"], "takes the place of --fence"),
    ],
)
def test_rules_for_users_are_checked(arguments: list[str], text: str) -> None:
    """Passwords and switches are none that a fence may change."""
    with pytest.raises(SettingsError, match=f"--fence-acl: {text}"):
        main(arguments)


def test_a_token_is_needed() -> None:
    """The setting is named."""
    with pytest.raises(SettingsError, match=r"control\.token_file"):
        main(["--source.url", "redis://a", "--target.url", "redis://b", "--url", "http://127.0.0.1:1"])


REPORT: dict[str, Any] = {
    "outcome": "done",
    "reason": "",
    "fence": "replicas",
    "offset": 99,
    "fenced_seconds": 0.25,
    "verification": {"keys_compared": 1000, "keys_compared_fenced": 3},
}


def test_a_report_reads_as_prose() -> None:
    """With the state of the source as it is now."""
    text = text_of(REPORT)
    assert "Cut over at offset 99" in text
    assert "min-replicas-to-write" in text
    assert "0.250 s" in text
    assert "1,000 keys were compared before the fence, 3 within it." in text
    assert "The source takes writes." in text_of(REPORT | {"outcome": "aborted", "source_open": True})
    assert "`shaker abort`" in text_of(REPORT | {"outcome": "failed", "source_open": None})
