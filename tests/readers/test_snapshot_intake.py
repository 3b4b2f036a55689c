"""A snapshot enters the window in order: its start, numbered keys and chunks, scripts, libraries, its end."""

from __future__ import annotations

import pytest

from shaker.flow.flow import Flow
from shaker.model.batch import FullSync, SnapshotEnd, SnapshotLibrary, SnapshotLoss, SnapshotScript
from shaker.model.entries import Entries, LargeChunk, LargeEntry
from shaker.model.items import (
    SnapshotChunk,
    SnapshotFinish,
    SnapshotKeys,
    SnapshotLibraries,
    SnapshotScripts,
    SnapshotStart,
)
from shaker.model.position import Resume
from shaker.readers.snapshot_intake import SnapshotIntake
from shaker.rules.command_table import CommandTable, KeyPositions
from shaker.watch.status import Status
from tests.support.settings import settings

REPLID = "a" * 40


@pytest.fixture
def flow() -> Flow:
    """A flow to a target that knows functions."""
    flow = Flow(Status(), settings(), window_limit=1 << 20)
    flow.target.table = CommandTable({"function": KeyPositions(0, 0, 0, False)})
    return flow


def string_key(name: bytes) -> Entries:
    """Return one key of database 0."""
    return Entries(0, [name, b"v"], [], [], [])


def test_all_parts_come_in_order_and_numbered(flow: Flow) -> None:
    """Each batch by the number that the checkpoint of the snapshot records."""
    intake = SnapshotIntake(settings(), flow)
    intake.begin(FullSync(REPLID, 500), flush=False, sweep=True)
    intake.put_keys(string_key(b"a"))
    intake.begin_large(LargeEntry(2, b"large", 4, -1, -1, -1))
    intake.put_chunk(LargeChunk(b"ab", False))
    intake.put_chunk(LargeChunk(b"cd", True))
    for extra in (SnapshotLibrary(b"code"), SnapshotScript(b"return 1"), SnapshotLoss("MODULE AUX", "graph")):
        intake.keep(extra)
    intake.end(SnapshotEnd(REPLID, 600, 2))

    start, keys, first, last, scripts, libraries, finish = flow.window.waiting()
    assert isinstance(start, SnapshotStart)
    assert (start.offset, start.flush, start.sweep) == (500, False, True)
    assert isinstance(keys, SnapshotKeys)
    assert (keys.number, keys.listed) == (1, True)
    assert isinstance(first, SnapshotChunk)
    assert isinstance(last, SnapshotChunk)
    assert [(chunk.data, chunk.first, chunk.more) for chunk in (first, last)] == [
        (b"ab", True, True),
        (b"cd", False, False),
    ]
    assert (first.number, last.number) == (1, 2)
    assert isinstance(scripts, SnapshotScripts)
    assert isinstance(libraries, SnapshotLibraries)
    assert (scripts.number, libraries.number, libraries.keep) == (3, 4, False)
    assert isinstance(finish, SnapshotFinish)
    assert [rejection.command for rejection in finish.rejections] == ["MODULE AUX"]
    assert flow.resume == Resume(REPLID, 600, 2)


def test_records_of_workers_are_left_out_and_remembered(flow: Flow) -> None:
    """They are looked at before the stream begins: one of them may close a circle."""
    intake = SnapshotIntake(settings(), flow)
    intake.put_keys(string_key(b"shaker:checkpoint:other"))
    intake.put_keys(string_key(b"shaker:fence:other"))
    intake.begin_large(LargeEntry(0, b"shaker:checkpoint:large", 4, -1, -1, -1))
    intake.put_chunk(LargeChunk(b"abcd", True))

    assert list(flow.window.waiting()) == []
    assert intake.records == {"shaker:checkpoint:other"}
    assert flow.status.keys.reserved_skipped == 3


@pytest.mark.parametrize(
    ("given", "keep"),
    [({}, False), ({"target__on_existing": "merge"}, True), ({"target__stale_keys": "keep"}, True)],
)
def test_libraries_replace_those_of_the_target_unless_its_keys_are_kept(
    flow: Flow, given: dict[str, str], keep: bool
) -> None:
    """Also where the source has none."""
    intake = SnapshotIntake(settings(**given), flow)
    intake.keep(SnapshotLibrary(b"code"))
    intake.end(SnapshotEnd(REPLID, 600, 0))
    without = SnapshotIntake(settings(**given), flow)
    without.end(SnapshotEnd(REPLID, 600, 0))

    found = [item for item in flow.window.waiting() if isinstance(item, SnapshotLibraries)]
    assert [(item.codes, item.keep) for item in found] == [((b"code",), keep), *([] if keep else [((), False)])]
