"""Settings of the other direction."""

from __future__ import annotations

from pathlib import Path

import pytest

from shaker.settings.schema import Settings
from shaker.settings.turned import turned_round
from tests.support.settings import settings


def test_servers_change_places_and_rules_stay(tmp_path: Path) -> None:
    """Address, credentials and timeouts go with the server; it is followed."""
    password = tmp_path / "password"
    password.write_text("of-the-old-server")
    made = Settings(
        source={  # type: ignore[arg-type]
            "url": "rediss://old:1",
            "username": "a",
            "password_file": password,
            "timeout_seconds": 7,
            "psync_command": "OTHER",
            "tls": {"verify": False},
        },
        target={"url": "redis://new:2", "on_existing": "merge", "max_deletions": 0.5, "on_error": "stop"},  # type: ignore[arg-type]
        mode="migrate",
    )
    turned = turned_round(made)
    assert (turned.source.address.text, turned.target.address.text) == ("new:2", "old:1")
    assert turned.target.credentials() == ("a", "of-the-old-server")
    assert (turned.target.timeout_seconds, turned.target.tls.verify) == (7, False)
    assert (turned.source.psync_command, turned.mode) == ("PSYNC", "follow")
    assert (turned.target.max_deletions, turned.target.on_error) == (0.5, "stop")
    # A server without a checkpoint of this replication is not merged or flushed.
    assert (turned.target.on_existing, turned.target.stale_keys) == ("refuse", "keep")


def test_twice_is_the_same_again() -> None:
    """As far as the servers are concerned."""
    made = settings(source__url="redis://a:1", target__url="redis://b:2")
    again = turned_round(turned_round(made))
    assert (again.source, again.target.address) == (made.source, made.target.address)


@pytest.mark.parametrize(
    ("file", "other"), [("a/report.html", "a/report-reverse.html"), ("report", "report-reverse"), (None, None)]
)
def test_each_direction_has_a_report_of_its_own(file: str | None, other: str | None) -> None:
    """The report of the migration is not replaced by that of the way back."""
    made = settings(**({} if file is None else {"report__file": file}))
    turned = turned_round(made)
    assert turned.report.file == (None if other is None else Path(other))
    assert turned_round(turned).report.file == made.report.file
