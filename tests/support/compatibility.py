"""Which data pass between which servers, and the page that says so: `python -m tests.support.compatibility`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import redis

from tests.support.servers import NAMES, SOURCES

PAGE: Final = Path(__file__).parents[2] / "docs" / "compatibility.md"
FAR: Final = 600_000  # milliseconds: no key expires within a test
LIBRARY: Final = "#!lua name=compatible\nredis.register_function('compatible', function() return 1 end)"


class Feature(NamedTuple):
    """Data that only some servers hold. `reason` is in the error that refuses them, `effect` what skip leaves out."""

    title: str
    servers: frozenset[str]
    reason: str
    effect: str
    write: Callable[[redis.Redis], object]


BEGINNING: Final = """\
# Compatibility

`python -m tests.support.compatibility` writes this page. `tests/e2e/test_compatibility.py` runs each pair below with
all types of values, in the snapshot and in the stream.

- **equal**: all data of the source pass.
- **equal without** …: the target lacks these, and all other data pass. With them the worker ends with code 4 and names
  the key. With `target.on_unsupported=skip` it leaves them out and counts them in `unsupported_skipped`.
"""
END: Final = """\
## How values pass

- A value goes by `RESTORE` where the target takes its payload. The payload has the lowest RDB version of its type.
- Otherwise the value is decoded and built by commands of at most 64 KiB under the key `shaker:building:<name>`. That
  key is renamed when the value is complete, so readers see the old value or the new one.
- A collection above `target.restore_limit` (32 MiB) is built the same way, while it arrives; one that is no list also
  above 2 MiB. A string above the limit goes by one `SET`.
- Streams keep ids, groups, consumers, pending entries and counters. Two things are lost: the times at which consumers
  were last seen, and counters that targets before Redis 7.0 do not have.
- To memory policies, a value that was built is new: only `RESTORE` carries `IDLETIME` and `FREQ`.

In the stream, `RESTORE` becomes such commands in the same transaction. `HSETEX`, `HGETDEL` and `MSETEX` become `HSET`,
`HPEXPIREAT`, `HDEL` and `SET`. `XGROUP` and `XSETID` lose counters that the target lacks. Any other command that the
target does not have is [rejected](operations.md#rejected-commands) by name.

The streams of Redis 8.6 and 8.8 (RDB types 26 and 27) and the path hashes of Valkey 9.2 (RDB version 81) are read by
what their sources say; no test had such a server. Types that Redis 8.8 added besides, key metadata of modules, and
commands within a snapshot (Valkey 9.2, a save without a fork) end the worker by name.

A target older than Redis 6.2 is refused with exit code 3.
"""


def _fields(client: redis.Redis) -> None:
    client.hset("fields", mapping={"a": "1", "b": "2", "c": "3"})
    client.execute_command("HPEXPIRE", "fields", FAR, "FIELDS", 2, "a", "b")
    client.hset("fields:large", mapping={f"field:{number}": "v" * 50 for number in range(600)})
    client.execute_command("HPEXPIRE", "fields:large", FAR, "FIELDS", 1, "field:7")


FEATURES: Final = {
    "fields": Feature(
        "hash fields that expire",
        frozenset(("redis-8.0", "valkey-9.1")),
        "hash fields that expire",
        "the expiries; the fields stay until the source deletes them",
        _fields,
    ),
    "functions": Feature(
        "functions",
        frozenset(NAMES) - {"redis-6.2"},
        "function libraries",
        "the libraries",
        lambda client: client.function_load(LIBRARY),
    ),
    "vector sets": Feature(
        "vector sets",
        frozenset(("redis-8.0",)),
        "vector sets",
        "the keys",
        lambda client: client.execute_command("VADD", "vectors", "VALUES", 3, 1, 2, 3, "element"),
    ),
}


def common(client: redis.Redis, prefix: str) -> None:
    """Write values of all types that every server has, in small and large encodings, with and without expiries."""
    client.set(f"{prefix}:string", "value" * 500)
    client.set(f"{prefix}:expiring", "value", px=FAR)
    client.setrange(f"{prefix}:bytes", 100, b"\x00\xff")
    client.rpush(f"{prefix}:list", *range(30), "text", "x" * 5000)
    client.rpush(f"{prefix}:list:large", *(f"element:{number}" for number in range(3000)))
    client.sadd(f"{prefix}:integers", *range(-5, 100, 7))
    client.sadd(f"{prefix}:set", "a", "b", 3)
    client.sadd(f"{prefix}:set:large", *(f"member:{number}" for number in range(1500)))
    client.zadd(f"{prefix}:zset", {"a": 1 / 3, "b": float("-inf"), "c": float("inf"), "d": 1e300, "e": -0.0})
    client.zadd(f"{prefix}:zset:large", {f"member:{number}": number / 7 for number in range(1000)})
    client.hset(f"{prefix}:hash", mapping={"a": 1, "text": "value", "": "empty"})
    client.pexpire(f"{prefix}:hash", FAR)
    client.hset(f"{prefix}:hash:large", mapping={f"field:{number}": "v" * 40 for number in range(1000)})
    client.pfadd(f"{prefix}:hyperloglog", *range(1000))
    client.geoadd(f"{prefix}:places", (13.36, 38.11, "Palermo"))
    stream(client, f"{prefix}:stream")


def stream(client: redis.Redis, key: str) -> None:
    """Write a stream with groups, consumers, pending and deleted entries."""
    for number in range(1, 300):
        client.xadd(key, {"number": number, "text": "value"}, id=f"{number}-1")
    for group in ("one", "two"):
        client.xgroup_create(key, group, "0")
        for consumer in ("alice", "bob"):
            client.xreadgroup(group, consumer, {key: ">"}, count=50)
    client.xdel(key, "1-1", "7-1", "60-1", "299-1")
    client.xack(key, "one", "9-1", "10-1")
    client.xtrim(key, maxlen=280, approximate=False)
    client.xgroup_create(key, "empty", "$")


def later(client: redis.Redis) -> None:
    """Write to the values of `common("snapshot")`, by commands that newer servers propagate in forms of their own."""
    client.rpush("snapshot:list", "more")
    client.lpop("snapshot:list:large")
    client.zincrby("snapshot:zset", 2.5, "a")
    client.spop("snapshot:set:large")
    client.hincrbyfloat("snapshot:hash", "a", 0.25)
    client.xreadgroup("one", "carol", {"snapshot:stream": ">"}, count=3)
    client.xreadgroup("two", "carol", {"snapshot:stream": ">"}, count=3, noack=True)
    client.xadd("snapshot:stream", {"late": 1}, maxlen=250, approximate=False)
    for name in ("list:large", "set", "zset:large", "hash", "stream"):
        payload = client.execute_command("DUMP", f"snapshot:{name}")
        client.execute_command("RESTORE", f"restored:{name}", FAR if name == "set" else 0, payload)


def refused(source: str, target: str) -> list[str]:
    """Return the features of the source that the target lacks."""
    return [
        name for name, feature in FEATURES.items() if source in feature.servers and target not in feature.servers
    ]


def page() -> str:
    """Return the page."""
    shown = {name: name.replace("-", " ").title() for name in SOURCES}
    lines = [
        *BEGINNING.splitlines(),
        "",
        "| from, to | " + " | ".join(shown[name] for name in NAMES) + " |",
        "| --- |" + " --- |" * len(NAMES),
    ]
    for source in SOURCES:
        cells = []
        for target in NAMES:
            lacking = refused(source, target)
            titles = ", ".join(FEATURES[each].title for each in lacking)
            cells.append(f"equal without {titles}" if lacking else "equal")
        lines.append(f"| {shown[source]} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "`skip` leaves out:",
        "",
        *(f"- {feature.title}: {feature.effect};" for feature in FEATURES.values()),
        "- path hashes of Valkey 9.2: the keys;",
        "- values of other modules: only where the target is known to lack the module, by its commands.",
        "",
        *END.splitlines(),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.exit(0)
