"""The link to the source is lost twice a second: each time the stream goes on by a partial sync.

Half a minute of it, and every kind after the other: `python -m tests.soak --only "source link" --every 0.5`.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.support.compare import differences
from tests.support.proxy import Proxy
from tests.support.servers import Server, wait_until
from tests.support.source_link import LOSSES
from tests.support.worker import Worker
from tests.support.writes import Writes, syncs

Workers = Callable[..., Worker]

TIMEOUT = 1.0
EVERY = 0.5  # seconds
LOST = 4  # times, as often as a few seconds allow
SETTINGS = {"SHAKER_SOURCE__TIMEOUT_SECONDS": f"{TIMEOUT:g}", "SHAKER_RETRY__MAX_SECONDS": "0.2"}


@pytest.mark.parametrize("kind", LOSSES)
def test_lost_twice_a_second(kind: str, source: Server, target: Server, worker: Workers) -> None:
    """Equal, nothing twice, and one full sync in all: the backlog holds what was missed."""
    lost = LOST if kind != "black hole" else LOST // 3  # each lasts as long as the worker waits
    with Proxy(source) as proxy, Writes(source, pause=0.01) as writes:
        running = worker(proxy.url, target, **SETTINGS)
        running.wait_state("streaming")
        for number in range(lost):
            begin = time.monotonic()
            # A loss of a link that is not there would be none.
            wait_until(lambda number=number: syncs(source)[1] >= number, "the link to be back")
            LOSSES[kind](source, proxy, TIMEOUT)
            time.sleep(max(0.0, begin + EVERY - time.monotonic()))
        writes.stop()
        wait_until(lambda: syncs(source)[1] >= lost, "the link to be back")
        status = running.wait_applied(source)

    assert differences(source, target) == []
    assert syncs(source) == (1, lost)
    assert status["full_syncs"] == 1
    assert target.client().lrange("both:list", 0, -1) == [b"%d" % number for number in range(writes.rounds)]
