"""Facts of both servers as they are read: write rate, sample, records, and servers that are slow or silent."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.support.preflight import facts_of, load
from tests.support.servers import SOURCES, Server, free_port

Servers = Callable[..., Server]


@pytest.mark.parametrize("name", SOURCES)
def test_the_sample_has_sizes_and_types(server: Servers, target: Server, name: str) -> None:
    """Of keys in several databases, by their share; a large value counts with its memory and is not read."""
    source = server(name)
    pipeline = source.client().pipeline(transaction=False)
    for number in range(1000):
        pipeline.set(f"key:{number:04}", os.urandom(100))  # that no server compresses
    pipeline.execute()
    source.client(db=5).rpush("list", *range(10))

    sample = facts_of(source, target).sample

    assert sample is not None
    assert 150 <= sample.keys <= 201
    assert {kind for kind, _ in sample.types} > {0}
    assert sample.key_bytes <= 8 * sample.keys
    assert 20 < sample.value_bytes / sample.keys < 110

    source.client().flushall()
    source.client().set("large", b"x" * 3_000_000)
    sample = facts_of(source, target).sample
    assert sample is not None
    assert sample.types == {}
    assert sample.largest_bytes >= 3_000_000


def test_a_sample_that_is_forbidden(source: Server, target: Server) -> None:
    """None: the memory of the data stands in for it."""
    source.client().set("key", 1)
    source.client().execute_command("ACL", "SETUSER", "few", "on", ">pass", "~*", "+@all", "-dump")
    assert facts_of(f"redis://few:pass@127.0.0.1:{source.port}", target).sample is None


def test_the_write_rate_of_a_source_with_a_backlog(server: Servers, source: Server, target: Server) -> None:
    """By the growth of its offset: some 100 writes a second of 1,000 bytes each, fewer on a busy machine."""
    server().replicate(source)
    with load(source, commands=1, pause=0.01):
        rate = facts_of(source, target, 1.0).write_rate

    assert rate is not None
    assert rate.by_offset
    assert 5_000 < rate.bytes_per_second < 110_000


def test_overcommit_is_read_on_this_machine_only(source: Server, target: Server) -> None:
    """And not of a server that is away."""
    assert facts_of(source, target).overcommit is not None
    assert facts_of(f"redis://127.0.0.1:{free_port()}", target).overcommit is None
