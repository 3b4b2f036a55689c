"""Whatever the bytes are: the same result for each split, no exception but ours, never done without the end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shaker.codec.rdb.reader import SnapshotReader
from shaker.codec.rdb.skipped import is_empty
from shaker.codec.rdb.strings import read_string
from shaker.errors import ShakerError
from shaker.model.entries import Entries
from tests.codec.conftest import Saved
from tests.support.rdb_bytes import merge, read
from tests.support.servers import NAMES
from tests.support.strategies import as_rdb, damaged, records

Record = tuple[bytes, tuple[int, bytes]]


def outcome(data: bytes, cuts: list[int]) -> tuple[object, bool, bytes]:
    """What a reader makes of `data` cut at `cuts`: events or nothing after an error, done, rest."""
    reader = SnapshotReader(max_value=1_000_000)
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    events = []
    try:
        for start, stop in pairwise(places):
            events += reader.feed(data[start:stop])
    except ShakerError as error:
        assert not reader.done
        return type(error), False, b""
    return merge(events), reader.done, reader.rest()


@given(records, st.lists(st.integers(0, 3000)))
def test_values_of_every_shape(found: list[Record], cuts: list[int]) -> None:
    """Keys and values come out as they were put in, wherever the bytes are cut."""
    data = as_rdb(found)
    events, done, rest = outcome(data, cuts)
    assert done
    assert rest == b""
    assert isinstance(events, list)
    strings = [pair for event in events for pair in zip(event.strings[::2], event.strings[1::2], strict=True)]
    values = [pair for event in events for pair in zip(event.values[::2], event.values[1::2], strict=True)]
    values += [(entry.key, entry.payload) for event in events for entry in event.entries]
    plain = [(key, value) for key, (number, value) in found if number == 0 and value[0] != 0xC3]
    assert strings == [(key, read_string(value, 0, len(value))[0]) for key, value in plain]
    empty = [(key, value) for key, value in found if is_empty(value[0], value[1], 0, len(value[1]))]
    assert [key for event in events for key in event.empty] == [key for key, _ in empty]
    others = [
        pair for pair in found if pair not in [(key, (0, value)) for key, value in plain] and pair not in empty
    ]
    assert sorted((key, (payload[0], payload[1:-10])) for key, payload in values) == sorted(others)


@given(records, st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])  # drawing takes long on a busy machine
def test_damage_is_the_same_wherever_it_is_cut(found: list[Record], draw: st.DataObject) -> None:
    data = draw.draw(damaged(as_rdb(found)))
    cuts = draw.draw(st.lists(st.integers(0, len(data)), max_size=10))
    assert outcome(data, cuts) == outcome(data, [])


@given(st.binary(max_size=500), st.sampled_from([b"", b"REDIS0011", b"VALKEY080", b"REDIS0012\x15\x01k"]))
def test_arbitrary_bytes(data: bytes, start: bytes) -> None:
    """Only errors of ours; and done only where an end with its checksum (or none) was read."""
    result, done, _ = outcome(start + data, list(range(0, 500, 3)))
    assert (result, done) == outcome(start + data, [])[:2]
    assert not done or b"\xff" in data


@given(records, st.data())
def test_cut_short(found: list[Record], draw: st.DataObject) -> None:
    """A snapshot without its end is not done, and what did come is the beginning of the whole."""
    data = as_rdb(found)
    reader = SnapshotReader()
    events = merge(reader.feed(data[: draw.draw(st.integers(0, len(data) - 1))]))
    assert not reader.done
    [whole] = read(data) or [Entries(0, [], [], [], [])]
    assert isinstance(whole, Entries)
    for event in events:
        assert isinstance(event, Entries)
        for some, all_of_them in zip(event[1:6], whole[1:6], strict=True):
            assert some == all_of_them[: len(some)]


@pytest.mark.parametrize("name", NAMES)
@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(draw=st.data())
def test_damaged_snapshots_of_servers(saved: Callable[..., Saved], name: str, draw: st.DataObject) -> None:
    """Real snapshots, damaged, are refused: the checksum or something before it notices."""
    data = saved(name).rdb
    damage = draw.draw(damaged(data))
    _, done, rest = outcome(damage, draw.draw(st.lists(st.integers(0, len(damage)), max_size=5)))
    # Done only if what was changed lies behind the end, is the checksum's absence, or gave the same bytes again.
    assert not done or damage.startswith(data) or damage[: len(damage) - len(rest)][-8:] == bytes(8)
