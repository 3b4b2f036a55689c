"""The cutover job: it carries out an order, and undoes what another worker has left behind."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from shaker.apply.records import checkpoint_key
from shaker.jobs.cutover_order import Order
from shaker.jobs.source_fence import MOST_REPLICAS, NAMES
from shaker.model.cutover import CutoverNote, CutoverPhase
from tests.support.cutting_over import cutting_over
from tests.support.servers import Server

pytestmark = pytest.mark.anyio
NOTE = "cutover"


def noted(target: Server) -> CutoverNote | None:
    """The note in the checkpoint."""
    return CutoverNote.parse((target.client().hget(checkpoint_key("default"), NOTE) or b"").decode())


async def test_an_order_is_carried_out(source: Server, target: Server, tmp_path: Path) -> None:
    """The source is shut, the note is done, and the worker may end."""
    source.client().set("k", 1)
    async with cutting_over(source, target, tmp_path) as cutting:
        cutting.cutover.order(Order())
        report = await cutting.ended()
        await cutting.links.wait(cutting.cutover.completed.is_set, "the end")
    note = noted(target)
    assert (report["outcome"], report["source_open"]) == ("done", False)
    assert note is not None
    assert (note.done, note.offset, note.before[NAMES[0]]) == (True, report["offset"], "0")
    assert source.client().config_get(NAMES[0])[NAMES[0]] == MOST_REPLICAS


async def test_what_expires_behind_the_fence_stays_on_the_target(
    source: Server, target: Server, tmp_path: Path
) -> None:
    """An application has given the key a new value there."""
    async with cutting_over(source, target, tmp_path) as cutting:
        order = Order(hook=True)
        source.client().set("k", "old", px=3000)
        await cutting.links.wait_applied(source)
        cutting.cutover.order(order)
        await cutting.links.wait(lambda: cutting.state.phase is CutoverPhase.HOOK, "the hook")
        target.client().set("k", "new")
        order.hook_succeeded.set()
        assert (await cutting.ended())["outcome"] == "done"
        await cutting.links.wait(lambda: not source.client().exists("k"), "the expiry", 10)
        await anyio.sleep(0.3)
        assert target.client().get("k") == b"new"


async def test_a_failure_lifts_the_fence_and_clears_the_note(
    source: Server, target: Server, tmp_path: Path
) -> None:
    """The next order can be given."""
    async with cutting_over(source, target, tmp_path) as cutting:
        order = Order(hook=True)
        cutting.cutover.order(order)
        await cutting.links.wait(lambda: cutting.state.phase is CutoverPhase.HOOK, "the hook")
        note = noted(target)
        assert note is not None
        assert not note.done
        order.aborted = "enough"
        report = await cutting.ended()
        assert (report["outcome"], report["reason"], report["source_open"]) == ("aborted", "enough", True)
        assert source.client().incr("k") == 1
        await cutting.links.wait(lambda: noted(target) is None, "the note to be cleared")
        assert not cutting.cutover.completed.is_set()


async def test_a_note_of_another_worker_is_undone(source: Server, target: Server, tmp_path: Path) -> None:
    """It was killed behind the lasting fence."""
    async with cutting_over(source, target, tmp_path):
        pass
    before = {NAMES[0]: "0", NAMES[1]: "9"}
    target.client().hset(checkpoint_key("default"), NOTE, str(CutoverNote(False, before)))
    source.client().config_set(NAMES[0], MOST_REPLICAS)
    async with cutting_over(source, target, tmp_path) as cutting:
        assert source.client().config_get(NAMES[0])[NAMES[0]] == "0"
        assert source.client().config_get(NAMES[1])[NAMES[1]] == "9"
        await cutting.links.wait(lambda: noted(target) is None, "the note to be cleared")
