"""The control verbs: what each one does to a flow, and why it refuses."""

from __future__ import annotations

from typing import Any, cast

import anyio
import pytest
from anyio.from_thread import BlockingPortal

from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent
from shaker.jobs.verify import Verify
from shaker.run.control import Control, wanted_of
from shaker.watch.http.control import ControlError
from shaker.watch.status import FlowStatus, State
from tests.support.settings import settings

pytestmark = pytest.mark.anyio


class Passes:
    """The verify job, as far as a control sees it."""

    def __init__(self) -> None:
        self.wanted: list[Any] = []

    def ask(self, wanted: Any) -> anyio.Event:
        """Take a pass."""
        self.wanted.append(wanted)
        wanted.number = len(self.wanted)
        return cast("anyio.Event", wanted.ended)

    def abort(self) -> bool:
        """Drop them."""
        before, self.wanted = self.wanted, []
        return bool(before)


class Steered:
    """A running flow and its control."""

    def __init__(self) -> None:
        self.flow = Flow(FlowStatus(), settings(), window_limit=1 << 20)
        self.flow.happen(FlowEvent.STARTED)
        self.passes = Passes()
        self.control = Control(self.flow, cast("Verify", self.passes), cast("BlockingPortal", None))

    async def __call__(self, verb: str, **fields: Any) -> dict[str, Any]:
        """Run a verb."""
        return await self.control.verbs[verb](fields)


@pytest.fixture
def steered() -> Steered:
    return Steered()


async def test_a_pause_and_its_end(steered: Steered) -> None:
    assert await steered("pause") == {"overflows_in_seconds": None, "overflow_reason": None}
    assert steered.flow.intake.held
    assert steered.flow.state is State.PAUSED
    assert "paused by an operator" in steered.flow.status.reasons["paused"]
    assert await steered("resume") == {"resumed": True, "deletions_allowed": False}
    assert not steered.flow.intake.held
    assert "paused" not in steered.flow.status.reasons
    with pytest.raises(ControlError, match="not paused"):
        await steered("resume")


async def test_resume_allows_only_deletions_that_are_held(steered: Steered) -> None:
    """Consent is to counts that an operator has seen; the next full sync needs its own."""
    with pytest.raises(ControlError, match="holds no deletions"):
        await steered("resume")
    assert not steered.flow.target.deletions_allowed
    steered.flow.status.sweep.held = "a full resync would remove 5 of 5 keys"
    assert await steered("resume") == {"resumed": False, "deletions_allowed": True}
    assert steered.flow.target.deletions_allowed
    steered.flow.happen(FlowEvent.REGISTERED_EMPTY)
    steered.flow.happen(FlowEvent.POSITION_LOST)
    steered.flow.happen(FlowEvent.SOURCE_CONNECTED)
    steered.flow.request_snapshot()
    steered.flow.begin_snapshot()
    assert not steered.flow.target.deletions_allowed


async def test_rates_change_one_by_one(steered: Steered) -> None:
    await steered("rate", stream_bytes=100)
    found = await steered("rate", snapshot_keys=5)
    expected = {"snapshot_bytes": None, "snapshot_keys": 5, "stream_bytes": 100, "stream_commands": None}
    assert found == {"rates": expected}
    assert steered.flow.status.traffic.limits == expected
    assert (await steered("rate", stream_bytes=None, snapshot_keys=None))["rates"] == dict.fromkeys(expected)
    for wrong in (0, -1, 1.5, True, "5"):
        with pytest.raises(ControlError, match="stream_bytes must be") as raised:
            await steered("rate", stream_bytes=wrong)
        assert raised.value.status == 400


async def test_abort_ends_each_thing_that_can_be(steered: Steered) -> None:
    with pytest.raises(ControlError, match="nothing is running"):
        await steered("abort")
    steered.passes.ask(wanted_of({}))
    steered.control.aborts.append(lambda: "cutover")
    assert await steered("abort") == {"aborted": ["verification", "cutover"]}


async def test_a_worker_that_ends_refuses(steered: Steered) -> None:
    steered.flow.happen(FlowEvent.STOP_REQUESTED)
    for verb in ("pause", "resume", "verify", "ack", "rate"):
        with pytest.raises(ControlError, match="the worker is draining"):
            await steered(verb)


async def test_an_unknown_field_is_named(steered: Steered) -> None:
    for verb in steered.control.verbs:
        with pytest.raises(ControlError, match="speed is not a field"):
            await steered(verb, speed=1)


async def test_a_pass_and_an_acknowledgement(steered: Steered) -> None:
    assert await steered("verify", keys_only=True) == {"id": 1}
    assert steered.passes.wanted[0].keys_only
    steered.flow.status.stream.commands_rejected = 3
    assert await steered("ack") == {"cleared": 3}
    assert steered.flow.target.rejections_judged
