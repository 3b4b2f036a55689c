"""The source link: connects, replicates, connects again after a loss, and acknowledges when it stops."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.links import replicating
from tests.support.proxy import Proxy
from tests.support.servers import Server

pytestmark = pytest.mark.anyio


async def test_a_lost_link_is_made_again_and_the_stream_continues(source: Server, target: Server) -> None:
    """By a partial sync: nothing is copied twice."""
    with Proxy(source) as proxy:
        async with replicating(source, target, url=proxy.url) as links:
            source.client().set("before", 1)
            await links.wait_applied(source)
            proxy.reset()
            source.client().set("after", 1)
            await links.wait_applied(source)
            counts = links.status.links

    assert (counts.full_syncs, counts.partial_syncs) == (1, 1)
    assert target.client().mget("before", "after") == [b"1", b"1"]


async def test_a_source_that_is_not_there_is_tried_again(server: Callable[..., Server], target: Server) -> None:
    """Until it is: the first connection needs no luck."""
    source = server()
    source.client().set("k", 1)
    source.client().save()
    with Proxy(source) as proxy:
        async with replicating(source, target, url=proxy.url) as links:
            await links.wait_applied(source)
            proxy.set(black_hole=True)
            proxy.reset()
            await links.wait(lambda: not links.status.source.connected, "the loss")
            proxy.set(black_hole=False)
            proxy.reset()
            await links.wait(lambda: links.status.source.connected, "the source")
            source.client().set("k", 2)
            await links.wait_applied(source)

    assert target.client().get("k") == b"2"
