"""Attempts of a side: counted, spaced out, and given up where trying again cannot help."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest

from shaker.config import Settings
from shaker.errors import AccessError, LinkError, ServerBusyError
from shaker.link.attempts import Attempts, credentials, open_connection
from shaker.watch.status import Status
from tests.servers import Server, free_port

pytestmark = pytest.mark.anyio


def attempts(mode: str = "follow", target: dict[str, Any] | None = None, **retry: float) -> Attempts:
    """Return the attempts of a target."""
    settings = Settings(
        mode=mode,  # type: ignore[arg-type]
        source={"url": "redis://source:6379"},  # type: ignore[arg-type]
        target={"url": "redis://127.0.0.1:1", **(target or {})},  # type: ignore[arg-type]
        retry={"initial_seconds": 0.01, "max_seconds": 0.1, **retry},  # type: ignore[arg-type]
    )
    return Attempts(settings, "target", Status())


async def test_failures_are_counted_by_kind() -> None:
    """Each failure counts under its name and is the side's last error, until one is asked to give up."""
    side = attempts()
    side.begin()
    assert await side.failed(LinkError("gone", kind="lost"), give_up=lambda: False)
    assert await side.failed(ServerBusyError("full", kind="oom"), give_up=lambda: False)
    assert not await side.failed(LinkError("gone", kind="lost"), give_up=lambda: True)

    assert dict(side.status.errors) == {("target", "lost"): 1, ("target", "oom"): 1}
    assert side.status.target.last_error == "full"


async def test_giving_up_while_waiting() -> None:
    """What ends during the wait is not tried again."""
    answers = iter([False, True])

    assert not await attempts().failed(LinkError("gone"), give_up=lambda: next(answers))


@pytest.mark.parametrize("mode", ["migrate", "snapshot"])
async def test_wrong_credentials_end_the_modes_that_end(mode: str) -> None:
    """Nobody waits for a one-off run to be mended."""
    error = AccessError("refused")
    with pytest.raises(AccessError) as caught:
        await attempts(mode).failed(error, give_up=lambda: False)

    assert caught.value is error
    assert caught.value.exit_code == 3


async def test_reconnects_are_counted_once_for_each_connection() -> None:
    """The first connection is no reconnect, and only one that did its work counts."""
    side = attempts()
    for connection in range(3):
        side.begin()
        side.succeeded()
        side.succeeded()
        assert side.status.reconnects["target"] == connection
        assert side.number == 0
    side.begin()
    assert (side.status.reconnects["target"], side.number) == (2, 1)


async def test_an_attempt_lets_go_of_the_one_before() -> None:
    """What a lost connection holds in circles is freed before the next one holds as much."""

    class Held:
        def __init__(self) -> None:
            self.itself = self

    alive = weakref.ref(Held())
    attempts().begin()

    assert alive() is None


async def test_a_password_file_that_is_gone(tmp_path: Path) -> None:
    """It is an error of access, tried again: secrets are mounted late."""
    side = attempts(target={"password_file": tmp_path / "none"})
    with pytest.raises(AccessError, match="password_file"):
        credentials(side._settings.target)


async def test_opening(target: Server) -> None:
    """An attempt counts whether it succeeds or not."""
    side = attempts(target={"url": target.url})
    async with open_connection(side._settings.target, "target", side) as connection:
        assert await connection.call("PING") == b"PONG"
    assert side.number == 1
    side = attempts(target={"url": f"redis://127.0.0.1:{free_port()}"})
    with pytest.raises(LinkError):
        async with open_connection(side._settings.target, "target", side):
            pass
    assert side.number == 1
