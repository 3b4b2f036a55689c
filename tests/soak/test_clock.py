"""A server can be given a wall clock of its own."""

from __future__ import annotations

import time

import pytest

from tests.soak.clock import SkewedClock
from tests.support.servers import NAMES, Server, wait_until


@pytest.mark.parametrize("name", NAMES)
def test_a_server_reads_its_own_clock(name: str) -> None:
    """TIME and expiries follow the difference, which can be changed while the server runs and while it restarts."""
    with SkewedClock(30.0) as clock:
        server = Server(name)
        server.environment = clock.environment
        with server:
            client = server.client()
            assert client.time()[0] - time.time() == pytest.approx(30, abs=5)
            client.set("k", "v")
            client.pexpireat("k", round((time.time() + 40) * 1000))
            assert 0 < client.ttl("k") <= 10
            clock.set(-30.0)
            wait_until(lambda: 60 < client.ttl("k") <= 70, "the clock to be set back")
            clock.set(60.0)
            wait_until(lambda: not client.exists("k"), "the key to expire by the server's clock")
            server.restart(kill=True)
            assert server.client().time()[0] - time.time() == pytest.approx(60, abs=5)
