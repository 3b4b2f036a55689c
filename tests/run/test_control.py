"""The control verbs of a worker: their fields are checked, and they run in the worker's event loop."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from shaker.flow.flow import Flow
from shaker.flow.lifecycle import FlowEvent
from shaker.jobs.barrier import Barriers
from shaker.jobs.verify import Verify
from shaker.jobs.verify_walk import Selection
from shaker.jobs.verify_wanted import Wanted
from shaker.run.control import Control, wanted_of
from shaker.watch.http.control import ControlError
from shaker.watch.status import Status
from shaker.watch.verification import Verification
from tests.support.settings import settings

pytestmark = pytest.mark.anyio


class Worker:
    """What a control acts on."""

    def __init__(self, portal: BlockingPortal) -> None:
        made = settings()
        self.flow = Flow(Status(), made, window_limit=1 << 20)
        self.flow.happen(FlowEvent.STARTED)
        self.verification = Verification()
        self.verify = Verify(made, self.flow, Barriers(self.flow), self.verification)
        self.control = Control(self.flow, self.verify, portal)


def test_an_empty_body_asks_for_everything() -> None:
    """All keys, with their values, without a limit, and no repair."""
    wanted = wanted_of({})
    assert (wanted.selection, wanted.keys_only, wanted.repair, wanted.keys_per_second) == (
        Selection(b"", None, 100.0),
        False,
        False,
        0.0,
    )


def test_each_field_is_taken() -> None:
    """Patterns are bytes: what a terminal gave of them comes back whole."""
    pattern = b"\xff*".decode("utf-8", "surrogateescape")
    wanted = wanted_of(
        {"keys_only": True, "repair": True, "sample": 5, "database": 3, "pattern": pattern, "rate": 100}
    )
    assert wanted.selection == Selection(b"\xff*", 3, 5.0)
    assert (wanted.keys_only, wanted.repair, wanted.keys_per_second) == (True, True, 100.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("keys_only", value) for value in (1, "true", None)),
        *(("repair", value) for value in (0, "no")),
        *(("sample", value) for value in (0, -1, 100.1, "50", True, None, float("nan"))),
        *(("database", value) for value in (-1, 1.5, "0", True)),
        *(("pattern", value) for value in (5, None, ["a"])),
        *(("rate", value) for value in (-1, "fast", True)),
        ("databse", 0),
    ],
    ids=str,
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    """With status 400: the request can never be carried out."""
    with pytest.raises(ControlError, match=field) as refused:
        wanted_of({field: value})
    assert refused.value.status == 400


async def test_verbs_run_in_the_loop_of_the_worker() -> None:
    """Called from another loop, as the health server has one."""
    with start_blocking_portal() as portal:
        worker = Worker(portal)
        threads: list[int] = []
        ask = worker.verify.ask

        def asked(wanted: Wanted) -> anyio.Event:
            threads.append(threading.get_ident())
            return ask(wanted)

        worker.verify.ask = asked  # type: ignore[method-assign]
        assert await worker.control("verify", {}) == {"id": 1}
        assert await worker.control("verify", {"pattern": "a*"}) == {"id": 2}
        assert threads == [portal.call(threading.get_ident)] * 2
        assert threads[0] != threading.get_ident()
    assert worker.verification.requested == {"id": 2, "running": True, "report": None}


async def test_acknowledgement_clears_rejected_commands() -> None:
    """The writer forgets them with its next checkpoint; their number is the answer."""
    with start_blocking_portal() as portal:
        worker = Worker(portal)
        worker.flow.status.stream.commands_rejected = 5
        assert await worker.control("ack", {}) == {"cleared": 5}
        assert worker.flow.target.rejections_judged
        with pytest.raises(ControlError, match="n is not a field"):
            await worker.control("ack", {"n": 1})


async def test_an_unknown_verb_is_404() -> None:
    """By its name."""
    with start_blocking_portal() as portal:
        with pytest.raises(ControlError, match="no control explode") as refused:
            await Worker(portal).control("explode", {})
        assert refused.value.status == 404
