"""The control verbs of a cutover: bodies that are wrong, reasons against it, progress, and abort."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shaker.model.cutover import CutoverPhase
from shaker.run.cutover_control import CutoverControl, order_of
from shaker.watch.http.control import ControlError
from shaker.watch.status import Status
from tests.support.cutting_over import CuttingOver, cutting_over
from tests.support.servers import Server


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"fence": "wall"}, "fence must be one of replicas, pause, none"),
        ({"verify": 1}, "verify must be true or false"),
        ({"timeout": "1"}, "timeout must be a number of seconds"),
        ({"timeout": True}, "timeout must be a number of seconds"),
        ({"max_lag": 0}, "max_lag must be a number of seconds"),
        ({"fence_seconds": 0.5}, "fence_seconds must be at least 1"),
        ({"unknown": 1}, "unknown is not a field"),
        ({"fence_acl": ["app"]}, "fence_acl must have an ACL rule for each user"),
        ({"fence_acl": {"app": ">secret"}}, "is no rule about commands or keys"),
        ({"fence_acl": {"app": "-@write"}, "fence": "none"}, "exclude each other"),
    ],
)
def test_a_body_that_is_wrong_names_the_field(fields: dict[str, Any], text: str) -> None:
    """With 400."""
    with pytest.raises(ControlError, match=text) as error:
        order_of(fields)
    assert error.value.status == 400


def control(cutting: CuttingOver) -> CutoverControl:
    """The verbs of a worker."""
    status = cutting.links.status
    assert isinstance(status, Status)
    return CutoverControl(status, cutting.cutover)


@pytest.mark.anyio
async def test_a_cutover_is_followed_by_its_number(source: Server, target: Server, tmp_path: Path) -> None:
    """From the order over the hook to the report."""
    async with cutting_over(source, target, tmp_path) as cutting:
        verbs = control(cutting)
        assert (await verbs.cutover({"dry_run": True}))["possible"]
        number = (await verbs.cutover({"hook": True, "attended": True}))["id"]
        with pytest.raises(ControlError, match="a cutover is under way"):
            await verbs.cutover({})
        with pytest.raises(ControlError, match="there is no cutover 7"):
            await verbs.cutover({"id": 7})
        await cutting.links.wait(lambda: cutting.state.phase is CutoverPhase.HOOK, "the hook")
        assert (await verbs.cutover({"id": number, "proceed": True}))["report"] is None
        report = await cutting.ended()
        assert (await verbs.cutover({"id": number}))["report"] == report
        assert report["outcome"] == "done"
        assert verbs.abort() == ""
        with pytest.raises(ControlError, match="cut over already"):
            await verbs.cutover({})


@pytest.mark.anyio
async def test_a_user_that_cannot_be_fenced_is_a_reason(source: Server, target: Server, tmp_path: Path) -> None:
    """Before anything begins."""
    async with cutting_over(source, target, tmp_path) as cutting:
        verbs = control(cutting)
        with pytest.raises(ControlError, match="own user"):
            await verbs.cutover({"fence_acl": {"default": "-@write"}, "dry_run": True})
        assert cutting.state.phase is CutoverPhase.IDLE


@pytest.mark.anyio
async def test_abort_ends_a_cutover(source: Server, target: Server, tmp_path: Path) -> None:
    """By the verb of its own, or with a reason by the command that asked."""
    async with cutting_over(source, target, tmp_path) as cutting:
        verbs = control(cutting)
        assert verbs.abort() == ""
        await verbs.cutover({"hook": True})
        assert verbs.abort() == "cutover"
        assert (await cutting.ended())["reason"] == "aborted"
        await cutting.links.wait(lambda: cutting.cutover.busy is None, "the end")
        number = (await verbs.cutover({"hook": True}))["id"]
        await verbs.cutover({"id": number, "abort": "the hook failed"})
        assert (await cutting.ended())["reason"] == "aborted: the hook failed"
