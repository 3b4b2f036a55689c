"""Values as commands: of whole payloads, under another key or in a transaction."""

from __future__ import annotations

import pytest

from shaker.codec.resp.requests import commands
from shaker.codec.values.target import target_of
from shaker.errors import UnfaithfulError
from shaker.rules.built_values import built, commands_for, publish, replaced
from shaker.rules.target_form import EVERYTHING
from tests.support.rdb_bytes import payload

HASH = payload(4, b"\x01\x01f\x01v", 6)
EMPTY = payload(4, b"\x00", 6)
EXPIRING = payload(22, b"\x01\x01f\x01v" + (4102444800123).to_bytes(8, "little"), 80)
OLD = EVERYTHING._replace(able=target_of((7, 0)))
KEY = EVERYTHING.building


def of(requests: list[bytes]) -> list[list[bytes]]:
    """The commands."""
    return list(commands(b"".join(requests)))


def test_a_value_is_renamed_in_the_end() -> None:
    """Its expiry follows, so that one in the past removes the key and RENAME does not fail."""
    assert of(built(b"k", HASH, b"5", EVERYTHING)) == [
        [b"HSET", KEY, b"f", b"v"],
        [b"RENAME", KEY, b"k"],
        [b"PEXPIREAT", b"k", b"5"],
    ]
    assert of(built(b"k", HASH, b"0", EVERYTHING))[-1] == [b"RENAME", KEY, b"k"]
    assert of(built(b"k", EMPTY, b"5", EVERYTHING)) == [[b"UNLINK", b"k"]]


def test_inside_a_transaction_no_other_key_is_needed() -> None:
    """Readers see all of it at once."""
    assert of(replaced(b"k", HASH, 5, EVERYTHING)) == [
        [b"UNLINK", b"k"],
        [b"HSET", b"k", b"f", b"v"],
        [b"PEXPIREAT", b"k", b"5"],
    ]
    assert of(replaced(b"k", HASH, 0, EVERYTHING))[-1] == [b"HSET", b"k", b"f", b"v"]


def test_publishing_is_one_transaction() -> None:
    """A large old value is freed in the background."""
    assert [each[0] for each in of(publish(b"k", 0, EVERYTHING))] == [b"MULTI", b"UNLINK", b"RENAME", b"EXEC"]
    assert [b"PEXPIREAT", b"k", b"7"] in of(publish(b"k", 7, EVERYTHING))


def test_a_key_that_the_target_cannot_hold_is_named() -> None:
    """With what it lacks; without expiries of fields, where these may be left out."""
    with pytest.raises(UnfaithfulError, match=r"key 'k' needs hash fields that expire") as refused:
        built(b"k", EXPIRING, b"0", OLD)
    assert refused.value.kind == "unsupported"
    with pytest.raises(UnfaithfulError, match="'k'"):
        replaced(b"k", EXPIRING, 0, OLD)
    able = OLD.able._replace(drops_field_expiry=True)
    assert of(commands_for(EXPIRING, b"k", able)) == [[b"HSET", b"k", b"f", b"v"]]
