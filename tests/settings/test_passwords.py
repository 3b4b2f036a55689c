"""Passwords from files: read at each use, one trailing newline removed, and masked from then on."""

from __future__ import annotations

from pathlib import Path

import pytest

from shaker.errors import SettingsError
from shaker.settings.passwords import environment_name
from shaker.watch.log import hide_secrets
from tests.support.settings import settings


def test_environment_names_are_those_of_the_contract() -> None:
    assert environment_name("source.url") == "SHAKER_SOURCE__URL"
    assert environment_name("health.ready_max_lag_seconds") == "SHAKER_HEALTH__READY_MAX_LAG_SECONDS"
    assert environment_name("target.tls.ca_file") == "SHAKER_TARGET__TLS__CA_FILE"


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b"secret\n\n", "secret\n"),
        (b" secret ", " secret "),
        ("pässword".encode(), "pässword"),
        (b"\xff\xfe", "\udcff\udcfe"),
    ],
)
def test_one_trailing_newline_of_a_password_file_is_cut_off(tmp_path: Path, content: bytes, password: str) -> None:
    path = tmp_path / "password"
    path.write_bytes(content)

    assert settings(source__password_file=str(path)).source.credentials() == (None, password)


def test_a_password_file_is_read_at_each_connect(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("old")
    source = settings(source__password_file=str(path)).source
    assert source.credentials()[1] == "old"

    path.write_text("new\n")

    assert source.credentials()[1] == "new"


def test_the_guard_of_the_log_knows_every_password_that_was_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("rotated-secret")
    settings(source__password_file=str(path)).source.credentials()

    event = hide_secrets(None, "info", {"event": "AUTH rotated-secret refused"})
    assert event == {"event": "AUTH *** refused"}


def test_a_password_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    path = tmp_path / "password"
    target = settings(target__password_file=str(path)).target
    with pytest.raises(
        SettingsError, match=r"target\.password_file \(SHAKER_TARGET__PASSWORD_FILE\): .* cannot be"
    ):
        target.credentials()

    path.write_bytes(b"\n")
    with pytest.raises(SettingsError, match=r"target\.password_file .* is empty"):
        target.credentials()
