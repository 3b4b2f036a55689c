"""Every setting is found by its dotted name and by its environment variable."""

from __future__ import annotations

from shaker.settings.names import SETTINGS, VARIABLES, is_size, takes


def test_sections_are_flattened_to_dotted_names() -> None:
    """No section is a setting itself."""
    assert {"name", "source.url", "target.tls.ca_file", "source.sentinel.password"} <= SETTINGS.keys()
    assert not {"source", "target.tls"} & SETTINGS.keys()


def test_each_variable_leads_to_its_setting() -> None:
    """One variable for each setting, none twice."""
    assert VARIABLES["SHAKER_TARGET__TLS__CA_FILE"] == "target.tls.ca_file"
    assert sorted(VARIABLES.values()) == sorted(SETTINGS)


def test_sizes_are_known_from_other_numbers() -> None:
    """Only sizes take units such as 64mb."""
    assert is_size("memory_limit")
    assert is_size("snapshot.max_value")
    assert not is_size("health.port")
    assert not is_size("drain_timeout_seconds")


def test_types_are_found_behind_optional_ones() -> None:
    """A switch needs no value on the command line."""
    assert takes("target.adopt", bool)
    assert takes("source.username", str)
    assert not takes("health.port", bool)
