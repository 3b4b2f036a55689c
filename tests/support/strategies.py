"""Hypothesis strategies for snapshots: values of every shape, and real or made snapshots with damage."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.support.rdb_bytes import length, rdb, string

strings = st.one_of(
    st.binary(max_size=80).map(string),
    st.binary(min_size=60, max_size=300).map(string),
    st.integers(-128, 127).map(lambda n: b"\xc0" + n.to_bytes(1, "little", signed=True)),
    st.integers(-(2**15), 2**15 - 1).map(lambda n: b"\xc1" + n.to_bytes(2, "little", signed=True)),
    st.integers(-(2**31), 2**31 - 1).map(lambda n: b"\xc2" + n.to_bytes(4, "little", signed=True)),
    # LZF of one letter and its repetition.
    st.integers(9, 264).map(lambda n: b"\xc3\x05" + length(n + 1) + b"\x00r\xe0" + bytes([n - 9, 0])),
)
numbers = st.integers(0, 2**64 - 1).map(length)


def counted(item: st.SearchStrategy[bytes], most: int = 6) -> st.SearchStrategy[bytes]:
    """A count and so many items."""
    return st.lists(item, max_size=most).map(lambda items: length(len(items)) + b"".join(items))


def joined(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """The parts one behind the other."""
    return st.tuples(*parts).map(b"".join)


def raw(size: int) -> st.SearchStrategy[bytes]:
    """So many bytes as they are."""
    return st.binary(min_size=size, max_size=size)


scores = st.one_of(st.sampled_from([b"\xfd", b"\xfe", b"\xff"]), st.binary(max_size=20).map(string))
module_parts = st.one_of(
    joined(st.sampled_from([b"\x01", b"\x02"]), numbers),
    joined(st.just(b"\x03"), raw(4)),
    joined(st.just(b"\x04"), raw(8)),
    joined(st.just(b"\x05"), strings),
)
pending = joined(raw(16), raw(8), numbers)
consumers = joined(strings, raw(16), counted(raw(16)))
groups = joined(strings, numbers, numbers, numbers, counted(pending, 3), counted(consumers, 3))

# Value types and values that fit them, in the terms of Redis.
VALUES: dict[int, st.SearchStrategy[bytes]] = {
    **dict.fromkeys((0, 9, 10, 11, 12, 13, 16, 17, 20), strings),
    **dict.fromkeys((1, 2, 14), counted(strings)),
    3: counted(joined(strings, scores)),
    4: counted(joined(strings, strings)),
    5: counted(joined(strings, raw(8))),
    7: joined(numbers, st.lists(module_parts, max_size=5).map(b"".join), st.just(b"\x00")),
    18: counted(joined(st.sampled_from([b"\x01", b"\x02"]), strings)),
    21: joined(counted(joined(strings, strings)), *[numbers] * 8, counted(groups, 3)),
    24: joined(raw(8), counted(joined(numbers, strings, strings))),
    25: joined(raw(8), strings),
}
values = st.sampled_from(sorted(VALUES)).flatmap(lambda number: VALUES[number].map(lambda value: (number, value)))
# Keys, their values' types and values.
records = st.lists(st.tuples(st.binary(max_size=100), values), max_size=8)


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """`data` with some bytes changed, cut out, repeated or put in."""
    damage = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(damage)))
        match draw(st.sampled_from(("change", "cut", "repeat", "insert"))):
            case "change" if at < len(damage):
                damage[at] = draw(st.integers(0, 255))
            case "cut":
                del damage[at : at + draw(st.integers(1, 30))]
            case "repeat":
                damage[at:at] = damage[at : at + draw(st.integers(1, 30))]
            case _:
                damage[at:at] = draw(st.binary(min_size=1, max_size=10))
    return bytes(damage)


def as_rdb(found: list[tuple[bytes, tuple[int, bytes]]]) -> bytes:
    """An RDB of records."""
    return rdb(b"".join(bytes([number]) + string(key) + value for key, (number, value) in found), b"REDIS0012")
