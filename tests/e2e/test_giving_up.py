"""Faults that come again: full syncs are spaced out, one-off modes end, and what would help is named."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.e2e.test_refusals import refused
from tests.security.peers import HostilePeer, then_ends
from tests.support.servers import Server, free_port, wait_until
from tests.support.worker import Worker
from tests.support.writes import syncs

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

DENIED = b"-DENIED Redis is running in protected mode because protected mode is enabled and no password is set\r\n"


def test_full_syncs_are_spaced_out(source: Server, target: Server, worker: Workers) -> None:
    """A source that loses its history twice in a row makes one full sync at once, and the next one after a wait."""
    source.client().set("key", 1)
    running = worker(source, target, SHAKER_RETRY__FULL_SYNC_SECONDS="4", SHAKER_TARGET__STALE_KEYS="keep")
    running.wait_state("streaming")
    began = time.monotonic()
    source.client().execute_command("DEBUG", "CHANGE-REPL-ID")
    source.client().client_kill_filter(_type="replica")
    wait_until(lambda: "retry.full_sync_seconds" in running.get("/readyz")[1], "the wait at /readyz")
    assert syncs(source)[0] == 1
    assert running.get("/livez")[0] == 200
    running.wait_status(lambda status: status["full_syncs"] == 2, "the second full sync")
    running.wait_status(lambda status: status["ready"], "the worker to be ready")
    assert time.monotonic() - began > 2
    assert len(running.events("full sync waits")) == 1


def test_a_partial_sync_does_not_wait(source: Server, target: Server, worker: Workers) -> None:
    """Nothing is to be spared where the source goes on."""
    running = worker(source, target, SHAKER_RETRY__FULL_SYNC_SECONDS="3600")
    running.wait_state("streaming")
    for number in range(1, 4):
        source.client().client_kill_filter(_type="replica")
        running.wait_status(lambda status, number=number: status["partial_syncs"] == number, "a partial sync")
    running.wait_state("streaming")
    assert syncs(source)[0] == 1


@pytest.mark.parametrize("mode", ["migrate", "snapshot"])
@pytest.mark.parametrize("side", ["source", "target"])
def test_protected_mode_ends_the_modes_that_end(side: str, mode: str, source: Server, worker: Workers) -> None:
    """3 at once: nobody is there to set a password."""
    with HostilePeer(first=then_ends(DENIED)) as peer:
        pair = (peer.url, source) if side == "source" else (source, peer.url)
        refused(worker(*pair, SHAKER_MODE=mode), 3, "protected mode", side)


@pytest.mark.parametrize("mode", ["migrate", "snapshot"])
def test_a_source_without_psync_ends_the_modes_that_end(
    mode: str, server: Servers, target: Server, worker: Workers
) -> None:
    """3 at once, as with a managed service; `follow` says so at /readyz and tries again slowly."""
    source = server(rename_command=['PSYNC ""'])
    refused(worker(source, target, SHAKER_MODE=mode), 3, "PSYNC")
    running = worker(source, target)
    wait_until(lambda: "managed services" in running.get("/readyz")[1], "the hint at /readyz")
    assert running.returncode is None


@pytest.mark.parametrize(
    ("side", "host"), [("source", "127.0.0.1"), ("target", "127.0.0.1"), ("source", "no.host.invalid")]
)
def test_a_server_that_is_not_there_ends_the_modes_that_end(
    side: str, host: str, source: Server, worker: Workers
) -> None:
    """75 after give_up_after_seconds: the next run may find it."""
    nobody = f"redis://{host}:{free_port()}"
    pair = (nobody, source) if side == "source" else (source, nobody)
    running = worker(*pair, SHAKER_MODE="migrate", SHAKER_GIVE_UP_AFTER_SECONDS="2")
    refused(running, 75, "give_up_after_seconds", f"{side} {host}")
    assert len(running.events("link failed")) > 1


def test_a_target_that_was_emptied_waits_for_its_turn(source: Server, target: Server, worker: Workers) -> None:
    """The full resync that follows is spaced out as any other, and `/readyz` says why it comes."""
    source.client(db=3).set("key", 1)
    running = worker(source, target, SHAKER_RETRY__FULL_SYNC_SECONDS="8")
    running.wait_state("streaming")
    running.wait_applied(source)
    target.client().flushall()
    source.client().set("other", 1)
    wait_until(lambda: "records on the target are gone" in running.get("/readyz")[1], "the reason at /readyz")
    wait_until(lambda: "retry.full_sync_seconds" in running.get("/readyz")[1], "the wait at /readyz")
    assert running.status()["errors"]["target:records_wiped"] == 1
    running.wait_status(lambda status: status["ready"], "the worker to be ready")
    assert target.client(db=3).get("key") == b"1"
    assert syncs(source)[0] == 2
