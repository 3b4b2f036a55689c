"""The end of a migration: its exit code, the hold, and an earlier completion."""

from __future__ import annotations

import pytest

from shaker.errors import EXIT_DIFFERENT, EXIT_OK, EXIT_UNFAITHFUL
from shaker.flow.flow import Flow
from shaker.jobs.barrier import Barriers
from shaker.jobs.source_monitor import SourceMonitor
from shaker.jobs.verify import Verify
from shaker.run.migration import Migration, find_complete
from shaker.watch.status import FlowStatus
from shaker.watch.verification import Verification
from tests.support.servers import Server
from tests.support.settings import settings

pytestmark = pytest.mark.anyio


def migration(**given: str) -> tuple[Migration, Flow, SourceMonitor]:
    """A migration, its flow, and the monitor that lets it settle."""
    made = settings(mode="migrate", **given)
    flow = Flow(FlowStatus(), made, window_limit=1 << 20)
    monitor = SourceMonitor(made, flow)
    return Migration(made, flow, monitor, Verify(made, flow, Barriers(flow), Verification())), flow, monitor


def test_the_exit_code_follows_from_the_data() -> None:
    """Rejected commands come before differences: they are their cause."""
    one, flow, _ = migration()
    assert one.code == EXIT_OK
    one.verification = {"equal": True}
    assert one.code == EXIT_OK
    one.verification = {"equal": False}
    assert one.code == EXIT_DIFFERENT
    flow.status.stream.commands_rejected = 1
    assert one.code == EXIT_UNFAITHFUL


def test_a_cutover_ends_a_hold() -> None:
    """The migration itself does not settle; the checkpoint records that it is complete."""
    one, flow, monitor = migration(migrate__hold="true")
    assert not monitor.settles
    one.cut_over()
    assert one.complete
    assert flow.target.complete
    assert migration()[2].settles


@pytest.mark.parametrize(
    ("fields", "complete"),
    [
        ({}, True),
        ({"complete": "99"}, False),
        ({"complete": "-1"}, False),
        ({"phase": "snapshot"}, False),
        ({"phase": "unknown"}, False),
        ({"source": "other:1"}, False),
    ],
)
async def test_an_earlier_completion_is_found(target: Server, fields: dict[str, str], complete: bool) -> None:
    """Of this source, at the offset of the checkpoint."""
    made = settings(target__url=target.url)
    record = {"schema": "1", "phase": "stream", "offset": "100", "complete": "100"}
    record |= {"source": made.source.address.text} | fields
    target.client().hset(f"shaker:checkpoint:{made.name}", mapping=record)
    found = await find_complete(made)
    assert (found is not None) is complete


async def test_without_a_record_or_an_answer_there_is_none(target: Server) -> None:
    assert await find_complete(settings(target__url=target.url)) is None
    assert await find_complete(settings(target__url="redis://127.0.0.1:1")) is None
