"""Sizes in the units of redis.conf."""

import pytest

from shaker.bytesize import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("67108864", 67108864),
        ("10b", 10),
        ("1k", 1000),
        ("1kb", 1024),
        ("64m", 64 * 1000 * 1000),
        ("64mb", 64 * 1024 * 1024),
        ("64MiB", 64 * 1024 * 1024),
        (" 2 GB ", 2 * 1024**3),
    ],
)
def test_units_are_those_of_redis_conf(text: str, size: int) -> None:
    assert size == parse_size(text)


@pytest.mark.parametrize(
    "text", ["", "kbs", "-1", "1.5mb", "1 parsec", "1tb", "\N{ARABIC-INDIC DIGIT ONE}mb", "9" * 40, "1mb2"]
)
def test_anything_else_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size in bytes") as caught:
        parse_size(text)

    assert not text or text not in str(caught.value)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 * 1024**4, "5.0 TiB")]
)
def test_sizes_are_written_for_people(size: int, text: str) -> None:
    assert text == format_size(size)
