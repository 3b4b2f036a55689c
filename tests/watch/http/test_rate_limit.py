"""A pace is kept, and no address is ahead of another."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from shaker.watch.http import rate_limit as admission
from shaker.watch.http.rate_limit import Admission, Pace, Sparing

pytestmark = pytest.mark.anyio


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until the condition holds."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  what is waited for has no event
            await asyncio.sleep(0.005)


class Clock:
    """Time that passes when it is told to, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """All of 127.0.0.0/8 is this machine: a client can come from any of its addresses."""
    with socket.create_server(("0.0.0.0", 0), backlog=64) as server:
        yield server


def come(stack: ExitStack, listener: socket.socket, address: str) -> socket.socket:
    """Connect from an address."""
    port = listener.getsockname()[1]
    return stack.enter_context(socket.create_connection(("127.0.0.1", port), 5.0, (address, 0)))


def test_a_pace() -> None:
    """So many at once, then evenly; a while without any makes room for as many at once again, and no more."""
    clock = Clock()
    pace = Pace(per_second=10, at_once=3, clock=clock)
    assert [round(pace.count(), 6) for _ in range(6)] == [0, 0, 0, 0.1, 0.2, 0.3]
    clock.now += 0.25
    assert pace.delay() == pytest.approx(0.15)
    clock.now += 1000
    assert [round(pace.count(), 6) for _ in range(4)] == [0, 0, 0, 0.1]


def test_what_is_made_sparingly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anew each time that it is asked for now and then; beyond the pace the newest one again."""
    monkeypatch.setattr(admission, "MADE_PER_SECOND", 0.001)
    monkeypatch.setattr(admission, "MADE_AT_ONCE", 3)
    made = iter(range(10))
    sparing: Sparing[int] = Sparing()
    assert [sparing.get(lambda: next(made)) for _ in range(6)] == [0, 1, 2, 2, 2, 2]


async def test_addresses_take_turns(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """One connection of another address is taken before the many that came before it."""
    monkeypatch.setattr(admission, "CONNECTIONS_AT_ONCE", 1)
    monkeypatch.setattr(admission, "CONNECTIONS_PER_SECOND", 50.0)
    taken: list[str] = []

    def admit(connection: socket.socket) -> None:
        taken.append(connection.getpeername()[0])
        connection.close()

    with ExitStack() as stack:
        for _ in range(10):
            come(stack, listener, "127.0.0.2")
        come(stack, listener, "127.0.0.1")
        door = Admission(asyncio.get_running_loop(), listener, admit)
        await until(lambda: len(taken) == 11)
        assert taken.index("127.0.0.1") <= 2
        assert door.waiting == 0
        door.close()


async def test_the_address_that_asks_most_is_refused(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where too many wait, its oldest one is closed, and no other's."""
    monkeypatch.setattr(admission, "CONNECTIONS_AT_ONCE", 1)
    monkeypatch.setattr(admission, "CONNECTIONS_PER_SECOND", 0.001)
    monkeypatch.setattr(admission, "MAX_WAITING", 5)
    with ExitStack() as stack:
        many = [come(stack, listener, "127.0.0.2") for _ in range(2)]
        alone = come(stack, listener, "127.0.0.1")
        many += [come(stack, listener, "127.0.0.2") for _ in range(20)]
        door = Admission(asyncio.get_running_loop(), listener, socket.socket.close)
        await until(lambda: door.waiting == 5 and not select.select([listener], [], [], 0)[0])
        assert door.waiting == 5
        assert [each for each in many if is_open(each)] == many[-4:]
        assert is_open(alone)
        door.close()


def is_open(client: socket.socket) -> bool:
    """Return whether the server has not closed it."""
    client.setblocking(False)
    try:
        return client.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


async def test_closing_ends_those_that_wait(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is left open behind it."""
    monkeypatch.setattr(admission, "CONNECTIONS_AT_ONCE", 1)
    monkeypatch.setattr(admission, "CONNECTIONS_PER_SECOND", 0.001)
    with ExitStack() as stack:
        clients = [come(stack, listener, "127.0.0.1") for _ in range(4)]
        door = Admission(asyncio.get_running_loop(), listener, socket.socket.close)
        await until(lambda: door.waiting == 3)
        door.close()
        assert door.waiting == 0
        assert not any(is_open(client) for client in clients)
