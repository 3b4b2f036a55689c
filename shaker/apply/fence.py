"""The one writer of the target: decisions of a registration, without I/O.

A connection registers in one transaction: WATCH fence, read it, MULTI, HSET fence, CLIENT KILL of every writer
connection before it, HGETALL checkpoint, EXEC. After it those connections are dead, half-open or not: what they had
sent and the server had not executed never runs, so the checkpoint read inside is exact.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from shaker.apply.records import Fence, writer_prefix
from shaker.errors import FencedError


@dataclass(slots=True)
class Identity:
    """Which worker this is. The token is random: epochs alone can repeat after a target lost its last second."""

    token: str
    epoch: int = 0  # 0 until the first registration

    @classmethod
    def new(cls) -> Identity:
        """Return the identity of a worker that has not registered yet."""
        return cls(secrets.token_hex(8))


def next_epoch(mine: Identity, fence: Fence | None, written: int = 0) -> int:
    """Return the epoch to register with, for the fence in the target (None: there is none).

    `written` is the epoch of the checkpoint, 0 without one: it still records a worker whose fence was deleted.

    A new worker always takes over. A registered one continues with its own token; over an older epoch it was the
    newest on a history that the target lost, so it registers again. Raises FencedError when another worker's
    registration is as new or newer.
    """
    if mine.epoch == 0:
        return max(written, 0 if fence is None else fence.epoch) + 1
    if fence is None:
        if written > mine.epoch:
            raise _fenced(written, mine)
        return mine.epoch + 1
    if fence.token == mine.token:
        return max(mine.epoch, fence.epoch)
    if fence.epoch < mine.epoch:
        return mine.epoch + 1
    raise _fenced(fence.epoch, mine)


def _fenced(epoch: int, mine: Identity) -> FencedError:
    return FencedError(
        f"a newer worker of this name registered with the target (epoch {epoch}, mine was {mine.epoch})",
        hint="only one worker of a name writes: give each replication its own name (SHAKER_NAME)",
    )


def connections_to_kill(clients: str, *, name: str, own: int, fence: Fence | None, run_id: str) -> list[int]:
    """Return the ids of the connections that must no longer write.

    `clients` is the reply to CLIENT LIST: writers are found by the name they gave themselves, so that one is found
    even when the fence was lost. The fence's own connection counts only on the server run it was made on: ids
    start over with the server.
    """
    prefix = f"name={writer_prefix(name)}"
    found = set()
    for line in clients.splitlines():
        words = line.split(" ")
        if any(word.startswith(prefix) for word in words):
            ident = next((word[3:] for word in words if word.startswith("id=")), "")
            if ident.isdigit():
                found.add(int(ident))
    if fence is not None and fence.run_id == run_id and fence.connection:
        found.add(fence.connection)
    found.discard(own)
    return sorted(found)
