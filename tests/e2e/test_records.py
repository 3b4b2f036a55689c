"""Only the records of workers are reserved: every other key under shaker: is data, wherever it comes from."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.compare import differences
from tests.support.servers import NAMES, Server
from tests.support.worker import Worker

OWN = ["shaker:checkpoint:default", "shaker:fence:default"]
OTHER = "shaker:checkpoint:other"
LARGE = 6_000_000  # more than what is held of one value


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("database", [0, 3])
def test_keys_under_the_prefix_are_data(
    name: str, database: int, server: Callable[..., Server], worker: Callable[..., Worker]
) -> None:
    """In the snapshot, in the stream, and where a full resync removes what the source has no more."""
    source, target = server(name), server(name)
    client = source.client(db=database)
    client.set("shaker:before", 1)
    client.set("shaker:gone", 1)
    client.rpush("shaker:list:default", 1)
    client.set("shaker:expiring", 1, px=4_000_000)
    client.setrange("shaker:large", LARGE, "x")
    client.hset(OTHER, "offset", 1)

    running = worker(source, target)
    running.wait_state("streaming")
    client.set("shaker:session:1", "shaker:fence:default")
    client.rename("shaker:before", "shaker:behind")
    client.mset({"shaker:a": 1, "plain": 2})
    client.setrange("shaker:larger", LARGE, "y")
    client.delete("shaker:a", OTHER)
    status = running.wait_applied(source)

    assert differences(source, target) == []
    assert (
        target.client(db=database).exists("shaker:behind", "shaker:session:1", "shaker:large", "shaker:larger") == 4
    )
    assert status["reserved_keys_skipped"] == 2
    running.terminate()
    assert running.wait_ended() == 0

    client.delete("shaker:gone")
    client.execute_command("DEBUG", "CHANGE-REPL-ID")
    running.start()
    running.wait_state("streaming")
    running.wait_applied(source)
    assert differences(source, target) == []
    assert target.client().exists(*OWN) == 2
