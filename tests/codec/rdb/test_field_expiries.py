"""Expiries of hash fields, rewritten in payloads of real servers: each field by the rule, all else as it was."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shaker.codec.rdb.crc64 import crc64
from shaker.codec.rdb.field_expiries import NEVER, deferred
from shaker.codec.values.decoder import decode
from shaker.codec.values.elements import ExpiringFields
from tests.support.rdb_bytes import payload, string
from tests.support.servers import Server
from tests.support.value_bytes import listpack

NOW = 4_000_000_000_000  # far in the future, so that no server expires a field
UNTIL = NOW + 5_000_000
MARGIN = 2_000
FIELDS = ["redis-8.0", "valkey-9.1"]
# How a server writes a hash: as it comes, and as a table however small.
ENCODINGS = ({}, {"hash-max-listpack-entries": "0"}, {"rdbcompression": "no"})

texts = st.one_of(
    st.binary(max_size=80),
    st.integers(-(2**63), 2**63 - 1).map(lambda number: b"%d" % number),
    st.integers(1, 5000).map(lambda size: b"ab" * size),
)
offsets = st.one_of(
    st.none(), st.integers(-100_000, 100_000), st.just(0), st.just(1), st.sampled_from([64, 16384, 2**32])
)
hashes = st.dictionaries(texts, st.tuples(texts, offsets), min_size=1, max_size=12)


@pytest.fixture(scope="module", params=FIELDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(request.param) as running:
        yield running


def _make(server: Server, key: str, fields: dict[bytes, tuple[bytes, int | None]]) -> bytes:
    client = server.client(db=3)
    client.delete(key)
    client.hset(key, mapping={field: value for field, (value, _) in fields.items()})
    for field, (_, offset) in fields.items():
        if offset is not None:
            client.execute_command("HPEXPIREAT", key, NOW + offset, "FIELDS", 1, field)
    return bytes(client.dump(key))


def _expiries(server: Server, key: str, fields: list[bytes]) -> dict[bytes, int]:
    found = server.client(db=3).execute_command("HPEXPIRETIME", key, "FIELDS", len(fields), *fields)
    return dict(zip(fields, found, strict=True))


@pytest.mark.parametrize("encoding", ENCODINGS, ids=["small", "table", "plain"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fields=hashes, near=st.integers(-100_001, 100_001))
def test_the_rule_for_each_field(
    server: Server,
    encoding: dict[str, str],
    fields: dict[bytes, tuple[bytes, int | None]],
    near: int,
) -> None:
    """Below `near`, `until`; all others later by the margin; values and fields without an expiry stay."""
    client = server.client(db=3)
    for name, value in ({"hash-max-listpack-entries": "128", "rdbcompression": "yes"} | encoding).items():
        client.config_set(name, value)
    payload = _make(server, "made", fields)

    changed = deferred(payload, NOW + near, UNTIL, MARGIN)

    client.restore("restored", 0, changed.payload, replace=True)
    assert client.hgetall("restored") == {field: value for field, (value, _) in fields.items()}
    expected = {
        field: -1 if offset is None else UNTIL if offset < near else NOW + offset + MARGIN
        for field, (_, offset) in fields.items()
    }
    assert _expiries(server, "restored", list(fields)) == expected
    offsets = [offset for _, offset in fields.values() if offset is not None]
    assert changed.deferred == any(offset < near for offset in offsets)
    assert changed.soonest == min((NOW + offset + MARGIN for offset in offsets if offset >= near), default=NEVER)


def test_big_hashes(server: Server) -> None:
    """A table of many fields, and a listpack with elements of every size."""
    client = server.client(db=3)
    client.config_set("hash-max-listpack-value", 300_000)
    try:
        sized = {
            b"%d" % size: (b"v" * size, size)
            for size in (0, 11, 62, 63, 64, 127, 4094, 4095, 4096, 17_000, 200_000)
        }
        many = {b"%d" % number: (b"v%d" % number, number if number % 3 else None) for number in range(3000)}
        for fields in (sized, many):
            changed = deferred(_make(server, "big", fields), NOW + 100, UNTIL, MARGIN)
            client.restore("restored", 0, changed.payload, replace=True)
            assert client.hgetall("restored") == {field: value for field, (value, _) in fields.items()}
            assert _expiries(server, "restored", list(fields)) == {
                field: -1 if offset is None else UNTIL if offset < 100 else NOW + offset + MARGIN
                for field, (_, offset) in fields.items()
            }
    finally:
        client.config_set("hash-max-listpack-value", 64)


def test_an_order_that_the_server_relies_on(server: Server) -> None:
    """Fields put off beyond others still expire, each at its own time, when the server looks for the next one."""
    client = server.client(db=3)
    payload = _make(server, "order", {b"late": (b"1", 3), b"next": (b"2", 50), b"never": (b"3", None)})
    soon = int(client.time()[0]) * 1000 + 10_000_000
    changed = deferred(payload, NOW + 10, UNTIL)
    client.restore("order", 0, changed.payload, replace=True)
    client.execute_command("HPEXPIREAT", "order", soon, "FIELDS", 1, "next")
    again = deferred(bytes(client.dump("order")), 0, 0, 1)
    assert again.soonest == soon + 1
    client.restore("order", 0, again.payload, replace=True)
    assert _expiries(server, "order", [b"late", b"next", b"never"]) == {
        b"late": UNTIL + 1,
        b"next": soon + 1,
        b"never": -1,
    }


@pytest.mark.parametrize("kind", [22, 23])
def test_release_candidates(kind: int) -> None:
    """Redis 7.4 before its release left out the soonest expiry, and gave a table's times as they are."""
    if kind == 22:
        time = (0x81).to_bytes(1, "big") + (NOW + 1).to_bytes(8, "big")
        value = b"\x02" + time + b"\x01f\x01v" + b"\x00\x01g\x01w"
        later = b"\x02" + (0x81).to_bytes(1, "big") + UNTIL.to_bytes(8, "big") + b"\x01f\x01v" + b"\x00\x01g\x01w"
    else:
        value = _listpack(b"\x81f\x02\x81v\x02", NOW + 1)
        later = _listpack(b"\x81f\x02\x81v\x02", UNTIL)
    body = bytes([kind]) + value + (12).to_bytes(2, "little")
    changed = deferred(body + crc64(body), NOW + 2, UNTIL)
    assert changed.payload[1:-10] == later
    assert changed.deferred


def _listpack(field: bytes, at: int) -> bytes:
    body = field + b"\xf4" + at.to_bytes(8, "little") + b"\x09"
    text = (7 + len(body)).to_bytes(4, "little") + b"\x03\x00" + body + b"\xff"
    return bytes([len(text)]) + text


def test_other_values_stay(server: Server) -> None:
    client = server.client(db=3)
    client.rpush("list", "a")
    client.hset("plain", "f", "v")
    for key in ("list", "plain"):
        payload = bytes(client.dump(key))
        assert deferred(payload, NOW, UNTIL, MARGIN) == (payload, False, NEVER)


def test_what_cannot_be_read_stays(server: Server) -> None:
    """Cut or changed anywhere, a payload comes back as it is or as another one, and nothing is raised."""
    payload = _make(server, "damaged", {b"f": (b"v" * 200, 1), b"g": (b"7", None), b"h": (b"12345", 90)})
    for position, mask in zip(range(len(payload)), count()):
        cut = payload[:position]
        assert deferred(cut, NOW + 5, UNTIL, MARGIN).payload[:1] == cut[:1]
        broken = bytearray(payload)
        broken[position] ^= 1 + mask * 37 % 255
        deferred(bytes(broken), NOW + 5, UNTIL, MARGIN)


@pytest.mark.parametrize("size", [16376, 16377, 16378, 16379, 2097145, 2097146, 2097147])
def test_long_values_at_the_limits_of_trailing_lengths(size: int) -> None:
    """Servers write one byte more of a trailing length than it needs at 16,383 and 2,097,151 bytes."""
    whole = payload(25, NOW.to_bytes(8, "little") + string(listpack([b"f", b"v" * size, b"%d" % NOW])), 12)
    changed = deferred(whole, NOW + 1, UNTIL)
    assert changed.deferred
    [fields] = decode([changed.payload])
    assert fields == ExpiringFields([(b"f", b"v" * size, UNTIL)])
