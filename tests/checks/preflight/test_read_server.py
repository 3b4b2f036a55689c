"""Facts of one server: within its time, with any refusal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.checks.preflight import read_server
from shaker.checks.preflight.facts import Right
from tests.support.preflight import facts_of
from tests.support.proxy import Proxy
from tests.support.servers import SOURCES, Server

Servers = Callable[..., Server]


@pytest.mark.parametrize("name", SOURCES)
def test_a_server_that_refuses_nothing(server: Servers, target: Server, name: str) -> None:
    """Every fact is known; a release without ACL has every right."""
    facts = facts_of(server(name), target).source

    assert facts.info is not None
    assert (facts.error, facts.config_refused) == (None, "")
    assert set(facts.rights.values()) == {Right.ALLOWED}
    assert facts.psync is Right.ALLOWED
    assert set(read_server.PARAMETERS) - set(facts.config) <= {"import-mode", "client-query-buffer-limit"}
    assert (facts.sentinels, facts.writers, facts.checkpoints) == (0, frozenset(), ())
    assert facts.clock_offset is not None
    assert abs(facts.clock_offset) < 1
    assert facts.round_trip is not None
    assert 0 < facts.round_trip < 1
    assert facts.link is not None
    assert facts.link.bytes_per_second > 1_000_000


def test_a_server_that_refuses_all_but_info(source: Server, target: Server) -> None:
    """Every other fact is unknown, and none of it is an error."""
    source.client().execute_command("ACL", "SETUSER", "few", "on", ">pass", "-@all", "+info")
    facts = facts_of(f"redis://few:pass@127.0.0.1:{source.port}", target).source

    assert facts.info is not None
    assert facts.error is None
    assert (facts.config, facts.config_refused[:18]) == ({}, "CONFIG GET: NOPERM")
    assert set(facts.rights.values()) == {Right.UNKNOWN, Right.FORBIDDEN}
    assert facts.rights["multi"] is Right.FORBIDDEN
    assert (facts.sentinels, facts.writers, facts.checkpoints, facts.clock_offset, facts.link) == (None,) * 5
    assert facts.round_trip is not None


def test_a_silent_server_is_named_in_time(source: Server, target: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The facts of the other side are there."""
    monkeypatch.setattr(read_server, "READ_SECONDS", 1.0)
    with Proxy(target) as proxy:
        proxy.set(stalled=True)
        facts = facts_of(source, proxy.url)
    assert facts.source.info is not None
    assert facts.target.info is None
    assert facts.target.error is not None
    assert facts.target.error.kind == "timeout"


def test_checkpoints_are_found_among_many_keys(source: Server, target: Server) -> None:
    """On both sides, by their names."""
    pipeline = source.client().pipeline(transaction=False)
    for number in range(5000):
        pipeline.set(f"key:{number}", 1)
    pipeline.hset("shaker:checkpoint:other", "source", "elsewhere:1")
    pipeline.hset("shaker:fence:other", "epoch", 1)
    pipeline.execute()
    facts = facts_of(source, target)
    assert facts.source.checkpoints == ("shaker:checkpoint:other",)
    assert facts.target.checkpoints == ()
