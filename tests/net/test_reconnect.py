"""Attempts of a side: counted, spaced out, and given up where trying again cannot help."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest

from shaker.apply.records import Checkpoint
from shaker.errors import AccessError, GivenUpError, LinkError, PlannedReconnectError, ServerBusyError
from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent
from shaker.flow.progress import FlowProgress
from shaker.model.items import SnapshotStart
from shaker.model.position import Phase
from shaker.net.credentials import credentials
from shaker.net.reconnect import Reconnect, open_connection
from shaker.settings.schema import Settings
from shaker.watch.status import Status
from tests.support.servers import Server, free_port

pytestmark = pytest.mark.anyio


def reconnecting(mode: str = "follow", target: dict[str, Any] | None = None, **retry: float) -> Reconnect:
    """Return the attempts of a target."""
    settings = Settings(
        mode=mode,  # type: ignore[arg-type]
        source={"url": "redis://source:6379"},  # type: ignore[arg-type]
        target={"url": "redis://127.0.0.1:1", **(target or {})},  # type: ignore[arg-type]
        retry={"initial_seconds": 0.01, "max_seconds": 0.1, "stuck_seconds": 0.1, **retry},  # type: ignore[arg-type]
        give_up_after_seconds=0.2,
    )
    status = Status()
    return Reconnect(settings, "target", status, FlowProgress(Flow(status, settings, window_limit=1 << 20)))


async def test_failures_are_counted_by_kind() -> None:
    """Each failure counts under its name and is the side's last error, until one is asked to give up."""
    side = reconnecting()
    side.begin()
    assert await side.failed(LinkError("gone", kind="lost"), give_up=lambda: False)
    assert await side.failed(ServerBusyError("full", kind="oom"), give_up=lambda: False)
    assert not await side.failed(LinkError("gone", kind="lost"), give_up=lambda: True)

    assert dict(side.status.links.errors) == {("target", "lost"): 1, ("target", "oom"): 1}
    assert side.status.target.last_error.startswith("full; ")


async def test_giving_up_while_waiting() -> None:
    """A side that ends during the wait is not tried again."""
    answers = iter([False, True])

    assert not await reconnecting().failed(LinkError("gone"), give_up=lambda: next(answers))


@pytest.mark.parametrize("mode", ["migrate", "snapshot"])
async def test_wrong_credentials_end_the_modes_that_end(mode: str) -> None:
    """A one-off run does not wait for an operator."""
    error = AccessError("refused")
    with pytest.raises(AccessError) as caught:
        await reconnecting(mode).failed(error, give_up=lambda: False)

    assert caught.value is error
    assert caught.value.exit_code == 3


async def test_reconnects_are_counted_once_for_each_connection() -> None:
    """The first connection is no reconnect, and only one that did its work counts."""
    side = reconnecting()
    for connection in range(3):
        side.begin()
        side.succeeded()
        side.succeeded()
        assert side.status.links.reconnects["target"] == connection
        assert side.number == 0
    side.begin()
    assert (side.status.links.reconnects["target"], side.number) == (2, 1)


async def test_an_attempt_lets_go_of_the_one_before() -> None:
    """The cycles of a lost connection's objects are freed before the next one holds as much."""

    class Held:
        def __init__(self) -> None:
            self.itself = self

    alive = weakref.ref(Held())
    reconnecting().begin()

    assert alive() is None


async def test_a_password_file_that_is_gone(tmp_path: Path) -> None:
    """It is an error of access, tried again: secrets are mounted late."""
    side = reconnecting(target={"password_file": tmp_path / "none"})
    with pytest.raises(AccessError, match="password_file"):
        credentials(side._settings.target)


async def test_opening(target: Server) -> None:
    """An attempt counts whether it succeeds or not."""
    side = reconnecting(target={"url": target.url})
    async with open_connection(side._settings.target, "target", side) as connection:
        assert await connection.call("PING") == b"PONG"
    assert side.number == 1
    side = reconnecting(target={"url": f"redis://127.0.0.1:{free_port()}"})
    with pytest.raises(LinkError):
        async with open_connection(side._settings.target, "target", side):
            pass
    assert side.number == 1


def streaming(side: Reconnect, offset: int = 100, replid: str = "a") -> None:
    """Set the replication to an offset of the stream, with something left to apply."""
    flow, stream = side._progress._flow, side.status.stream
    flow.target.checkpoint = Checkpoint(phase=Phase.STREAM, replid=replid, offset=offset)
    stream.replid, stream.applied_offset = replid, offset
    if not len(flow.window):
        flow.window.put(SnapshotStart("s", replid, offset, flush=False))


async def fail(side: Reconnect, kind: str = "protocol", times: int = 1) -> None:
    """Fail so often over a connection that does its work."""
    for _ in range(times):
        side.begin()
        side.connected()
        side.succeeded()
        assert await side.failed(LinkError("the reason", hint="the remedy", kind=kind), give_up=lambda: False)


async def test_failures_at_one_place_are_named_until_there_is_progress() -> None:
    """From the third one on, with what would end it."""
    side = reconnecting()
    streaming(side)
    await fail(side, times=2)
    assert side.status.reasons == {}
    await fail(side, times=2)
    assert "failed 4 times" in side.status.reasons["stuck_target"]
    assert "the reason; the remedy" in side.status.reasons["stuck_target"]

    side.refresh()
    assert side.status.reasons
    streaming(side, 101)
    side.refresh()
    assert side.status.reasons == {}
    await fail(side, times=2)
    assert side.status.reasons == {}


async def test_going_back_is_no_progress() -> None:
    """A target that loses what it had, and gets it again, is where it was."""
    side = reconnecting()
    streaming(side)
    for offset in (100, 70, 100, 50, 100):
        streaming(side, offset)
        await fail(side)
    assert "failed 5 times" in side.status.reasons["stuck_target"]
    streaming(side, 10, replid="b")
    side.refresh()
    assert side.status.reasons == {}


async def test_a_snapshot_that_starts_over_is_no_progress() -> None:
    """Only one that comes further than all before it."""
    side = reconnecting()
    flow, status = side._progress._flow, side.status
    flow.registered(Checkpoint(phase=Phase.SNAPSHOT), same_server_run=False, first=True)
    for keys in (10, 10, 5, 10):
        status.begin_snapshot(0)
        flow.happen(FlowEvent.SOURCE_LOST)
        flow.happen(FlowEvent.SOURCE_CONNECTED)
        flow.begin_snapshot()
        flow.happen(FlowEvent.SNAPSHOT_ARRIVES)
        status.snapshot.keys_done = keys
        await fail(side)
    assert "stuck_target" in status.reasons
    status.snapshot.keys_done = 11
    side.refresh()
    assert status.reasons == {}


async def test_a_lost_link_with_nothing_to_do_is_not_stuck() -> None:
    """Once it has lasted; one that ends at once each time is."""
    side = reconnecting()
    streaming(side)
    side._progress._flow.window.clear(None)
    for _ in range(5):
        side.begin()
        side.connected()
        side.succeeded()
        side._works_since = side.status.clock() - 2
        await side.failed(LinkError("gone", kind="lost"), give_up=lambda: False)
    assert side.status.reasons == {}
    await fail(side, times=3)
    assert "stuck_target" in side.status.reasons


@pytest.mark.parametrize("learns", [True, False])
async def test_a_planned_reconnect_waits_unless_it_taught_something(learns: bool) -> None:
    """A newly left out command is progress; the same one again is none."""
    side = reconnecting(stuck_seconds=30.0)
    streaming(side)
    window = side._progress._flow.window
    waits = []
    for number in range(8):
        if learns and number == 0:
            window.stop_joining()
        elif learns:
            streaming(side, 100 + number)
        side.begin()
        side.connected()
        waits.append(side._wait(PlannedReconnectError("left out")))
    assert (max(waits[1:]) == 0.0) is learns
    assert ("stuck_target" in side.status.reasons) is not learns


async def test_waits_grow_longer_over_a_connection_that_fails_at_one_place() -> None:
    """A server that is down is found soon; one that fails at the same request each time is left alone longer."""
    side = reconnecting(max_seconds=0.1, stuck_seconds=5.0)
    streaming(side)
    down, stuck = [], []
    for waits, connected in ((down, False), (stuck, True)):
        for _ in range(40):
            side.begin()
            if connected:
                side.connected()
            waits.append(side._wait(LinkError("again")))
    assert max(down) <= 0.1
    assert max(stuck) == 5.0


async def test_a_connection_that_gets_on_is_not_left_alone_longer() -> None:
    """However shortly it lasts: each time another offset is applied, so that it fails at no one place."""
    side = reconnecting(max_seconds=0.1, stuck_seconds=5.0)
    waits = []
    for number in range(40):
        streaming(side, 100 + number)
        side.begin()
        side.connected()
        side.succeeded()
        waits.append(side._wait(LinkError("again")))
    assert 0 < max(waits) <= 0.1


@pytest.mark.parametrize("mode", ["migrate", "snapshot", "follow"])
async def test_giving_up_after_a_time_without_progress(mode: str) -> None:
    """75 in the modes that end; `follow` retries indefinitely, and so does a mode that makes progress."""
    side = reconnecting(mode)
    error = LinkError("no connection", hint="is it up?", kind="connect")

    async def try_again(seconds: float) -> None:
        end = side.status.clock() + seconds
        while side.status.clock() < end:
            side.begin()
            await side.failed(error, give_up=lambda: False)

    if mode == "follow":
        await try_again(0.4)
        return
    streaming(side)
    for offset in range(6):
        streaming(side, 200 + offset)
        await try_again(0.08)
    with pytest.raises(GivenUpError, match=r"give_up_after_seconds.*no connection; is it up\?") as caught:
        await try_again(5)
    assert caught.value.exit_code == 75
