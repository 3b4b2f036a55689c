"""One connection to the source: a snapshot and the stream behind it reach the window, offsets reach the status."""

from __future__ import annotations

import pytest

from shaker.model.position import Resume
from tests.support.compare import differences
from tests.support.links import replicating
from tests.support.servers import Server

pytestmark = pytest.mark.anyio


async def test_snapshot_and_stream_are_followed_by_offsets(source: Server, target: Server) -> None:
    """The resume position is always where the received stream ends, with its database."""
    source.client().mset({f"k{number}": number for number in range(100)})
    async with replicating(source, target) as links:
        status = links.status
        assert (status.links.full_syncs, status.snapshot.keys_done) == (1, 100)
        with source.client(db=3).pipeline() as pipeline:
            pipeline.set("a", 1).incr("a").execute()
        await links.wait_applied(source)

        replid, offset = source.info()["master_replid"], source.offset()
        assert links.flow.resume == Resume(replid, offset, 3)
        assert status.stream.received_offset == status.stream.applied_offset == offset
        assert status.traffic.received_bytes > 0
    assert differences(source, target) == []


async def test_records_of_other_workers_are_no_data(source: Server, target: Server) -> None:
    """They are counted as skipped, and their origins known."""
    async with replicating(source, target) as links:
        source.client().hset("shaker:checkpoint:upstream", mapping={"source_run_id": "f" * 40, "phase": "stream"})
        source.client().set("k", 1)
        await links.wait_applied(source)

        assert links.status.keys.reserved_skipped == 1
        assert links.flow.source.upstream.origins == "f" * 40
    assert target.client().exists("shaker:checkpoint:upstream") == 0


async def test_the_source_sees_what_is_applied(source: Server, target: Server) -> None:
    """WAIT on the source ends as soon as the target has the write."""
    async with replicating(source, target):
        async with source.aclient() as client:
            await client.set("k", 1)
            assert await client.wait(1, 5000) == 1
        assert target.client().get("k") == b"1"
