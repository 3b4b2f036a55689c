"""Facts of one server: numbers and unknown values of its configuration."""

from __future__ import annotations

from shaker.checks.preflight.facts import Facts, ServerFacts
from shaker.settings.schema import Settings


def test_a_configuration_value_is_a_number_or_unknown() -> None:
    """Another text, and a name that CONFIG GET did not answer, are no numbers."""
    facts = ServerFacts("redis:6379", config={"maxmemory": "1024", "maxmemory-policy": "noeviction"})
    assert facts.number("maxmemory") == 1024
    assert facts.number("maxmemory-policy") is None
    assert facts.number("databases") is None


def test_an_unknown_value_has_its_reason() -> None:
    """The server's refusal, or that there is no such parameter."""
    assert ServerFacts("a:1").unknown("x") == "x is not known: the server has no such parameter"
    refused = ServerFacts("a:1", config_refused="NOPERM")
    assert refused.unknown("x") == "x is not known: NOPERM"


def test_each_side_has_its_facts() -> None:
    """By its name."""
    settings = Settings(source={"url": "redis://a"}, target={"url": "redis://b"})  # type: ignore[arg-type]
    facts = Facts(settings, ServerFacts("a:1"), ServerFacts("b:1"))
    assert facts.server("source").address == "a:1"
    assert facts.server("target").address == "b:1"
