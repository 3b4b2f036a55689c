"""Servers of every version agree with the forms in which the worker sends expiries."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from shaker.codec.resp.replies import encode
from shaker.rules.expiring_commands import NOTED
from shaker.rules.expiry import NEVER, rewrite
from tests.rules.conftest import exchange
from tests.support.expiry_forms import (
    AT,
    BEHIND,
    FORMS,
    NOW,
    UNTIL,
    Command,
    Form,
    words,
)
from tests.support.servers import NAMES, Server

NEW = tuple(name for name in NAMES if name != "redis-6.2")
FIELDS = ("redis-8.0", "valkey-9.1")


# What the servers know, beginning with commands: others they refuse both ways.
KNOWN: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT", "HSETEX", "HGETEX", "HPERSIST"), FIELDS),
    "MSETEX": ("valkey-9.1",),
}


OPTIONS: dict[str, tuple[str, ...]] = {
    "IFEQ": ("valkey-8.1", "valkey-9.1"),
    **dict.fromkeys(("gt", "EXPIRE k 100 NX"), NEW),
}


REAL_FORMS = [
    *(one for one in FORMS if one.real),
    Form("SET k v EX 100 XX", f"SET k v PXAT {AT}"),
    Form("MSETEX 2 k v l w XX PX 100000", f"MSETEX 2 k v l w PXAT {AT}"),
]


def knows(server: str, command: str) -> bool:
    """Whether a server knows a command with these options."""
    return server in KNOWN.get(command.split()[0].upper(), NAMES) and all(
        server in names for option, names in OPTIONS.items() if option in command
    )


def prepare(server: Server) -> bytes:
    """Give the server the keys that the forms are about; return a payload for RESTORE."""
    client = server.client()
    client.flushall()
    client.mset({"k": "PX", "l": "v"})
    client.hset("h", mapping={"f": "v", "GT": "v", "EX": "v", "PX": "v", "NX": "v", "FXX": "v"})
    payload = client.dump("k")
    assert isinstance(payload, bytes)
    return payload


def expiries(server: Server) -> dict[str, Any]:
    """Return when each key and field expires, in Unix milliseconds, rounded to what asking takes."""
    client = server.client()
    now = time.time() * 1000
    found: dict[str, Any] = {key: now + left if (left := client.pttl(key)) >= 0 else left for key in ("k", "l")}
    if server.name in FIELDS:
        names = sorted(client.hkeys("h"))
        for name, at in zip(
            names, client.execute_command("HPEXPIRETIME", "h", "FIELDS", len(names), *names) or [], strict=True
        ):
            found[f"h.{name}"] = at
    return found


def shifted(command: str, by: int, payload: bytes) -> Command:
    """The command with its absolute times moved to the real present, and a real payload."""
    for at in (AT, UNTIL):
        command = command.replace(str(at), str(at + by)).replace(str(at // 1000), str((at + by) // 1000))
    return [payload if word == b"p" else word for word in words(command)]


@pytest.mark.parametrize("name", NAMES)
def test_servers_agree(name: str, shared: Callable[[str], Server]) -> None:
    """What a form becomes is accepted by each server that knows it, and leads to the same expiry, or to `until`."""
    server = shared(name)
    seen = 0
    for one in REAL_FORMS:
        if not knows(name, one.command):
            continue
        now = time.time_ns() // 1_000_000
        by = (now - NOW) // 1000 * 1000
        times = BEHIND._replace(written=now, near=NEVER)
        late = times._replace(near=now + 600_000, until=now + 86_400_000)
        outcomes = []
        for treat in (None, times, late):
            payload = prepare(server)
            command = shifted(one.command, by, payload)
            if command[0] == b"RESTORE" and b"REPLACE" not in command:
                server.client().delete("k")
            if b"NX" in command[:6] and command[0] == b"SET":
                server.client().delete("k")
            if b"FNX" in command:
                server.client().hdel("h", "f")
            if b"gt" in command and command[1] == b"k":
                server.client().pexpire("k", 10_000)
            elif b"gt" in command:
                server.client().execute_command("HPEXPIRE", "h", 10_000, "FIELDS", 1, "f")
            data = encode(*command)
            if treat is not None:
                data = rewrite(data, treat, any_waiting=False).data
            [reply] = exchange(server, data, 1)
            assert not isinstance(reply, Exception), (command, reply)
            outcomes.append((expiries(server), reply))
        original, same, put_off = outcomes
        assert same[1] == original[1], one.command
        assert original[0].keys() == same[0].keys() == put_off[0].keys()
        changed = 0
        for key, at in original[0].items():
            if at < 0:
                assert same[0][key] == put_off[0][key] == at, (one.command, key)
            else:
                changed += 1
                assert abs(same[0][key] - at) < 3000, (one.command, key)
                assert abs(put_off[0][key] - late.until) < 3000, (one.command, key)
        assert changed, one.command
        seen += 1
    assert seen >= 20


@pytest.mark.parametrize("name", NAMES)
def test_what_a_server_propagates_is_noted(name: str, server: Callable[..., Server]) -> None:
    """Each way to renew an expiry on a source reaches the worker as a command that it knows."""
    source, replica = server(name), server(name)
    client = source.client()
    replica.replicate(source)
    tried = [
        "GETEX k EX 100", "GETEX k PERSIST", "EXPIRE k 100", "EXPIRE k 200 GT", "PERSIST k", "SETEX k 100 v",
        "PEXPIREAT k 4102444800000", "SET k v PX 100000", "SET k v KEEPTTL", "SET k w XX", "SET k v IFEQ w",
        "HEXPIRE h 100 FIELDS 1 f", "HPERSIST h FIELDS 1 f", "HGETEX h PX 100000 FIELDS 1 f",
        "HGETEX h PERSIST FIELDS 1 f", "HSETEX h EX 100 FIELDS 1 f v", "HSETEX h FXX FIELDS 1 f v",
        "HSETEX h KEEPTTL FIELDS 1 f v", "MSETEX 1 k v EX 100", "MSETEX 1 k v XX", "MSETEX 1 k v KEEPTTL",
        "COPY k c", "RENAME c d", "MOVE d 3", "COPY k e DB 3",
    ]  # fmt: skip
    client.mset({"k": "v"})
    client.hset("h", "f", "v")
    replica.wait_replica(source)
    propagated = []
    with replica.client().monitor() as monitor:
        for text in tried:
            reply = exchange(source, encode(*words(text)), 1)[0]
            if not isinstance(reply, Exception):
                client.set("mark", text)
                found = []
                while not (line := monitor.next_command()["command"]).startswith("SET mark"):
                    found.append(line)
                propagated.append((text, [line for line in found if not line.startswith(("PING", "SELECT"))]))
    assert len(propagated) >= (13 if name == "redis-6.2" else 14)
    for text, lines in propagated:
        assert len(lines) == 1, (text, lines)
        line = lines[0]
        command = words(line)
        if text in ("HSETEX h FXX FIELDS 1 f v",) and name == "valkey-9.1":
            assert line == "HSETEX h FIELDS 1 f v"  # without its condition it only writes
            continue
        note = NOTED.get(command[0].upper())
        assert note is not None, line
        assert len(command) >= note.least, line
