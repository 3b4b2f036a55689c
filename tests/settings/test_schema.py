"""The model of the settings: defaults, bounds, checks between settings, credentials."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shaker.errors import SettingsError
from shaker.settings.endpoints import Source
from shaker.settings.names import SETTINGS
from shaker.settings.passwords import environment_name
from shaker.settings.schema import Settings
from shaker.settings.sources import load
from shaker.watch.log import hide_secrets

URLS = {"source.url": "redis://127.0.0.1:6379", "target.url": "redis://127.0.0.1:6380"}


def settings(**given: Any) -> Settings:
    """Settings from defaults and `given`, whose dots are written as two underscores."""
    flags = URLS | {name.replace("__", "."): value for name, value in given.items()}
    return load(flags, environment={}).settings


def faults(**given: Any) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        settings(**given)
    assert caught.value.exit_code == 2
    return str(caught.value).splitlines()


def test_defaults_are_those_of_the_contract() -> None:
    found = settings()

    assert (found.name, found.mode, found.fenced_action) == ("default", "follow", "exit")
    assert (found.target.on_existing, found.target.adopt, found.target.allow_eviction) == ("refuse", False, False)
    assert (found.target.stale_keys, found.target.on_error) == ("sweep", "continue")
    assert (found.health.host, found.health.port, found.health.ready_max_lag_seconds) == ("0.0.0.0", 8080, 30)
    assert (found.drain_timeout_seconds, found.memory_limit, found.snapshot.max_value) == (20, 64 << 20, 256 << 20)
    assert (found.log.format, found.log.level) == ("auto", "info")
    assert found.source.tls.verify
    assert found.target.tls.verify
    assert found.spool.dir is None
    assert (found.source.connect_timeout_seconds, found.source.timeout_seconds) == (5, 60)
    assert (found.target.connect_timeout_seconds, found.target.timeout_seconds) == (5, 60)
    assert (found.retry.initial_seconds, found.retry.max_seconds, found.retry.access_seconds) == (0.1, 5, 30)


def test_environment_names_are_those_of_the_contract() -> None:
    assert environment_name("source.url") == "SHAKER_SOURCE__URL"
    assert environment_name("health.ready_max_lag_seconds") == "SHAKER_HEALTH__READY_MAX_LAG_SECONDS"
    assert environment_name("target.tls.ca_file") == "SHAKER_TARGET__TLS__CA_FILE"


def test_every_setting_says_what_it_is_and_every_number_has_bounds() -> None:
    for name, info in SETTINGS.items():
        assert info.description, name
        if info.annotation in (int, float):
            bounds = {bound for each in info.metadata for bound in ("ge", "gt", "le") if hasattr(each, bound)}
            assert "le" in bounds, name
            assert bounds & {"ge", "gt"}, name


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("name", ""),
        ("name", "a{b}"),
        ("name", "a b"),
        ("name", "x" * 65),
        ("mode", "hunter2"),
        ("fenced_action", "die"),
        ("memory_limit", "1mb2"),
        ("memory_limit", "1kb"),
        ("memory_limit", True),
        ("health.port", "65536"),
        ("health.port", "-1"),
        ("health.port", True),
        ("health.host", ""),
        ("health.ready_max_lag_seconds", "nan"),
        ("health.ready_max_lag_seconds", "inf"),
        ("health.ready_max_lag_seconds", "0"),
        ("drain_timeout_seconds", "-1"),
        ("source.timeout_seconds", "0"),
        ("source.password", 12345),
        ("target.connect_timeout_seconds", "never"),
        ("target.adopt", "perhaps"),
        ("target.stale_keys", "burn"),
        ("target.on_error", "ignore"),
        ("log.level", "loud"),
        ("log.format", "xml"),
        ("retry.max_seconds", "0.01"),
    ],
)
def test_a_value_out_of_bounds_is_one_fault_that_names_setting_and_variable(setting: str, value: Any) -> None:
    found = faults(**{setting.replace(".", "__"): value})

    assert len(found) == 1
    assert found[0].startswith(f"{setting} ({environment_name(setting)}, from command line): ")
    assert "hunter2" not in found[0]


def test_the_longest_wait_is_not_below_the_first() -> None:
    found = faults(retry__initial_seconds=10, retry__max_seconds=5)

    assert "retry.max_seconds" in found[0]
    assert "is below retry.initial_seconds" in found[0]


def test_merge_implies_that_stale_keys_are_kept() -> None:
    assert settings(target__on_existing="merge").target.stale_keys == "keep"
    assert settings(target__on_existing="merge", target__stale_keys="keep").target.stale_keys == "keep"
    assert "target.stale_keys" in faults(target__on_existing="merge", target__stale_keys="sweep")[0]


def test_source_and_target_are_two_servers() -> None:
    found = faults(target__url="redis://user:hunter2@localhost:6379")

    assert len(found) == 1
    assert "target.url (SHAKER_TARGET__URL, from command line): names the same server as source.url" in found[0]
    assert "hunter2" not in found[0]


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
def test_tls_files_without_tls_are_refused(name: str) -> None:
    other = {"cert_file": "key_file", "key_file": "cert_file"}.get(name)
    given = {f"target__tls__{each}": "/x" for each in (name, other) if each}

    assert "the URL is not encrypted" in faults(**given)[0]


@pytest.mark.parametrize(("one", "other"), [("cert_file", "key_file"), ("key_file", "cert_file")])
def test_a_client_certificate_is_two_files(one: str, other: str) -> None:
    found = faults(source__url="rediss://a", **{f"source__tls__{one}": "/x"})

    assert f"source.tls.{one} (" in found[0]
    assert f"is set without {other}" in found[0]
    both = settings(source__url="rediss://a", source__tls__cert_file="/x", source__tls__key_file="/y")
    assert both.source.tls.cert_file == Path("/x")


@pytest.mark.parametrize(
    ("given", "credentials"),
    [
        ({}, (None, None)),
        ({"source__url": "redis://u:p%25w@h"}, ("u", "p%w")),
        ({"source__url": "redis://u:p@h", "source__password": "other"}, ("u", "other")),
        ({"source__url": "redis://u:p@h", "source__username": "v"}, ("v", "p")),
        ({"source__password": ""}, (None, None)),
        ({"source__password": "$HOME %41 ${SHAKER_NAME} \\n"}, (None, "$HOME %41 ${SHAKER_NAME} \\n")),
    ],
)
def test_credentials_come_from_url_or_settings_and_nothing_is_expanded(
    given: dict[str, str], credentials: tuple[str | None, str | None]
) -> None:
    assert credentials == settings(**given).source.credentials()


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


def test_a_password_is_given_once() -> None:
    assert "source.password_file (" in faults(source__password="hunter2", source__password_file="/x")[0]
    assert "hunter2" not in faults(source__password="hunter2", source__password_file="/x")[0]


def test_no_text_of_the_settings_holds_a_secret() -> None:
    found = settings(source__url="redis://u:hunter2@h", target__password="hunter3")

    text = repr(found) + str(found) + found.model_dump_json() + repr(found.source.address)
    assert "hunter" not in text


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings().name = "other"  # type: ignore[misc]


def test_an_endpoint_can_be_made_in_code() -> None:
    assert Source.model_validate({"url": "redis://a:1"}).address.text == "a:1"


@pytest.mark.parametrize(
    ("given", "share"),
    [("30%", 0.3), (" 5 %", 0.05), ("0.25", 0.25), (0.5, 0.5), ("100%", 1.0), (1, 1.0), (0, 0.0)],
)
def test_shares(given: Any, share: float) -> None:
    """As percent or as a number up to 1."""
    assert settings(target__max_deletions=given).target.max_deletions == share


@pytest.mark.parametrize("given", ["30", "101%", "-1%", "x%", "%", True])
def test_shares_that_are_none(given: Any) -> None:
    """A bare 30 could be either; nothing is above all."""
    assert "target.max_deletions" in faults(target__max_deletions=given)[0]
