"""The ACL rules that docs/access.md prints are enough, and each of them is needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import anyio
import pytest
import redis

from shaker.commands.sample import seed
from shaker.errors import AccessError
from tests.support.compare import differences
from tests.support.servers import Server, wait_until
from tests.support.verifying import pair as pair_of
from tests.support.worker import ROOT, Worker

LIBRARY = "#!lua name={0}\nredis.register_function('{0}', function() return 1 end)"
# Rules that take away, or change nothing where a user is made anew.
NOT_GRANTS = ("resetkeys", "resetchannels", "-@all", "-migrate")
# Rules for the sweep, which begins after a full resync only.
SWEEP = {("target", rule) for rule in ("+scan", "+scard", "+sscan")}


def printed(user: str) -> list[str]:
    """Return the rules of `user` as the document prints them."""
    text = (ROOT / "docs" / "access.md").read_text()
    lines = re.findall(rf"^ACL SETUSER {user} (.*)$", text, re.MULTILINE)
    return [rule for line in lines for rule in line.split()]


# The last line of the target's rules stands apart in the document: for sources of Redis 6.2.
OLD_SOURCE = ["+script|load", "+script|flush"]
SOURCE = printed("shaker-source")
TARGET = [rule for rule in printed("shaker-target") if rule not in OLD_SOURCE]


NEWER_TYPES = ("redis-8.0", "valkey-9.1")  # the servers that have HPEXPIRETIME


class Pair(NamedTuple):
    """Two servers, and the URLs of the worker's users on them."""

    source: Server
    target: Server

    def allow(self, source: list[str], target: list[str]) -> None:
        """Give the users exactly these rules."""
        for server, user, rules in ((self.source, "shaker-source", source), (self.target, "shaker-target", target)):
            known = [rule for rule in rules if rule != "+hpexpiretime" or server.name in NEWER_TYPES]
            server.client().execute_command("ACL", "SETUSER", user, "reset", *known)

    def worker(self, **settings: str) -> Worker:
        """Return a worker that uses them; it is not started."""
        return Worker(
            f"redis://shaker-source:source-password@127.0.0.1:{self.source.port}",
            f"redis://shaker-target:target-password@127.0.0.1:{self.target.port}",
            **{"SHAKER_RETRY__ACCESS_SECONDS": "1", **settings},
        )


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    """Servers that the tests share."""
    with Server() as source, Server() as target:
        source.client(db=1).set("one", 1)
        yield Pair(source, target)


def _exercise(source: Server) -> None:
    """Write what a category of commands does not cover, and what reaches the worker's records."""
    client, old = source.client(), source.name == "redis-6.2"
    client.publish("channel", "message")
    client.pfadd("hll", *range(10))
    client.pfcount("hll")
    client.script_load("return 1")
    client.script_flush()
    if not old:
        client.execute_command("SPUBLISH", "channel", "message")
        client.function_load(LIBRARY.format("second"))
        client.function_delete("first")
    client.execute_command("SWAPDB", 0, 3)
    client.execute_command("SWAPDB", 3, 0)
    source.client(db=7).set("key", "value")
    source.client(db=7).flushdb()


@pytest.mark.parametrize(
    ("source_name", "target_name"),
    [("redis-7.0", "redis-7.0"), ("redis-6.2", "redis-6.2"), ("redis-7.0", "valkey-9.1")],
)
def test_the_printed_rules_are_enough(source_name: str, target_name: str) -> None:
    """Snapshot, stream, kill and resume, sweep, migrate."""
    with ExitStack() as stack:
        servers = Pair(*(stack.enter_context(Server(name)) for name in (source_name, target_name)))
        source, target = servers
        seed(source.client(), 300)
        if source_name != "redis-6.2":
            source.client().function_load(LIBRARY.format("first"))
        unknown = ("+pexpiretime", "+spublish", "+function|list")  # to 6.2
        rules = TARGET + (OLD_SOURCE if source_name == "redis-6.2" else [])
        allowed = [rule for rule in SOURCE if source_name != "redis-6.2" or rule not in unknown]
        servers.allow(allowed, [rule for rule in rules if target_name != "redis-6.2" or rule not in unknown])

        with servers.worker() as worker:
            worker.wait_state("streaming")
            _exercise(source)
            worker.wait_applied(source)
            worker.kill()
            source.client().incr("counter")
            source.client(db=5).set("stale", 1)
            worker.start()
            worker.wait_applied(source)
            status = worker.wait_status(lambda document: document["ready"], "unconfirmed work to be compared")
            worker.terminate()
            assert worker.wait_ended() == 0
            assert (status["full_syncs"], status["partial_syncs"], status["errors"]) == (0, 1, {})
            assert differences(source, target) == []

            source.client().delete("counter")
            source.client(db=5).delete("stale")
            source.client().execute_command("DEBUG", "CHANGE-REPL-ID")
            worker.start()
            status = worker.wait_status(lambda document: document["ready"], "the end of the sweep")
            worker.terminate()
            assert worker.wait_ended() == 0
            assert status["sweep"]["keys_deleted"] == 2
            assert differences(source, target) == []
        with servers.worker(SHAKER_MODE="migrate") as worker:
            assert worker.wait_ended() == 0


@pytest.mark.parametrize(
    ("side", "rule", "named"),
    [
        ("source", ">source-password", "WRONGPASS"),
        ("source", "on", "WRONGPASS"),
        ("source", "+info", "'info'"),
        ("source", "+psync", "'psync'"),
        ("source", "+replconf", "'replconf'"),
        ("target", ">target-password", "WRONGPASS"),
        ("target", "on", "WRONGPASS"),
        ("target", "~*", "keys"),
        ("target", "+info", "'info'"),
        ("target", "+command", "'command'"),
        ("target", "+select", "'select'"),
        ("target", "+multi", "'multi'"),
        ("target", "+exec", "'exec'"),
        ("target", "+watch", "'watch'"),
        ("target", "+exists", "'exists'"),
        ("target", "+hgetall", "'hgetall'"),
        ("target", "+client|id", "'client|id'"),
        ("target", "+client|setname", "'client|setname'"),
        ("target", "+client|list", "'client|list'"),
        ("target", "+client|kill", "'client|kill'"),
        ("target", "+@write", "'hset'"),
    ],
)
def test_one_rule_less_is_named(pair: Pair, side: str, rule: str, named: str) -> None:
    """A one-off mode ends with 3, and its message names what is missing."""
    pair.target.client().flushall()
    rules = {"source": SOURCE, "target": TARGET}
    rules[side] = [each for each in rules[side] if each != rule]
    pair.allow(rules["source"], rules["target"])
    # A writer that is still connected, so that there is somebody to disconnect.
    with redis.Redis(port=pair.target.port, client_name="shaker-writer:default:before") as writer:
        writer.ping()
        with pair.worker(SHAKER_MODE="snapshot") as worker:
            code = worker.wait_ended()

    ends = worker.events("replication ends")
    assert (code, len(ends)) == (3, 1), worker.describe()
    assert named in ends[0]["error"]
    assert ends[0]["hint"]


def test_a_rule_of_the_stream_that_is_missing_is_waited_for(pair: Pair) -> None:
    """The stream stops before the forbidden command, `/readyz` names it, and with the rule all goes on."""
    pair.target.client().flushall()
    pair.allow(SOURCE, TARGET)
    client = pair.source.client()
    client.delete("hll")
    client.pfadd("hll", *range(10))
    cases = (
        ("+pfcount", "-pfcount", ["PFCOUNT", "hll"], "'pfcount'"),
        ("+publish", "-publish", ["PUBLISH", "channel", "message"], "'publish'"),
        ("+spublish", "-spublish", ["SPUBLISH", "channel", "message"], "'spublish'"),
        ("&*", "resetchannels", ["PUBLISH", "channel", "message"], "channels"),
    )
    with pair.worker() as worker:
        worker.wait_state("streaming")
        for grant, revoke, command, named in cases:
            client.pfadd("hll", grant)  # so that PFCOUNT has a count to store
            worker.wait_applied(pair.source)
            pair.target.client().execute_command("ACL", "SETUSER", "shaker-target", revoke)
            client.execute_command(*command)
            wait_until(lambda named=named: named in worker.get("/readyz")[1], f"{named} at /readyz")
            pair.target.client().execute_command("ACL", "SETUSER", "shaker-target", grant)
            worker.wait_applied(pair.source)
        worker.wait_state("streaming")
    assert differences(pair.source, pair.target) == []


EXPIRIES = [
    ("source", "~*", "keys"),
    ("source", "+select", "'select'"),
    ("source", "+multi", "'multi'"),
    ("source", "+exec", "'exec'"),
    ("source", "+time", "'time'"),
    ("source", "+pexpiretime", "'pexpiretime'"),
    ("source", "+dump", "'dump'"),
    ("source", "+memory|usage", "'memory|usage'"),
    ("target", "+scard", "'scard'"),
    ("target", "+srandmember", "'srandmember'"),
]


@pytest.mark.parametrize(("side", "rule", "named"), EXPIRIES)
def test_a_rule_for_expiries_that_is_missing_is_named(pair: Pair, side: str, rule: str, named: str) -> None:
    """`migrate` ends with 3 when a key waits for its true expiry, and another one to be copied."""
    for server in pair:
        server.client().flushall()
    pair.source.client().set("key", 1, ex=500)
    pair.target.client().sadd("shaker:copying:default", "lost")
    rules = {"source": SOURCE, "target": TARGET}
    rules[side] = [each for each in rules[side] if each != rule]
    pair.allow(rules["source"], rules["target"])

    with pair.worker(SHAKER_MODE="migrate", SHAKER_TARGET__ON_EXISTING="merge") as worker:
        code = worker.wait_ended()

    ends = worker.events("replication ends")
    assert (code, len(ends)) == (3, 1), worker.describe()
    assert named in ends[0]["error"]


COMPARING = [
    *(("source", rule) for rule in ("+scan", "+exists")),
    *(("target", rule) for rule in ("+dump", "+pexpiretime", "+time", "+scan", "+dbsize", "+sismember")),
]
OLD_TARGET = {("target", "+pttl")}  # of Redis 6.2
LARGE = [
    *(("source", rule) for rule in ("+scard", "+sscan", "+hscan")),
    *(("target", rule) for rule in ("+memory|usage", "+smismember", "+hmget")),
    *(
        (side, rule)
        for side in ("source", "target")
        for rule in (
            *("+type", "+strlen", "+getrange", "+llen", "+lrange", "+zcard", "+zrange", "+hlen"),
            *("+xinfo", "+xrange", "+xpending", "+hpexpiretime"),
        )
    ),
]


@pytest.mark.parametrize(("side", "rule"), COMPARING)
def test_a_rule_for_unconfirmed_work_that_is_missing_is_named(pair: Pair, side: str, rule: str) -> None:
    """`migrate` ends with 3 when keys wait to be compared: one that differs, and a database."""
    for server in pair:
        server.client().flushall()
    pair.allow(SOURCE, TARGET)
    with pair.worker(SHAKER_MODE="migrate") as worker:
        assert worker.wait_ended() == 0
    for server, value in ((pair.source, "mine"), (pair.target, "theirs")):
        server.client().set("string", value)
    record = pair.target.client()
    # What has been written to the source has taken effect, and the keys are remembered.
    record.hset("shaker:checkpoint:default", mapping={"offset": pair.source.offset(), "unconfirmed": 1})
    record.hset("shaker:checkpoint:default", "confirmed", pair.source.offset())
    record.sadd("shaker:unconfirmed:default", "shaker:unconfirmed:default")
    rules = {"source": SOURCE, "target": TARGET}
    rules[side] = [each for each in rules[side] if each != rule]
    pair.allow(rules["source"], rules["target"])

    with pair.worker(SHAKER_MODE="migrate") as worker:
        code = worker.wait_ended()

    ends = worker.events("replication ends")
    assert (code, len(ends)) == (3, 1), worker.describe()
    assert f"'{rule[1:]}'" in ends[0]["error"]


@pytest.mark.needs_servers("redis-8.0")
def test_rules_for_large_values(server: Callable[..., Server]) -> None:
    """All of them are enough to compare a value of each type in pieces, and each one is needed."""
    servers = Pair(server("redis-8.0"), server("redis-8.0"))

    def fill(each: Server, item: str) -> None:
        client = each.client()
        client.flushall()
        client.set("string", item)
        client.rpush("list", item)
        client.sadd("set", item)
        client.zadd("zset", {item: 1})
        client.hset("hash", item, item)
        client.hpexpireat("hash", 4102444800000, item)
        client.xadd("stream", {"f": item}, id="1-1")
        client.xgroup_create("stream", "g", "0")
        client.xreadgroup("g", "c", {"stream": ">"})

    async def large() -> None:
        urls = [
            f"redis://shaker-{side}:{side}-password@127.0.0.1:{each.port}"
            for side, each in zip(("source", "target"), servers, strict=True)
        ]
        async with pair_of(*urls) as made:
            for key in ("string", "list", "set", "zset", "hash", "stream"):
                outcome = await made.large.compare(0, key.encode())
                assert (outcome.difference, outcome.busy) == (None, ""), key

    servers.allow(SOURCE, TARGET)
    for item in ("x", "x" * 100_000):  # one may have become small before it is compared
        for each in servers:
            fill(each, item)
        anyio.run(large)
    for side, rule in LARGE:
        rules = {"source": SOURCE, "target": TARGET}
        rules[side] = [each for each in rules[side] if each != rule]
        servers.allow(rules["source"], rules["target"])
        with pytest.raises(AccessError, match=re.escape(f"'{rule[1:]}")):
            anyio.run(large)


def test_no_printed_rule_is_untested() -> None:
    """Each rule that grants something has its case above."""
    marks = test_one_rule_less_is_named.pytestmark  # type: ignore[attr-defined]
    tested = {(side, rule) for side, rule, _ in marks[0].args[1]}
    stream = {("target", rule) for rule in ("+pfcount", "+publish", "+spublish", "&*")}

    stream.add(("target", "+eval"))  # for a target without memory: tests/apply/test_scripted.py
    stream.add(("target", "+ping"))  # a refusal keeps an idle connection in use as well: tests/e2e/test_idle.py

    granted = {("source", rule) for rule in SOURCE} | {("target", rule) for rule in TARGET}

    expiries = {(side, rule) for side, rule, _ in EXPIRIES} | {("source", "+pttl")}  # of 6.2, above
    comparing = {*COMPARING, *LARGE} | OLD_TARGET
    # Without it libraries are not compared: tests/jobs/test_verify_libraries.py
    libraries = {(side, "+function|list") for side in ("source", "target")}
    assert tested | stream | expiries | comparing | libraries | SWEEP == {
        (side, rule) for side, rule in granted if rule not in NOT_GRANTS
    }
