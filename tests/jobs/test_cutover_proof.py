"""The proof: every key before the fence, changed ones within it, and a difference in either ends the cutover."""

from __future__ import annotations

from pathlib import Path

import pytest

from shaker.flow.watch import ChangedKeys
from shaker.jobs.cutover_order import Failed, Outcome
from shaker.jobs.cutover_proof import Proof
from tests.support.cutting_over import CuttingOver, cutting_over
from tests.support.servers import Server

pytestmark = pytest.mark.anyio


async def begun(cutting: CuttingOver) -> Proof:
    """A proof that knows both servers."""
    proof = Proof(cutting.settings, cutting.flow, cutting.verify, cutting.state)
    await proof.begin(cutting.links.source, cutting.links.target)
    return proof


async def test_keys_that_changed_are_compared_alone(source: Server, target: Server, tmp_path: Path) -> None:
    """After one pass over all of them."""
    source.client().mset({f"key:{number}": number for number in range(100)})
    async with cutting_over(source, target, tmp_path) as cutting:
        proof, changed = await begun(cutting), ChangedKeys(cutting.flow.target.table)
        with cutting.flow.watching(changed):
            await proof.every_key(changed)
            source.client().mset({"key:1": 2, "other": 3})
            source.client().delete("key:2")
            await cutting.links.wait_applied(source)
            await proof.changed_keys(changed)
    found = proof.document()
    assert (found["keys_compared"], found["keys_compared_fenced"]) == (100, 3)


async def test_a_changed_key_that_differs_is_named(source: Server, target: Server, tmp_path: Path) -> None:
    """Also one that only the target has."""
    async with cutting_over(source, target, tmp_path) as cutting:
        proof, changed = await begun(cutting), ChangedKeys(cutting.flow.target.table)
        with cutting.flow.watching(changed):
            source.client().set("extra", 1)
            source.client().delete("extra")
            await cutting.links.wait_applied(source)
            target.client().set("extra", 1)
            with pytest.raises(Failed, match="extra in database 0") as failed:
                await proof.changed_keys(changed)
    assert failed.value.outcome is Outcome.DIFFERENT
    assert proof.document()["examples"][0]["key"] == "extra"


async def test_a_function_library_that_differs_is_named(source: Server, target: Server, tmp_path: Path) -> None:
    """Also one that changed since the whole pass: the last look, within the fence, compares them again."""
    async with cutting_over(source, target, tmp_path) as cutting:
        proof, changed = await begun(cutting), ChangedKeys(cutting.flow.target.table)
        with cutting.flow.watching(changed):
            await proof.every_key(changed)
            target.client().function_load("#!lua name=lib\nredis.register_function('f', function() return 1 end)")
            with pytest.raises(Failed, match="function library lib"):
                await proof.changed_keys(changed)


async def test_every_key_is_compared_where_the_changed_ones_are_unknown(
    source: Server, target: Server, tmp_path: Path
) -> None:
    """FLUSHDB names none."""
    async with cutting_over(source, target, tmp_path) as cutting:
        proof, changed = await begun(cutting), ChangedKeys(cutting.flow.target.table)
        with cutting.flow.watching(changed):
            source.client().flushdb()
            source.client().set("k", 1)
            await cutting.links.wait_applied(source)
            assert not changed.complete
            await proof.changed_keys(changed)
    assert proof.document()["keys_compared"] == 1
