"""Values that are built while their chunks arrive: the same value, however the payload is cut."""

from __future__ import annotations

import pytest

from shaker.apply.building import AT_ONCE, Building
from shaker.codec.resp.requests import commands
from shaker.codec.values.target import target_of
from shaker.errors import UnfaithfulError
from shaker.model.entries import LargeEntry
from shaker.model.items import SnapshotChunk
from shaker.rules.expiry import NEVER, Times
from shaker.rules.target_form import EVERYTHING
from tests.support.rdb_bytes import length, payload, string

PLAIN = Times(written=0, near=NEVER, until=0, margin=0, late=False, passed=False)
BEHIND = PLAIN._replace(near=5000, until=9000, margin=10)
KEY = EVERYTHING.building


def build(
    number: int,
    value: bytes,
    *,
    version: int = 12,
    step: int = 0,
    times: Times = PLAIN,
    expires: int = -1,
    old: bool = False,
    max_string: int = 1 << 20,
) -> tuple[Building, list[list[bytes]], int]:
    """Build a value whose payload comes in steps, 0 for all at once; return its commands and how many were counted."""
    whole = payload(number, value, version)
    step = step or len(whole)
    entry = LargeEntry(0, b"k", -1, expires, -1, -1, number, version)
    form = EVERYTHING._replace(able=target_of((7, 0) if old else (8, 0)))
    out: list[bytes] = []
    building: Building | None = None
    count = 0
    for start in range(0, len(whole), step):
        more = start + step < len(whole)
        chunk = SnapshotChunk("id", 1, entry, whole[start : start + step], start == 0, more)
        if building is None:
            building = Building(chunk, form, times, max_string)
        assert building.hungry
        building.receive(chunk.data, last=not more)
        while not building.hungry:
            count += building.take(out)
    assert building is not None
    assert building.finished
    return building, list(commands(b"".join(out))), count


SET = length(700) + b"".join(string(b"member:%d" % number) for number in range(700))


@pytest.mark.parametrize("step", [0, 1, 7, 4096])
def test_a_collection(step: int) -> None:
    """It is begun anew under the temporary key, and gets its name and expiry in one transaction."""
    building, made, count = build(2, SET, step=step, expires=4000)

    assert count == len(made)
    assert made[0] == [b"UNLINK", KEY]
    assert {each[0] for each in made[1:]} == {b"SADD"}
    assert [member for each in made[1:] for member in each[2:]] == [b"member:%d" % number for number in range(700)]
    ends, waits = building.ends(PLAIN)
    assert not waits
    assert list(commands(b"".join(ends))) == [
        [b"MULTI"],
        [b"UNLINK", b"k"],
        [b"RENAME", KEY, b"k"],
        [b"PEXPIREAT", b"k", b"4000"],
        [b"EXEC"],
    ]


def test_a_deferred_expiry() -> None:
    """A near one is deferred, and a later one gets the margin."""
    building, _, _ = build(2, SET, expires=4000)
    ends, waits = building.ends(BEHIND)
    assert waits
    assert b"9000" in ends[-2]
    building, _, _ = build(2, SET, expires=6000)
    ends, waits = building.ends(BEHIND)
    assert not waits
    assert b"6010" in ends[-2]


@pytest.mark.parametrize("step", [0, 1, 100])
def test_a_string_goes_by_one_command(step: int) -> None:
    """In pieces, and compressed ones too; the target has nothing to answer before its end."""
    building, made, count = build(0, string(b"x" * 3000), step=step, expires=6000, times=BEHIND, version=6)
    assert made == [[b"SET", b"k", b"x" * 3000, b"PXAT", b"6010"]]
    assert count == 1
    assert building.ends(BEHIND) == ([], False)
    compressed = b"\xc3\x05\x41\x09\x00a\xe0\xff\x00"
    assert build(0, compressed, step=step, version=6)[1] == [[b"SET", b"k", b"a" * 265]]


@pytest.mark.parametrize("step", [0, 1])
def test_expiries_of_fields(step: int) -> None:
    """Near ones are deferred, the others get the margin."""
    value = b"\x02" + b"".join(
        string(field) + string(b"v") + at.to_bytes(8, "little") for field, at in ((b"near", 4000), (b"far", 6000))
    )
    building, made, _ = build(22, value, version=80, step=step, times=BEHIND)
    assert building.deferred
    assert sorted(each for each in made if each[0] == b"HPEXPIREAT") == [
        [b"HPEXPIREAT", KEY, b"6010", b"FIELDS", b"1", b"far"],
        [b"HPEXPIREAT", KEY, b"9000", b"FIELDS", b"1", b"near"],
    ]
    with pytest.raises(UnfaithfulError, match=r"key 'k' needs hash fields that expire"):
        build(22, value, version=80, step=step, old=True)


def test_a_large_chunk_is_taken_little_by_little() -> None:
    """The commands of one chunk may be much larger than itself."""
    entries = b"".join(string(b"%0100d" % number) for number in range(20_000))
    whole = payload(2, length(20_000) + entries, 12)
    entry = LargeEntry(0, b"k", -1, -1, -1, -1, 2, 12)
    building = Building(SnapshotChunk("id", 1, entry, whole, True, False), EVERYTHING, PLAIN, 1 << 20)
    building.receive(whole, last=True)
    taken = 0
    while not building.finished:
        out: list[bytes] = []
        building.take(out)
        assert sum(map(len, out)) <= AT_ONCE + 100_000
        taken += 1
    assert taken > 5


def test_an_element_that_the_target_does_not_take_is_named() -> None:
    """Above proto-max-bulk-len."""
    with pytest.raises(UnfaithfulError, match=r"above the limit of 100 bytes: key 'k' of database 0"):
        build(2, b"\x01" + string(b"x" * 200), max_string=100)
