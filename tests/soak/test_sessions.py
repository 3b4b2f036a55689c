"""The sessions' comparison names each kind of difference, and other work on the machine ends with its user."""

from __future__ import annotations

import os

import pytest

from tests.soak.busy import Busy
from tests.soak.renewing import DATABASES, FIELDS, Sessions
from tests.soak.sessions import LAST_TTL, WRONG, _compare
from tests.support.servers import Server, wait_until


def test_each_difference_is_named() -> None:
    """Copies are equal; a session lost, rebuilt, doubled, left over or without an expiry is counted."""
    with Server() as source, Server() as target:
        sessions = Sessions(source, 40, seed=1)
        sessions.renew_all(LAST_TTL)
        target.replicate(source)
        target.detach()
        seen = _compare(source, target)
        assert {kind: seen[kind] for kind in WRONG} == dict.fromkeys(WRONG, 0)

        client = target.client(db=DATABASES[1])
        strings, hashes = (sorted(client.scan_iter(f"{kind}:*")) for kind in ("string", "hash"))
        client.delete(strings[0])
        client.delete(hashes[0])
        client.hset(hashes[0], "language", "en-0")
        client.hincrby(hashes[1], "renewals", 1)
        client.persist(strings[1])
        client.set("string:100", "v")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("tests.soak.sessions.GRACE", 0.1)
            seen = _compare(source, target)
        assert {kind: seen[kind] for kind in WRONG} == dict.fromkeys(WRONG, 1)


def test_sessions_are_renewed_in_their_last_moment() -> None:
    """Half of the renewals come when less than half a second is left, of both kinds, and the sessions live on."""
    with Server() as source:
        sessions = Sessions(source, 40, seed=1)
        for _ in range(5):  # a busy machine renews less often
            sessions.keep_alive(6)
            if sessions.later >= 10:
                break
        assert sessions.later >= 10
        assert 0 < sessions.by_getex < sessions.renewals
        sessions.renew_all(LAST_TTL)
        clients = [source.client(db=database) for database in DATABASES]
        assert sum(client.dbsize() for client in clients) >= 40
        assert all(client.hlen(key) == len(FIELDS) for client in clients for key in client.scan_iter("hash:*"))


def test_other_work_ends_with_its_user() -> None:
    """The processors are used while it is wanted; then none of its processes is left."""
    with Busy(2) as busy:
        pids = [process.pid for process in busy.processes]
        wait_until(lambda: all(_ticks(pid) > 5 for pid in pids), "the processes to compute")
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def _ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[11])
