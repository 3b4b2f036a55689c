"""A stream that arrives late at its target, so that expiries are deferred, and what the target shows of them."""

from __future__ import annotations

import time

from shaker.apply.expired import ExpiredKeys
from shaker.codec.resp.replies import encode
from shaker.model.batch import Batch
from shaker.model.items import StreamItem
from shaker.psync.batches import StreamAssembler
from tests.support.replicating import Command
from tests.support.servers import Server
from tests.support.target_driver import REPLID, Writer

HOLD_MS = 86_400_000
EXPIRING, COPYING, DOUBTFUL = "shaker:expiring:default", "shaker:copying:default", "shaker:doubtful:default"
FAR = 4_102_444_800_000  # the year 2100, in milliseconds
MARGIN = 2000
COUNTED = ExpiredKeys("run", 0, 0, (0, 0, 0))


def soon(seconds: float = 5.0) -> int:
    """An expiry that is too near for a stream that is behind, Unix time in milliseconds."""
    return int((time.time() + seconds) * 1000)


class Feeding:
    """What a source writes goes to a writer as the replica's side of a worker makes it."""

    def __init__(self, writer: Writer, pass_above: int | None = None) -> None:
        self.writer = writer
        self.assembler = StreamAssembler(
            replid=REPLID,
            offset=1000,
            database=0,
            chain=writer.flow.target.chain,
            max_transaction=1 << 20,
            pass_above=pass_above,
        )

    def write(self, *commands: Command, database: int | None = None) -> None:
        """Put commands into the writer's window, as one read brings them."""
        if database is not None:
            commands = (("SELECT", database), *commands)
        for event in self.assembler.feed(b"".join(encode(*command) for command in commands)):
            assert isinstance(event, Batch)
            self.writer.put(StreamItem(event, 0.0))

    def apply(self, *commands: Command, database: int | None = None) -> None:
        """The same, and wait until all is answered."""
        self.write(*commands, database=database)
        self.writer.run_through()


def expire_one(writer: Writer) -> None:
    """Let the target have expired a key."""
    writer.flow.target.expired = COUNTED._replace(keys=1)


def catch_up(writer: Writer) -> None:
    """Let the writer be close behind its source from now on."""
    status = writer.flow.status
    status.clock = lambda: 0.0
    status.lag.applied(0)
    status.lag.reported(0.0, 0)
    assert not writer.flow.expiry.behind


def listed(server: Server, key: str = EXPIRING, database: int = 0) -> set[str]:
    """The keys in one of the two sets of a database."""
    return {one.decode() for one in server.client(db=database).smembers(key)}


def expires(server: Server, key: str, database: int = 0) -> int:
    """When a key expires, in Unix milliseconds."""
    found: int = server.client(db=database).execute_command("PEXPIRETIME", key)
    return found


def assert_put_off(server: Server, key: str, database: int = 0) -> None:
    """Check that a key's expiry is put off."""
    assert HOLD_MS - 60_000 < expires(server, key, database) - time.time() * 1000 < HOLD_MS + 60_000


def fall_behind(writer: Writer) -> None:
    """Let the writer be behind its source from now on."""
    writer.flow.status.lag.reset()
    assert writer.flow.expiry.behind
