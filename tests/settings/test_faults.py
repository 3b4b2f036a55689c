"""A fault of a setting is one line that names the setting and the fix, and never shows the value."""

from __future__ import annotations

import pytest

from shaker.settings.faults import fault_line, fault_text, suggestion


def test_the_line_names_setting_variable_origin_and_meaning() -> None:
    """The variable stands for itself as an origin."""
    line = fault_line("health.port", "command line", "int_parsing", "Input should be a valid integer", {})
    assert line.startswith(
        "health.port (SHAKER_HEALTH__PORT, from command line): must be a whole number; meaning: "
    )
    line = fault_line("health.port", "environment SHAKER_HEALTH__PORT", "int_parsing", "", {})
    assert line.startswith("health.port (SHAKER_HEALTH__PORT): must be")
    assert fault_line("source.url", "", "missing", "", {}) == (
        "source.url (SHAKER_SOURCE__URL): is required, for example redis://127.0.0.1:6379"
    )


@pytest.mark.parametrize(
    ("setting", "kind", "context", "text"),
    [
        ("memory_limit", "greater_than_equal", {"ge": 16 << 20}, "must be at least 16 MiB"),
        ("source.timeout_seconds", "greater_than_equal", {"ge": 1.0}, "must be at least 1 second"),
        ("source.timeout_seconds", "less_than_equal", {"le": 3600.0}, "must be at most 3600 seconds"),
        ("health.port", "less_than", {"lt": 65536}, "must be less than 65536"),
        ("target.max_deletions", "greater_than", {"gt": 0.5}, "must be more than 0.5"),
        ("mode", "literal_error", {"expected": "'follow' or 'migrate'"}, "must be follow or migrate"),
        ("name", "string_too_short", {}, "must not be empty"),
    ],
)
def test_faults_of_types_and_bounds_are_in_our_words(setting: str, kind: str, context: dict, text: str) -> None:
    """Sizes and times with their units."""
    assert fault_text(setting, kind, "Input should be …", context) == text


def test_a_message_of_ours_is_kept() -> None:
    """Without pydantic's beginning, as the rest of a sentence."""
    assert fault_text("source.tls.key_file", "value_error", "Value error, Is set alone", {}) == "is set alone"


def test_an_unknown_name_gets_the_closest_known_one() -> None:
    """Or the way to all of them."""
    assert suggestion("SOURCE.URI", ["source.url", "target.url"]) == "; did you mean source.url?"
    assert suggestion("nothing", ["source.url"]) == "; `shaker run --help` lists all settings"
