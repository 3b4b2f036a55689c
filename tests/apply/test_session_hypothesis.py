"""Exactly once, whatever happens: a target cut off at any byte ends equal to one that got each command once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import pytest
import redis
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from shaker.apply import planner as planner_module
from shaker.apply import window as window_module
from shaker.apply.records import checkpoint_key, copying_key, expiring_key, fence_key, stale_key
from shaker.codec.resp.replies import encode
from shaker.jobs import remove_stale_keys as sweep_module
from shaker.model import position
from shaker.psync import batches as assembler_module
from tests.support.replicating import Command, Replicating, Source
from tests.support.servers import Server
from tests.support.target_driver import REPLID, checkpoint_of, fence_of

DATABASES = (0, 1, 2)
RECORDS = (fence_key("default"), checkpoint_key("default"), stale_key("default"))  # and in database 0 alone
RELATIVE_MS = 60_000  # what a relative expiry counts from is not the same for target and reference

# Commands whose doubling or loss shows in the data, and those that the target rejects.
keys = st.sampled_from(["a", "b", "c"])
effects: st.SearchStrategy[Command] = st.one_of(
    st.tuples(st.just("INCR"), keys.map("n:{}".format)),
    st.tuples(st.just("RPUSH"), keys.map("l:{}".format), st.integers(0, 99)),
    st.tuples(st.just("APPEND"), keys.map("s:{}".format), st.integers(0, 9)),
    st.tuples(st.just("LPOP"), keys.map("l:{}".format), st.integers(1, 3)),
    st.tuples(st.just("RPOPLPUSH"), keys.map("l:{}".format), keys.map("l:{}".format)),
    st.tuples(st.just("SETRANGE"), st.just("s:a"), st.integers(0, 50), st.binary(max_size=200)),
)
# Expiries: those that a stream which is behind puts off, and those that are far enough. All outlive the tests.
# Near is not so near that it comes while the tests run.
NEAR_MS, FAR_MS = int(time.time() * 1000) + 36_000_000, 4_102_444_800_000
times = st.sampled_from([NEAR_MS, NEAR_MS + 1000, FAR_MS, FAR_MS + 1])
every = st.sampled_from(["n:a", "s:a", "s:b", "l:a", "l:b"])
expiries: st.SearchStrategy[Command] = st.one_of(
    st.tuples(st.just("SET"), st.sampled_from(["s:a", "s:b"]), st.integers(0, 9), st.just("PXAT"), times),
    st.tuples(st.just("SETEX"), st.just("s:c"), st.integers(400, 402), st.integers(0, 9)),
    st.tuples(st.just("PEXPIREAT"), every, times),
    st.tuples(st.just("GETEX"), st.just("s:a"), st.just("PXAT"), times),
    st.tuples(st.just("PERSIST"), every),
)
# One that is put off and then goes elsewhere.
moved: st.SearchStrategy[list[Command]] = (
    st.tuples(every, every, st.sampled_from(DATABASES))
    .flatmap(
        lambda drawn: st.tuples(
            st.just(("PEXPIREAT", drawn[0], NEAR_MS)),
            st.sampled_from(
                [
                    ("RENAME", drawn[0], drawn[1]),
                    ("RENAMENX", drawn[0], drawn[1]),
                    ("COPY", drawn[0], drawn[1], "REPLACE"),
                    ("COPY", drawn[0], drawn[1], "DB", drawn[2], "REPLACE"),
                    ("MOVE", drawn[0], drawn[2]),
                ]
            ),
        )
    )
    .map(list)
)
wrong_types: st.SearchStrategy[Command] = st.tuples(st.just("LPUSH"), keys.map("s:{}".format), st.just("secret"))
several: st.SearchStrategy[list[Command]] = st.lists(
    st.tuples(st.just("SET"), every, st.integers(0, 9)), min_size=2, max_size=6
)
unknown: st.SearchStrategy[Command] = st.sampled_from(
    # A name that is not known, a wrong number of arguments, and one that may come in pieces.
    [("NOSUCH", "k", "secret"), ("INCR",), ("OTHER", "k", "secret" * 40)]
)
flushes: st.SearchStrategy[Command] = st.one_of(
    st.just(("FLUSHALL",)),
    st.just(("FLUSHDB",)),
    st.tuples(st.just("SWAPDB"), st.sampled_from(DATABASES), st.sampled_from(DATABASES)),
)
changes = st.one_of(effects, effects, effects, effects, expiries, wrong_types, unknown, flushes)
steering: st.SearchStrategy[Command] = st.one_of(
    st.just(("PING",)),
    st.just(("ping",)),
    st.just(("REPLCONF", "GETACK", "*")),
    st.tuples(st.just("SELECT"), st.sampled_from(DATABASES)),
    st.tuples(st.just("SELECT"), st.sampled_from(DATABASES)),
)
transactions = st.lists(
    st.one_of(changes, st.tuples(st.just("SELECT"), st.sampled_from(DATABASES))), min_size=1, max_size=5
).map(lambda inside: [("MULTI",), *inside, ("EXEC",)])
streams = st.lists(
    st.one_of(changes.map(lambda one: [one]), steering.map(lambda one: [one]), transactions, moved, several),
    min_size=8,
    max_size=40,
).map(lambda groups: [command for group in groups for command in group])

# What happens in between. Most of it is work, so that faults meet something to spoil; numbers of bytes are drawn on
# the scale of one command, and of the worker's own requests.
amounts = st.one_of(st.integers(0, 40), st.integers(0, 2500))
work = st.one_of(
    st.tuples(st.just("read"), st.integers(0, 150)),
    st.tuples(st.just("read"), st.integers(0, 150)),
    st.tuples(st.just("read and receive"), st.integers(0, 150)),
    st.tuples(st.just("receive"), amounts),
    st.tuples(st.just("send"), st.just(0)),
)
trouble = st.one_of(
    st.tuples(st.just("persist"), st.just(0)),
    st.tuples(st.just("cut after sending"), amounts),
    st.tuples(st.just("cut after sending all"), st.just(0)),
    st.tuples(st.just("stall after sending"), amounts),
    st.tuples(st.just("stall after sending"), amounts),
    st.tuples(st.just("cut after receiving"), amounts),
    st.tuples(st.just("cut source"), st.just(0)),
    st.tuples(st.just("new worker"), amounts),
    st.tuples(st.just("outage"), st.just(0)),
    st.tuples(st.just("recovery"), st.just(0)),
    st.tuples(st.just("save"), st.just(0)),
    st.tuples(st.just("lose"), amounts),
    st.tuples(st.just("lose"), amounts),
)
steps = st.lists(st.one_of(work, work, trouble), min_size=15, max_size=40)


def expiring(server: Server) -> dict[tuple[int, bytes], int]:
    """Return when each key of a server expires, in Unix milliseconds, -1 for never."""
    found: dict[tuple[int, bytes], int] = {}
    for database in DATABASES:
        with server.client(db=database) as client:
            for key in client.scan_iter():
                if not key.startswith(b"shaker:"):
                    found[database, key] = client.execute_command("PEXPIRETIME", key)
    return found


def remembered(server: Server) -> set[tuple[int, bytes]]:
    """Return the keys that wait for their true expiry, or to be copied."""
    return {
        (database, key)
        for database in DATABASES
        for name in (expiring_key("default"), copying_key("default"))
        for key in server.client(db=database).smembers(name)
    }


def contents(server: Server) -> dict[tuple[int, bytes], Any]:
    """Return every key of a server with its value, without the worker's records."""
    found: dict[tuple[int, bytes], Any] = {}
    for database in DATABASES:
        with server.client(db=database) as client:
            for key in client.scan_iter():
                if not key.startswith(b"shaker:"):
                    kind = client.type(key)
                    found[database, key] = client.lrange(key, 0, -1) if kind == b"list" else client.get(key)
    return found


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    """A target and a reference, for all examples."""
    # One more save than anybody asks for would be a point that the target can fall back to.
    with Server() as target, Server() as reference:
        yield target, reference


@pytest.fixture(scope="module")
def payloads(servers: tuple[Server, Server]) -> dict[str, bytes]:
    """DUMP payloads of the keys that a snapshot brings."""
    client = servers[1].client()
    client.rpush("l:a", "old", "older")
    client.set("s:a", "from the snapshot")
    client.set("n:a", 40)
    found = {key: client.dump(key) for key in ("l:a", "s:a", "n:a")}
    client.flushall()
    return found  # type: ignore[return-value]


def earlier_data(target: Server) -> None:
    """Write what an earlier history left: keys that are stale, some of which the stream makes anew."""
    for database in DATABASES:
        with target.client(db=database) as client:
            client.mset({f"stale:{number}": number for number in range(3)} | {"n:b": 77, "s:b": "old"})
            client.rpush("l:b", "old", "older")


# What a server may say of the commands above.
REJECTIONS = (
    "WRONGTYPE",
    "unknown",
    "wrong number",
    "no such key",
    "source and destination objects are the same",
    "not an integer",
)


def reference_of(source: Source, reference: Server) -> None:
    """Apply a history to the reference: the snapshot, then each command once."""
    with reference.client() as client:
        connection = client.connection_pool.get_connection()
        requests: list[Command] = [("FLUSHALL",)]
        for database, restored in source.snapshot.items():
            requests.append(("SELECT", database))
            requests += [("RESTORE", key, 0, payload) for key, payload in restored.items()]
        for database, command in source.applied:
            requests += [("SELECT", database), command]
        try:
            connection.send_packed_command([b"".join(encode(*request) for request in requests)])
            errors = []
            for _ in requests:
                try:
                    connection.read_response()
                except redis.ResponseError as error:
                    errors.append(str(error))
            assert all(any(known in text for known in REJECTIONS) for text in errors), errors
            source.rejected = len(errors)
            source.missing = sum("no such key" in text for text in errors)
        finally:
            client.connection_pool.release(connection)


@pytest.mark.timeout(300)
@settings(
    max_examples=150,
    # A failure is reported as it was drawn: to make it smaller takes longer than a test may.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    report_multiple_bugs=False,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    commands=streams,
    happenings=steps,
    window_limit=st.sampled_from([1, 2000, 1 << 24]),
    transaction_bytes=st.sampled_from([60, 512 * 1024]),
    slice_bytes=st.sampled_from([1, 7, 1 << 16]),
    pass_above=st.sampled_from([None, None, 80, 150]),  # above what has an expiry
    in_snapshot=st.sampled_from([True, False, False]),
    step_keys=st.sampled_from([1, 4]),
)
def test_each_command_takes_effect_once(
    servers: tuple[Server, Server],
    payloads: dict[str, bytes],
    commands: list[Command],
    happenings: list[tuple[str, int]],
    window_limit: int,
    transaction_bytes: int,
    slice_bytes: int,
    pass_above: int | None,
    in_snapshot: bool,
    step_keys: int,
) -> None:
    """The target equals a server to which each command was applied once, wherever connections were cut."""
    target, reference = servers
    target.client().flushall()
    earlier_data(target)
    overhead = window_module.ITEM_OVERHEAD
    if pass_above is not None:
        overhead, window_limit = 0, 4 * pass_above
    source = Source(commands, {0: payloads, 2: {"l:a": payloads["l:a"]}})
    reference_of(source, reference)
    worker = Replicating(source, target, window_limit=window_limit, pass_above=pass_above)
    try:
        with (
            patch.object(planner_module, "TRANSACTION_BYTES", transaction_bytes),
            patch.object(window_module, "ITEM_OVERHEAD", overhead),
            patch.object(sweep_module, "FIRST_KEYS", 1),
            patch.object(sweep_module, "STEP_KEYS", step_keys),
            patch.object(assembler_module, "LEAST", 2),
        ):
            worker.start()
            if not in_snapshot:
                worker.load()
                worker.save()
            for step in happenings:
                worker.writer.slice = slice_bytes
                worker.do(step)
            worker.complete()
        note(f"{worker.faults} faults")

        assert contents(target) == contents(reference)
        # What has not the expiry of the source is remembered where it is, whatever became of it.
        true, found = expiring(reference), expiring(target)
        put_off = {key for key, at in found.items() if abs(at - true[key]) > RELATIVE_MS}
        assert put_off <= remembered(target)
        checkpoint, fence = checkpoint_of(target), fence_of(target)
        assert checkpoint is not None
        assert fence is not None
        assert (checkpoint.phase, checkpoint.replid) == (position.Phase.STREAM, REPLID)
        assert checkpoint.offset == source.end
        # A new worker reviews what was unconfirmed at its start; `Replicating` does not, so that stays unconfirmed.
        place = worker.writer.flow.unconfirmed.place
        assert checkpoint.confirmed == (source.end if place is None else place.offset)
        assert checkpoint.database == source.database
        assert fence == worker.writer.registered.fence
        assert 0 < checkpoint.epoch <= fence.epoch
        # What is left out before it is executed commits with its count; what is rejected inside EXEC is known
        # only from the answer, which a cut can take away.
        assert source.unknown <= checkpoint.rejected <= source.rejected
        if not worker.faults:
            # A key that is missing may have expired early, as far as anybody knows: then it is copied instead.
            assert source.rejected - source.missing <= checkpoint.rejected
        told = [rejection.summary for writer in worker.writers for rejection in writer.rejections]
        assert not any("secret" in summary for summary in told)
        assert checkpoint.sweep == ""
        assert target.client().exists(stale_key("default")) == 0
        for database in DATABASES[1:]:
            assert target.client(db=database).exists(*RECORDS) == 0
    finally:
        worker.close()


HUGE: Command = ("SETRANGE", "s:a", 0, b"x" * 300)
BEFORE: list[Command] = [("INCR", "n:a"), ("SELECT", 1)]
BEHIND: list[Command] = [("INCR", "n:a")]
BEGIN: list[Command] = [("MULTI",)]
END: list[Command] = [("EXEC",)]


@pytest.mark.parametrize("sent", [False, True])
@pytest.mark.parametrize(
    "commands",
    [
        [*BEFORE, HUGE, *BEHIND],
        [*BEGIN, *BEFORE, HUGE, *END, *BEHIND],
        [*BEGIN, *BEFORE, *[("APPEND", "s:a", "x" * 50)] * 5, *END, *BEHIND],
    ],
    ids=["huge command", "huge command in a transaction", "huge transaction"],
)
def test_a_source_lost_inside_something_huge(
    servers: tuple[Server, Server], payloads: dict[str, bytes], commands: list[Command], sent: bool
) -> None:
    """What was begun before the cut comes again from its beginning, in the databases that were selected there."""
    target, reference = servers
    target.client().flushall()
    source = Source(commands, {0: payloads})
    reference_of(source, reference)
    whole = len(source.data)
    for cut in range(0, whole, 7):
        target.client().flushall()
        worker = Replicating(source, target, window_limit=1 << 20, pass_above=60)
        try:
            worker.start()
            worker.load()
            worker.read(cut)
            if sent:
                worker.send()
            worker.cut_source()
            worker.complete()
            assert contents(target) == contents(reference), f"cut after {cut} of {whole} bytes"
        finally:
            worker.close()


def test_a_huge_transaction_in_any_number_of_pieces(servers: tuple[Server, Server]) -> None:
    """What was sent of it and dropped takes no room in the window: the rest of it must find some."""
    target, reference = servers
    target.client().flushall()
    source = Source([*BEGIN, *[("APPEND", "s:a", "x" * 50)] * 300, *END], {})
    reference_of(source, reference)
    worker = Replicating(source, target, window_limit=64 * window_module.ITEM_OVERHEAD, pass_above=1 << 12)
    try:
        worker.start()
        for _ in range(len(source.data) // 60 + 10):
            worker.read(60)
            worker.receive(1 << 16)
        worker.complete()
        assert contents(target) == contents(reference)
    finally:
        worker.close()
