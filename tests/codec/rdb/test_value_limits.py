"""Limits of values: which ones are held, and which come in chunks."""

from __future__ import annotations

import pytest

from shaker.codec.rdb.value_limits import BUILT_WHOLE, EVERY_VERSION, QUICKLY_RESTORED, ValueLimits
from shaker.codec.rdb.value_types import MODULE_VALUE, REDIS

STRING, LIST, SET, STREAM = 0, 18, 2, 21
MAX, LARGE, BUILD = 100_000_000, 1_000_000, 32_000_000


@pytest.mark.parametrize(
    ("opcode", "size", "large"),
    [
        *((STRING, LARGE, False), (STRING, LARGE + 1, True)),
        *((LIST, BUILD, False), (LIST, BUILD + 1, True)),
        *((SET, QUICKLY_RESTORED, False), (SET, QUICKLY_RESTORED + 1, True)),
        *((STREAM, MAX, False), (STREAM, MAX + 1, True)),
        *((MODULE_VALUE, MAX + 1, False), (250, MAX, False)),
    ],
)
def test_each_type_has_its_limit(opcode: int, size: int, large: bool) -> None:
    """A module's value and an opcode never come in chunks."""
    assert ValueLimits(MAX, LARGE, BUILD, EVERY_VERSION).is_large(REDIS, opcode, size, 1) == large


def test_without_a_limit_nothing_comes_in_chunks() -> None:
    """Nor does a string that is read to its end."""
    limits = ValueLimits(MAX, None, None, EVERY_VERSION)
    assert not limits.is_large(REDIS, STRING, MAX, 1)
    assert not limits.is_large(REDIS, SET, MAX, 1)
    assert not limits.is_large_stream(STREAM, MAX)
    assert not ValueLimits(MAX, LARGE, BUILD, EVERY_VERSION).is_large(REDIS, STRING, MAX, 0)


def test_a_version_that_the_target_lacks_lowers_the_limit_of_collections() -> None:
    """They are built from commands, so none is held beyond a mebibyte."""
    taken = bytearray(EVERY_VERSION)
    taken[12] = 0
    limits = ValueLimits(MAX, LARGE, BUILD, bytes(taken))
    limits.know_version(11)
    assert not limits.is_large(REDIS, SET, BUILT_WHOLE + 1, 1)
    limits.know_version(12)
    assert limits.is_large(REDIS, SET, BUILT_WHOLE + 1, 1)
    assert limits.is_large_stream(STREAM, BUILT_WHOLE + 1)
    assert not limits.is_large_stream(SET, BUILT_WHOLE + 1)


@pytest.mark.parametrize("build_above", [32 * QUICKLY_RESTORED, QUICKLY_RESTORED // 2])
def test_what_would_block_the_target_is_built_earlier(build_above: int) -> None:
    """Lists are restored quickly: only they come whole up to the limit that is given."""
    limits = ValueLimits(1 << 40, None, build_above, EVERY_VERSION)
    others = min(build_above, QUICKLY_RESTORED)
    assert limits.is_large(REDIS, LIST, build_above + 1, 1)
    assert not limits.is_large(REDIS, LIST, build_above, 1)
    assert limits.is_large(REDIS, SET, others + 1, 1)
    assert not limits.is_large(REDIS, SET, others, 1)
    assert limits.is_large_stream(STREAM, others + 1)
    assert not limits.is_large_stream(STREAM, others)
