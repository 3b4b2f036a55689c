"""Becoming the one writer over real connections: takeover, fencing, and refusals before the first write."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, ClassVar

import pytest

from shaker.apply.records import Checkpoint, Fence, checkpoint_key, fence_key
from shaker.codec.resp.replies import encode
from shaker.errors import AccessError, FencedError, LinkError, RefusedError, ServerBusyError
from shaker.model.server_info import SourceIdentity
from shaker.writers import register as register_module
from tests.apply.conftest import make_writer  # noqa: F401 - a fixture
from tests.support.servers import Server, free_port
from tests.support.target_driver import REPLID, SOURCE, Stream, Wire, Writer, checkpoint_of, fence_of, start_stream

MakeWriter = Callable[..., Writer]


def ended(writer: Writer) -> bool:
    """Whether the server has closed the writer's connection."""
    try:
        writer.wire.send(encode("PING"))
        return not writer.wire.receive(100)
    except LinkError:
        return True


def writes(server: Server, database: int = 0) -> dict[bytes, Any]:
    """Return the worker's records in a database."""
    client = server.client(db=database)
    return {key: client.hgetall(key) for key in client.scan_iter("shaker:*")}


# --- taking over ---


def test_the_first_registration(make_writer: MakeWriter, target: Server) -> None:  # noqa: F811
    """The fence names the connection and the run of the server; the connection bears the writer's name."""
    writer = make_writer(target)
    writer.register()

    own = writer.registered.fence.connection
    client = next(client for client in target.client().client_list() if int(client["id"]) == own)
    assert client["name"] == f"shaker-writer:default:{writer.identity.token}"
    assert fence_of(target) == Fence(1, writer.identity.token, own, target.info("server")["run_id"])
    assert writer.registered.checkpoint is None
    assert checkpoint_of(target) is None


def test_a_new_worker_takes_over(make_writer: MakeWriter, target: Server) -> None:  # noqa: F811
    """The old worker's connection ends, all its later registrations are refused, and the newer one's stays."""
    old, new = make_writer(target), make_writer(target)
    old.register()
    start_stream(old, Stream())
    new.register()

    assert (new.registered.fence.epoch, new.registered.killed) == (2, 1)
    assert new.registered.checkpoint == old.session.checkpoint
    assert ended(old)
    for _ in range(2):
        with pytest.raises(FencedError):
            old.register()
        assert fence_of(target) == new.registered.fence
    assert not ended(new)


def test_a_worker_reconnects_under_its_epoch(make_writer: MakeWriter, target: Server) -> None:  # noqa: F811
    """Its own old connection ends, though this side never closed it."""
    writer = make_writer(target)
    writer.register()
    first = writer.wire
    writer.register()

    assert (writer.registered.fence.epoch, writer.registered.killed) == (1, 1)
    with pytest.raises(LinkError):
        first.receive(1)


def test_writers_are_found_though_the_fence_is_lost(make_writer: MakeWriter, target: Server) -> None:  # noqa: F811
    """A fence that was evicted or deleted names nobody: the name of the connection does."""
    old, new = make_writer(target), make_writer(target)
    old.register()
    start_stream(old, Stream())
    target.client().delete(fence_key("default"))
    new.register()

    assert new.registered.killed == 1
    assert ended(old)


def test_another_name_is_another_replication(make_writer: MakeWriter, target: Server) -> None:  # noqa: F811
    """Workers of other names keep their connections and their fences."""
    one, other = make_writer(target), make_writer(target, name="default2", on_existing="merge")
    one.register()
    other.register()

    assert other.registered.killed == 0
    assert not ended(one)
    assert fence_of(target) == one.registered.fence


def test_a_fence_of_another_run_of_the_server(make_writer: MakeWriter, target: Server) -> None:  # noqa: F811
    """Connection ids start over with the server: one from another run is somebody else's by now."""
    bystander = Wire(target)
    bystander.socket.sendall(encode("CLIENT", "ID"))
    ident = int(bystander.receive(100)[1:-2])
    target.client().execute_command(*Fence(1, "t", ident, "another run").arguments("default"))
    make_writer(target).register()
    bystander.send(encode("PING"))

    assert bystander.receive(100) == b"+PONG\r\n"
    bystander.close()


@pytest.mark.parametrize(
    ("epoch", "token", "expected"),
    [(4, "other", 6), (5, "mine", 5), (6, "mine", 6), (5, "other", None), (6, "other", None)],
)
def test_a_registered_worker_on_a_history_that_was_lost(
    make_writer: MakeWriter,  # noqa: F811
    target: Server,
    epoch: int,
    token: str,
    expected: int | None,
) -> None:
    """Whose record it finds decides: an older one was lost, a newer one fences, its own continues."""
    writer = make_writer(target)
    writer.identity.token, writer.identity.epoch = "mine", 5
    target.client().execute_command(*Fence(epoch, token, 0, "").arguments("default"))
    if expected is None:
        before = fence_of(target)
        with pytest.raises(FencedError):
            writer.register()
        assert fence_of(target) == before
    else:
        writer.register()
        assert fence_of(target).epoch == expected  # type: ignore[union-attr]
        assert writer.identity.epoch == expected


class Overtaken(Wire):
    """A connection that another registration overtakes between its WATCH and its EXEC, by what `overtake` does."""

    overtake: ClassVar[Callable[[], None]]

    async def pipeline(self, requests: list[tuple[bytes | str | int, ...]]) -> list[Any]:
        if requests[-1] == ("EXEC",):
            type(self).overtake()
        return await super().pipeline(requests)


def test_a_registration_that_another_one_overtakes(
    make_writer: MakeWriter,  # noqa: F811
    target: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It writes nothing on the strength of the fence that it read: it is a writer that the other one ended."""
    winner, late = make_writer(target), make_writer(target)

    def overtake() -> None:
        Overtaken.overtake = lambda: None
        winner.register()

    Overtaken.overtake = overtake
    monkeypatch.setattr("tests.support.target_driver.Wire", Overtaken)
    with pytest.raises(LinkError):
        late.register()

    assert winner.registered.killed == 1
    assert fence_of(target) == winner.registered.fence
    assert not ended(winner)


def test_a_fence_that_changes_is_read_again(
    make_writer: MakeWriter,  # noqa: F811
    target: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fence must be unchanged between reading and writing."""
    writer = make_writer(target)

    def overtake() -> None:
        Overtaken.overtake = lambda: None
        target.client().execute_command(*Fence(7, "another", 0, "").arguments("default"))

    Overtaken.overtake = overtake
    monkeypatch.setattr("tests.support.target_driver.Wire", Overtaken)
    writer.register()

    assert writer.registered.fence.epoch == 8
    assert fence_of(target) == writer.registered.fence


def test_a_race_without_end_is_left(
    make_writer: MakeWriter,  # noqa: F811
    target: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Registrations that always come second are an error that trying again later helps against."""
    client = target.client()
    Overtaken.overtake = lambda: client.hset(fence_key("default"), "epoch", 1)
    monkeypatch.setattr("tests.support.target_driver.Wire", Overtaken)

    with pytest.raises(LinkError) as caught:
        make_writer(target).register()

    assert caught.value.kind == "contended"
    assert client.info("commandstats")["cmdstat_watch"]["calls"] == register_module.ATTEMPTS


@pytest.mark.parametrize("name", ["redis-6.2", "redis-7.0", "redis-8.0", "valkey-8.1", "valkey-9.1"])
def test_taking_over_from_a_writer_under_load(
    server: Callable[..., Server],
    make_writer: MakeWriter,  # noqa: F811
    name: str,
) -> None:
    """A registration wins at the first try against a pipelining writer, whose offset never moves again."""
    target = server(name)
    old, new = make_writer(target), make_writer(target)
    old.register()
    start_stream(old, Stream())
    written = threading.Event()
    sent = 0

    def write() -> None:
        nonlocal sent
        # Never waits for an answer: the server has always more of it to read, between any two requests of others.
        with suppress(LinkError):
            while True:
                sent += 1
                checkpoint = Checkpoint("stream", REPLID, sent, source=SOURCE.address)
                transaction = (encode("MULTI"), encode("INCR", "n"), checkpoint.command("default"), encode("EXEC"))
                old.wire.send(b"".join(transaction))

    def read() -> None:
        with suppress(LinkError):
            while True:
                old.wire.receive(1 << 16)
                written.set()

    threads = [threading.Thread(target=write), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    try:
        assert written.wait(20)
        target.client().config_resetstat()
        new.register()
    finally:
        for thread in threads:
            thread.join(30)
    assert not any(thread.is_alive() for thread in threads)

    found = new.registered.checkpoint
    assert found is not None
    assert 0 < found.offset < sent
    assert target.client().info("commandstats")["cmdstat_watch"]["calls"] == 1
    assert target.client().get("n") == b"%d" % found.offset
    assert checkpoint_of(target) == found


# --- refusals ---


def refused(writer: Writer) -> RefusedError:
    """Return the error of a registration that is refused, and check that it wrote nothing."""
    before = writes(writer.server)
    with pytest.raises(RefusedError) as caught:
        writer.register()
    assert caught.value.exit_code == 3
    assert caught.value.hint
    assert writes(writer.server) == before
    return caught.value


def test_a_target_with_keys(make_writer: MakeWriter, target: Server) -> None:  # noqa: F811
    """Keys of others, in any database, are not written over unless that is asked for."""
    target.client(db=3).set("theirs", 1)

    assert "holds 1 key and" in str(refused(make_writer(target)))
    for choice in ("merge", "flush"):
        make_writer(target, on_existing=choice).register()
        assert target.client(db=3).get("theirs") == b"1"


def test_a_target_with_nothing_but_the_fence(make_writer: MakeWriter, target: Server) -> None:  # noqa: F811
    """A worker that died between its registration and its first transaction left no keys of others."""
    make_writer(target).register()
    make_writer(target).register()

    assert fence_of(target).epoch == 2  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "checkpoint",
    [
        Checkpoint("stream", "c" * 40, 5, source=SOURCE.address),
        Checkpoint("stream", REPLID, 5, source="elsewhere:1"),
        Checkpoint("stream", "c" * 40, 5, source="elsewhere:1", source_run_id=SOURCE.run_id),
    ],
    ids=["its address", "its history", "its run"],
)
def test_the_same_source(make_writer: MakeWriter, target: Server, checkpoint: Checkpoint) -> None:  # noqa: F811
    """Address, replication id or run id show that the checkpoint is of this source."""
    target.client().execute_command(*_arguments(checkpoint))
    writer = make_writer(target)
    writer.register()

    assert writer.registered.checkpoint == checkpoint
    assert writer.flow.resume == (checkpoint.replid, 5, 0)


def test_another_source(make_writer: MakeWriter, target: Server) -> None:  # noqa: F811
    """A checkpoint of another source is refused, and no run id at all is not the same run id."""
    target.client().execute_command(*_arguments(Checkpoint("stream", "c" * 40, 5, source="elsewhere:1")))
    writer = make_writer(target)
    writer.flow.source.identity = SourceIdentity(SOURCE.address, "", SOURCE.replids)

    assert "another source, elsewhere:1" in str(refused(writer))
    make_writer(target, adopt=True).register()


def _arguments(checkpoint: Checkpoint) -> list[Any]:
    values = checkpoint._asdict()
    return ["HSET", checkpoint_key("default"), *[item for pair in values.items() for item in pair]]


def test_a_cluster(server: Callable[..., Server], make_writer: MakeWriter) -> None:  # noqa: F811
    """A transaction with its checkpoint cannot span slots."""
    # The bus would be at a port 10,000 above; where that is too high the server does not start.
    target = server(cluster_enabled="yes", cluster_port=free_port())

    assert "cluster mode" in str(refused(make_writer(target)))


def test_a_target_that_is_the_source(make_writer: MakeWriter, target: Server) -> None:  # noqa: F811
    """A server under two addresses is known by its run id, replicas of one another by their history."""
    info = target.info("server") | target.info()
    writer = make_writer(target)
    writer.flow.source.identity = SourceIdentity("source:1", info["run_id"], ())
    assert "same server" in str(refused(writer))
    writer.flow.source.identity = SourceIdentity("source:1", "x", (info["master_replid"],))
    assert "one another" in str(refused(writer))


def test_a_target_that_may_evict_any_key(server: Callable[..., Server], make_writer: MakeWriter) -> None:  # noqa: F811
    """The checkpoint would be one of them."""
    target = server(maxmemory="100mb", maxmemory_policy="allkeys-lru")

    assert "allkeys-lru" in str(refused(make_writer(target)))
    make_writer(target, allow_eviction=True).register()


@pytest.mark.parametrize(
    ("begin", "kind", "error"),
    [
        (("CONFIG", "SET", "maxmemory", 1), "oom", ServerBusyError),
        (("REPLICAOF", "127.0.0.1", 1), "readonly", ServerBusyError),
        (("CONFIG", "SET", "min-replicas-to-write", 1), "noreplicas", ServerBusyError),
        (("ACL", "SETUSER", "default", "-client|kill"), "access", AccessError),
        (("ACL", "SETUSER", "default", "-hset"), "access", AccessError),
    ],
)
def test_a_target_that_takes_no_writes_now(
    make_writer: MakeWriter,  # noqa: F811
    target: Server,
    begin: tuple[str | int, ...],
    kind: str,
    error: type[LinkError],
) -> None:
    """Waiting helps, or an operator does; nothing was written and nobody was disconnected."""
    old = make_writer(target)
    old.register()
    before = writes(target)
    target.client().execute_command(*begin)
    new = make_writer(target)
    with pytest.raises(error) as caught:
        new.register()

    assert caught.value.kind == kind
    assert new.identity.epoch == 0
    assert writes(target) == before
    assert not ended(old)


def test_a_damaged_checkpoint(make_writer: MakeWriter, target: Server) -> None:  # noqa: F811
    """A record that cannot be read is not guessed at."""
    target.client().hset(checkpoint_key("default"), mapping={"phase": "stream", "offset": "many"})

    assert "damaged" in str(refused(make_writer(target)))
