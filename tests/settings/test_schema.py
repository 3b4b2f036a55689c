"""The model of the settings: defaults, bounds, checks between settings, credentials."""

from __future__ import annotations

from typing import Any

import pytest

from shaker.settings.names import SETTINGS
from shaker.settings.passwords import environment_name
from tests.support.settings import faults, settings


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


def test_no_text_of_the_settings_holds_a_secret() -> None:
    found = settings(source__url="redis://u:hunter2@h", target__password="hunter3")

    text = repr(found) + str(found) + found.model_dump_json() + repr(found.source.address)
    assert "hunter" not in text


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings().name = "other"  # type: ignore[misc]
