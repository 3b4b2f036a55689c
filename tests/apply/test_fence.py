"""Who may write: epochs and tokens, and whose connections end."""

from __future__ import annotations

import pytest

from shaker.apply.fence import Identity, connections_to_kill, next_epoch
from shaker.apply.records import Fence
from shaker.errors import FencedError


def fence(epoch: int, token: str = "other") -> Fence:
    return Fence(epoch, token, 7, "run")


@pytest.mark.parametrize(
    ("mine", "found", "expected"),
    [
        (0, None, 1),  # the first worker of all
        (0, fence(4), 5),  # a new worker takes over
        (0, fence(4, "mine"), 5),  # tokens do not repeat: even then it is a new registration
        (5, None, 6),  # the record is lost: evicted, deleted, or a target that lost its data
        (5, fence(5, "mine"), 5),  # my own reconnect
        (5, fence(4), 6),  # an older one on a history that the target lost: I was the newest
        (5, fence(4, "mine"), 5),  # my own older record, on such a history
    ],
)
def test_the_epoch_to_register_with(mine: int, found: Fence | None, expected: int) -> None:
    """A new worker takes over, a registered one goes on unless another one is as new or newer."""
    assert next_epoch(Identity("mine", mine), found) == expected


@pytest.mark.parametrize("epoch", [5, 6, 100])
def test_a_newer_worker_fences(epoch: int) -> None:
    """The same or a higher epoch with another token belongs to somebody else."""
    with pytest.raises(FencedError) as caught:
        next_epoch(Identity("mine", 5), fence(epoch))

    assert caught.value.exit_code == 6
    assert not caught.value.retry


def test_two_workers_with_one_epoch_do_not_both_go_on() -> None:
    """After the target lost a registration two workers can have one epoch: the tokens tell them apart."""
    b, c = Identity("b", 5), Identity("c", 5)
    record = Fence(5, "c", 9, "run")

    assert next_epoch(c, record) == 5
    with pytest.raises(FencedError):
        next_epoch(b, record)


def test_tokens_do_not_repeat() -> None:
    """Each worker has a token of its own and no epoch yet."""
    identities = [Identity.new() for _ in range(100)]

    assert len({identity.token for identity in identities}) == 100
    assert {identity.epoch for identity in identities} == {0}


CLIENTS = "\n".join(
    (
        "id=3 addr=127.0.0.1:1 laddr=127.0.0.1:2 fd=8 name= age=1 db=0",
        "id=4 addr=127.0.0.1:1 laddr=127.0.0.1:2 fd=8 name=shaker-writer:default:aa age=1 db=0",
        "id=5 addr=127.0.0.1:1 laddr=127.0.0.1:2 fd=8 name=shaker-writer:default:bb age=1 db=0",
        "id=6 addr=127.0.0.1:1 laddr=127.0.0.1:2 fd=8 name=shaker-writer:default2:cc age=1 db=0",
        "id=8 addr=127.0.0.1:1 laddr=127.0.0.1:2 fd=8 name=shaker-writer:defaul age=1 db=0 lib-name=shaker-writer",
        "id=9 addr=127.0.0.1:1 laddr=127.0.0.1:2 fd=8 name=x age=1 lib-name=shaker-writer:default:dd",
        "",
    )
)


@pytest.mark.parametrize(
    ("found", "run_id", "expected"),
    [
        (None, "run", [4, 5]),  # by name alone: the fence was lost
        (fence(1), "run", [4, 5, 7]),  # and by the fence
        (fence(1), "another run", [4, 5]),  # whose ids mean nothing on another run of the server
        (Fence(1, "t", 0, "run"), "run", [4, 5]),
    ],
)
def test_connections_that_end(found: Fence | None, run_id: str, expected: list[int]) -> None:
    """Writers of this name and no other, found by the name they gave themselves and by the fence."""
    assert connections_to_kill(CLIENTS, name="default", own=99, fence=found, run_id=run_id) == expected


def test_the_own_connection_stays() -> None:
    """A registration never ends itself, though it has the name of a writer and may stand in the fence."""
    assert connections_to_kill(CLIENTS, name="default", own=4, fence=Fence(1, "t", 4, "run"), run_id="run") == [5]
