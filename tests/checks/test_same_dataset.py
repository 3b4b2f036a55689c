"""A target that is the source itself, its replica or its primary is refused."""

from __future__ import annotations

import pytest

from shaker.checks.same_dataset import check_same_dataset, refuse_same_dataset
from shaker.errors import LinkError, RefusedError
from shaker.model.server_info import SourceIdentity
from tests.support.info import server_info
from tests.support.servers import Server, free_port
from tests.support.settings import settings

SOURCE = SourceIdentity("source:6379", "r" * 40, ("a" * 40, "b" * 40))


def test_another_dataset_passes() -> None:
    """Also the one that the source was a replica of earlier: a cutover back leads there."""
    refuse_same_dataset(SOURCE, server_info(run_id="s" * 40, master_replid="c" * 40))
    refuse_same_dataset(SOURCE, server_info(run_id="s" * 40, master_replid="b" * 40))


def test_the_source_itself_is_refused() -> None:
    """By whatever address it was reached."""
    with pytest.raises(RefusedError, match="the same server"):
        refuse_same_dataset(SOURCE, server_info(run_id="r" * 40, master_replid="a" * 40))


def test_a_server_of_the_same_history_is_refused() -> None:
    """One is the replica of the other."""
    with pytest.raises(RefusedError, match="replicate one another"):
        refuse_same_dataset(SOURCE, server_info(run_id="s" * 40, master_replid="a" * 40))


@pytest.mark.anyio
async def test_the_target_is_asked_for_its_present_identity(source: Server, target: Server) -> None:
    """A target that does not answer is no reason to refuse, but to wait."""
    info = source.client().info()
    identity = SourceIdentity("source", info["run_id"], (info["master_replid"],))
    await check_same_dataset(settings(target__url=target.url), identity)
    with pytest.raises(RefusedError):
        await check_same_dataset(settings(target__url=source.url), identity)
    with pytest.raises(LinkError):
        await check_same_dataset(settings(target__url=f"redis://127.0.0.1:{free_port()}"), identity)
