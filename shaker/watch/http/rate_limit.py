"""Who is answered when more ask than can be: a bounded pace, and no address ahead of another.

The health server shares the interpreter with the replication: what it does for clients beyond probes and scrapes,
the replication does not do meanwhile.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Generic, TypeVar

# Connections taken in a second, and in one go after a while without any. Probes, scrapes and pages take a few; each
# costs about 0.3 ms, so that these are 3 % of a processor. Clients that hold on come in one go.
CONNECTIONS_PER_SECOND = 100.0
CONNECTIONS_AT_ONCE = 256
# Connections that wait to be taken; beyond, the oldest one of the address that has most of them is closed.
MAX_WAITING = 256
# Connections looked at in one turn, and the pause behind a turn that was full: closing one costs about 25 µs, so
# that a flood costs 5 % of a processor at most. The others wait in the kernel.
TURN_CONNECTIONS = 16
TURN_SECONDS = 0.008
# Bodies of one kind made in a second, and in one go: each takes up to a millisecond.
MADE_PER_SECOND = 20.0
MADE_AT_ONCE = 20

T = TypeVar("T")


class Pace:
    """Spreads events: so many `per_second`, and so many `at_once` after a while without any."""

    def __init__(self, *, per_second: float, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._interval = 1.0 / per_second
        self._ahead = self._interval * (at_once - 1)
        self._next = 0.0  # when the next event would come, were all evenly spread

    def delay(self) -> float:
        """Return the seconds until the next event may come; 0 if now."""
        return max(0.0, self._next - self._ahead - self._clock())

    def count(self) -> float:
        """Count one event; return the seconds that it has to wait."""
        delay = self.delay()
        self._next = max(self._next, self._clock()) + self._interval
        return delay


class Sparing(Generic[T]):
    """Something that is made anew when asked for, but no more often than its pace: then the newest one is given."""

    def __init__(self) -> None:
        self._pace = Pace(per_second=MADE_PER_SECOND, at_once=MADE_AT_ONCE)
        self._newest: T | None = None

    def get(self, make: Callable[[], T]) -> T:
        """Return what `make` returns, now or a moment ago."""
        if self._newest is None or not self._pace.delay():
            self._pace.count()
            self._newest = make()
        return self._newest


class Admission:
    """Takes connections of `listener`, and calls `admit` with one after the other, at the pace above."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, listener: socket.socket, admit: Callable[[socket.socket], None]
    ) -> None:
        self._loop = loop
        self._listener = listener
        self._admit = admit
        self._waiting: dict[str, deque[socket.socket]] = {}  # by address; the one in front is next
        self._pace = Pace(per_second=CONNECTIONS_PER_SECOND, at_once=CONNECTIONS_AT_ONCE)
        self._timers: dict[Callable[[], None], asyncio.TimerHandle] = {}
        listener.setblocking(False)
        loop.add_reader(listener, self._accept)

    @property
    def waiting(self) -> int:
        """How many connections wait."""
        return sum(map(len, self._waiting.values()))

    def close(self) -> None:
        """Take no more connections, and close those that wait."""
        self._loop.remove_reader(self._listener)
        self._listener.close()
        for timer in self._timers.values():
            timer.cancel()
        for sockets in self._waiting.values():
            for each in sockets:
                each.close()
        self._waiting.clear()

    def _listen(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        full = True
        for _ in range(TURN_CONNECTIONS):
            try:
                connection, address = self._listener.accept()
            except BlockingIOError:
                full = False
                break
            except OSError:
                break  # no descriptors left, or the client is gone already
            connection.setblocking(False)
            self._waiting.setdefault(address[0], deque()).append(connection)
            if self.waiting > MAX_WAITING:
                max(self._waiting.values(), key=len).popleft().close()
        if full:
            self._loop.remove_reader(self._listener)
            self._later(TURN_SECONDS, self._listen)
        self._let_in()

    def _let_in(self) -> None:
        while self._waiting:
            delay = self._pace.delay()
            if delay:
                if self._let_in not in self._timers:
                    self._later(delay, self._let_in)
                return
            address = next(iter(self._waiting))
            sockets = self._waiting.pop(address)
            connection = sockets.popleft()
            if sockets:
                self._waiting[address] = sockets  # behind the other addresses
            self._pace.count()
            self._admit(connection)

    def _later(self, seconds: float, function: Callable[[], None]) -> None:
        def run() -> None:
            with suppress(KeyError):
                del self._timers[function]
            function()

        self._timers[function] = self._loop.call_later(seconds, run)
