"""A source whose data come from the target is refused: by the records of the workers that write to it."""

from __future__ import annotations

import pytest

from shaker.checks.circles import look, look_at, refuse_loop, scan
from shaker.errors import RefusedError
from shaker.flow.flow import Flow
from shaker.settings.schema import Settings
from shaker.watch.status import Status
from tests.support.servers import Server, free_port
from tests.support.settings import settings

pytestmark = pytest.mark.anyio

TARGET = "c" * 40
OTHER = "d" * 40


@pytest.fixture
def made(source: Server) -> Settings:
    """Settings of a worker at that source."""
    return settings(source__url=source.url)


@pytest.fixture
def flow(made: Settings) -> Flow:
    """A flow to a target that is known by its id."""
    flow = Flow(Status(), made, window_limit=1 << 20)
    flow.target.ids = frozenset({TARGET})
    return flow


def write_record(source: Server, name: str, origin: str) -> None:
    """Leave the record of a worker that copies from `origin`."""
    source.client().hset(f"shaker:checkpoint:{name}", mapping={"source_run_id": origin, "phase": "stream"})


async def test_the_record_of_a_connected_writer_closes_a_circle(source: Server, made: Settings, flow: Flow) -> None:
    """Its name is in the name of its connection."""
    write_record(source, "other", TARGET)
    await look(made, flow)
    refuse_loop(made, flow, streams=False)

    with source.client(client_name="shaker-writer:other:token") as writer:
        writer.ping()
        await look(made, flow)
    with pytest.raises(RefusedError, match="shaker:checkpoint:other on the source") as caught:
        refuse_loop(made, flow, streams=False)
    assert "DEL shaker:checkpoint:other" in caught.value.hint


async def test_a_chain_is_no_circle(source: Server, made: Settings, flow: Flow) -> None:
    """Its origins are remembered for the workers behind."""
    write_record(source, "default", OTHER)
    await look(made, flow)
    refuse_loop(made, flow, streams=False)

    assert flow.source.upstream.origins == OTHER


async def test_a_scan_finds_records_of_absent_workers(source: Server, made: Settings, flow: Flow) -> None:
    """Among all keys, and counts them."""
    source.client().mset({f"k{number}": 1 for number in range(3000)})
    source.client().set("shaker:fence:gone", 1)
    write_record(source, "gone", TARGET)

    assert await scan(made, flow) == 2
    with pytest.raises(RefusedError):
        refuse_loop(made, flow, streams=False)


async def test_records_of_a_snapshot_are_looked_at_by_name(source: Server, made: Settings, flow: Flow) -> None:
    """Before the stream begins."""
    write_record(source, "one", OTHER)
    await look_at(made, flow, {"shaker:checkpoint:one"})
    write_record(source, "two", TARGET)
    with pytest.raises(RefusedError):
        await look_at(made, flow, {"shaker:checkpoint:two"})


async def test_a_source_that_does_not_answer_is_looked_at_later() -> None:
    """The stream carries each record that a worker writes."""
    made = settings(source__url=f"redis://127.0.0.1:{free_port()}")
    flow = Flow(Status(), made, window_limit=1 << 20)
    await look(made, flow)

    assert await scan(made, flow) == 0
    refuse_loop(made, flow, streams=False)
