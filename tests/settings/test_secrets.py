"""Secrets that this process knows are masked in every event, in any form and at any depth."""

from __future__ import annotations

from shaker.settings.secrets import hide, masked


def test_a_secret_is_masked_plain_and_percent_encoded() -> None:
    """In strings, bytes, keys' values and lists; numbers stay as they are."""
    hide("s3cret/of-settings")
    event = masked(
        {
            "event": "AUTH s3cret/of-settings",
            "url": "redis://u:s3cret%2Fof-settings@h",
            "raw": b"s3cret/of-settings",
            "nested": [{"a": ("s3cret/of-settings", 5)}],
            "count": 7,
        }
    )

    assert event == {
        "event": "AUTH ***",
        "url": "redis://u:***@h",
        "raw": "***",
        "nested": [{"a": ["***", 5]}],
        "count": 7,
    }


def test_a_short_secret_is_masked_as_a_whole_word_only() -> None:
    """Masked everywhere, it would make lines unreadable."""
    hide("zq")

    # No word here is a password of another test, which would be masked, too.
    assert masked({"event": "it says zq, of zqueue"})["event"] == "it says ***, of zqueue"


def test_the_longest_secret_is_masked_first() -> None:
    """Otherwise the rest of a longer secret would stay."""
    hide("prefix-of-it")
    hide("prefix-of-it-all")

    assert masked({"event": "prefix-of-it-all"})["event"] == "***"


def test_what_lies_too_deep_is_masked_as_text() -> None:
    """However deep an event is nested, no secret passes."""
    hide("deep-secret")
    value: object = "deep-secret"
    for _ in range(20):
        value = [value]

    assert "deep-secret" not in repr(masked({"event": value}))
