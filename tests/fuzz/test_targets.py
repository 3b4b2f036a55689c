"""The fuzz targets under hypothesis: any bytes, and bytes that are nearly right."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.codec.rdb.reader import SnapshotReader
from shaker.model.entries import Entries
from shaker.psync.handshake_states import ReplicaState
from shaker.psync.session import ReplicaSession
from shaker.rules.chain import Chain
from tests.fuzz.seeds import SEEDS, snapshot_of
from tests.fuzz.targets import MAX_VALUE, TABLE, TARGETS, pieces_of
from tests.security.damage import damage
from tests.support.rdb_bytes import listed
from tests.support.servers import Server


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 1 << 32))
def test_bytes_that_are_nearly_right(name: str, seed: int) -> None:
    TARGETS[name](damage(SEEDS[name], random.Random(seed)))


@pytest.mark.parametrize("name", TARGETS)
def test_bytes_that_are_right(name: str) -> None:
    """Else the damage would begin with what is refused anyway."""
    TARGETS[name](SEEDS[name])


def test_the_seed_of_a_session_reaches_the_stream() -> None:
    """Cut as the target cuts it, the request comes between handshake and answer."""
    talk = ReplicaSession(username=None, password=None, max_value=MAX_VALUE)
    talk.start()
    for piece in pieces_of(SEEDS["session"]):
        if talk.receive_data(piece) and talk.state is ReplicaState.READY:
            talk.request(None, 0, 0, chain=Chain(TABLE))
    assert talk.state is ReplicaState.STREAMING


def test_the_snapshot_of_a_server_is_right(source: Server) -> None:
    """The longer seeds: all types in several encodings."""
    reader = SnapshotReader(max_value=MAX_VALUE)
    events = reader.feed(snapshot_of(source))
    assert reader.done
    assert sum(len(listed(event)) for event in events if isinstance(event, Entries)) > 10
