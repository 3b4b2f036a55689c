"""One run of the worker: its exit code says how it ended, and health is served until then."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator

import pytest

from shaker.errors import EXIT_OK
from shaker.run.worker import run
from tests.support.compare import differences
from tests.support.servers import Server
from tests.support.settings import settings

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _collected() -> Iterator[None]:
    """A run freezes the objects of its process; those of the tests are freed again."""
    yield
    gc.unfreeze()


async def test_a_migration_ends_complete(source: Server, target: Server) -> None:
    """With the target equal to the source."""
    source.client().mset({f"k{number}": number for number in range(100)})
    made = settings(
        source__url=source.url, target__url=target.url, mode="migrate", health__port="0", health__host="127.0.0.1"
    )

    assert await run(made) == EXIT_OK
    assert differences(source, target) == []


@pytest.mark.parametrize("side", ["source", "target"])
async def test_a_cluster_is_refused_before_anything_is_started(
    side: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No connection is needed for that."""
    made = settings(**{f"{side}__url": "redis+cluster://a:1,b:2", "health__port": "0"})

    assert await run(made) == 3
    assert "clusters are not replicated yet" in capsys.readouterr().out


async def test_a_port_that_is_taken_is_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody could see how the worker does."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        made = settings(health__port=str(taken.getsockname()[1]), health__host="127.0.0.1")
        code = await run(made)

    assert code not in (EXIT_OK, 75)
    assert "cannot start" in capsys.readouterr().out
