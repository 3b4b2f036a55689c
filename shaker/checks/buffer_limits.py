"""The source's limits for replicas, as CONFIG GET gives them: output buffer and ping period."""

from __future__ import annotations

from typing import Final, NamedTuple

MIB: Final = 1024 * 1024


class BufferLimits(NamedTuple):
    """Output buffer limits for replicas: hard and soft in bytes, 0 for none; the soft one holds for `seconds`."""

    hard: int
    soft: int
    seconds: int

    def within(self, seconds: float) -> int | None:
        """Return the bytes that a buffer may hold for so many seconds; None for any number."""
        bounds = [self.hard] if seconds < self.seconds else [self.hard, self.soft]
        return min((bound for bound in bounds if bound), default=None)

    def overflows(self, waiting: int, bytes_per_second: float, backlog: int = 0) -> float | None:
        """Return in how many seconds a buffer with so many bytes `waiting` overflows; None for never.

        Since Redis 7.0 a limit below the size of the `backlog` counts as that size.
        """
        hard, soft = (max(bound, backlog) if bound else 0 for bound in (self.hard, self.soft))
        found = [_fills(bound, waiting, bytes_per_second) for bound in (hard, soft) if bound]
        if soft and found[-1] is not None:
            found[-1] += self.seconds
        return min((seconds for seconds in found if seconds is not None), default=None)


def _fills(bound: int, waiting: int, bytes_per_second: float) -> float | None:
    if waiting >= bound:
        return 0.0
    return (bound - waiting) / bytes_per_second if bytes_per_second > 0 else None


# The defaults of Redis and Valkey.
DEFAULT_LIMITS: Final = BufferLimits(256 * MIB, 64 * MIB, 60)


def parse_limits(text: str) -> BufferLimits | None:
    """Return the limits for replicas in the value of client-output-buffer-limit; None where it has none."""
    words = text.split()
    at = next((index for index, word in enumerate(words) if word in ("slave", "replica")), None)
    numbers = words[at + 1 : at + 4] if at is not None else []
    if len(numbers) < 3 or not all(number.isdigit() for number in numbers):
        return None
    return BufferLimits(*map(int, numbers))


def longest_pause(timeout: float, ping_seconds: int) -> int | None:
    """Return the timeout that an idle source needs, in seconds, where `timeout` is too short; None where it is not.

    An idle source sends a PING every `ping_seconds`, and nothing else.
    """
    return 3 * ping_seconds if timeout <= ping_seconds else None
