"""Write the golden files: `python -m tests.codec.values.make_golden` asks every server at hand for its dumps.

A file is named type_encoding_server: the payload of DUMP, and beside it as JSON what the server's own commands tell
of the value. Of `crafted` ones the bytes are written by hand, for encodings that no server at hand writes; a server
has restored them and tells their content.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import redis

from tests.support.servers import SOURCES, Server, find
from tests.support.value_bytes import CRAFTED
from tests.support.value_content import from_server

GOLDEN = Path(__file__).parent / "golden"
KEY = "k"
FAR = 4102444800123  # 2100
LIBRARY = "#!lua name=lib\nredis.register_function('answer', function() return 42 end)\n"
NUMBERS = (
    *(0, 12, 13, 63, 127, 128, -1, -128, -129, 4095, -4096, 4096, 32767, -32768, 32768, 8388607, -8388608, 8388608),
    *(2147483647, -2147483648, 2147483648, 9223372036854775807, -9223372036854775808),
)
NOISE = random.Random(14)
Case = Callable[[redis.Redis], object]


def noise(size: int) -> bytes:
    """Bytes that no server compresses."""
    return NOISE.randbytes(size)


def mixed() -> list[bytes]:
    """Every form of number and string that small encodings know."""
    numbers = [b"%d" % number for number in NUMBERS]
    odd = [b"", b"-0", b"007", b"1e5", b"9223372036854775808", bytes(range(256))]
    return numbers + odd + [noise(size) for size in (1, 62, 63, 64, 126, 127, 128, 253, 254, 300)]


def strings(client: redis.Redis) -> dict[str, Case]:
    """Plain strings."""
    values = {
        "empty": b"", "int8": b"-128", "int16": b"32767", "int32": b"-2147483648", "int64": b"9223372036854775807",
        "raw": bytes(range(256)), "long": noise(16_390), "lzf": b"ab" * 300 + b"c" * 500,
    }  # fmt: skip
    return {f"string_{name}": lambda c, value=value: c.set(KEY, value) for name, value in values.items()}  # type: ignore[misc]


def scores() -> dict[bytes, float]:
    """Scores of all sizes."""
    values = [0.0, -0.0, 1.0, -1.5, 0.1, 1 / 3, 1e300, 5e-324, -1.7976931348623157e308, 2.0**53, 123456789.125]
    return {b"m%d" % n: v for n, v in enumerate(values)} | {b"high": float("inf"), b"low": float("-inf")}


def collections(client: redis.Redis) -> dict[str, Case]:
    """Lists, sets, hashes and sorted sets, small and large."""
    small = {b"f%d" % n: value for n, value in enumerate(value for value in mixed() if len(value) < 64)}
    large = {value + b":%d" % n: value for n, value in enumerate(mixed())}
    return {
        "list_small": lambda c: c.rpush(KEY, *mixed()),
        "list_big-elements": lambda c: c.rpush(KEY, b"a", noise(4090), b"1", noise(4100), b"z" * 17_000),
        "list_nodes": lambda c: c.rpush(KEY, *[noise(600) for _ in range(20)]),
        "set_int16": lambda c: c.sadd(KEY, *range(-5, 5)),
        "set_int32": lambda c: c.sadd(KEY, *range(-5, 5), 70_000),
        "set_int64": lambda c: c.sadd(KEY, *NUMBERS),
        "set_small": lambda c: c.sadd(KEY, "a", "b", 3, -70_000, ""),
        "set_large": lambda c: c.sadd(KEY, *mixed()),
        "zset_small": lambda c: c.zadd(KEY, scores()),
        "zset_large": lambda c: c.zadd(KEY, scores() | {noise(80): 3.0}),
        "hash_small": lambda c: c.hset(KEY, mapping=small),  # type: ignore[arg-type]
        "hash_large": lambda c: c.hset(KEY, mapping=large),  # type: ignore[arg-type]
    }


def fill_stream(c: redis.Redis) -> None:
    """Entries of the same and of other fields, deleted ones, groups, consumers, pending entries."""
    for n in range(230):
        c.xadd(KEY, {"field": n, "other": "x" * (n % 40)}, id=f"{1000 + n}-{n % 3}")
    c.xadd(KEY, {"another": noise(200), "field": -5, "third": ""}, id="5000-18446744073709551615")
    c.xadd(KEY, {"field": 1}, id="9223372036854775808-7")
    for gone in ("1005-2", "1100-1", "1001-1"):
        c.xdel(KEY, gone)
    for group, last in (("all", "0"), ("middle", "1050"), ("none", "$"), (b"\x00\xff", "1-1")):
        c.xgroup_create(KEY, group, last)
    c.xreadgroup("all", "alice", {KEY: ">"}, count=30)
    c.xreadgroup("all", "bob", {KEY: ">"}, count=7)
    c.xreadgroup("middle", b"carol \xff", {KEY: ">"}, count=3)
    c.xack(KEY, "all", "1003-0", "1004-1")
    c.xclaim(KEY, "all", "carol", 0, ["1006-0"], retrycount=7, time=1_600_000_000_000)  # type: ignore[list-item]
    c.xdel(KEY, "1007-1", "1008-2")
    c.xreadgroup("none", "idle", {KEY: ">"})


def fill_trimmed(c: redis.Redis) -> None:
    """Pending entries whose entries were trimmed away."""
    for n in range(1, 30):
        c.xadd(KEY, {"a": n}, id=f"{n}-1")
    c.xgroup_create(KEY, "g", "0")
    c.xreadgroup("g", "one", {KEY: ">"}, count=20)
    c.xtrim(KEY, maxlen=12, approximate=False)


def fill_empty(c: redis.Redis) -> None:
    """A stream whose entries are gone."""
    c.xadd(KEY, {"a": 1}, id="5-5")
    c.xadd(KEY, {"a": 1}, id="6-5")
    c.xdel(KEY, "6-5", "5-5")


def streams(client: redis.Redis) -> dict[str, Case]:
    """Streams."""
    return {
        "stream_groups": fill_stream,
        "stream_trimmed": fill_trimmed,
        "stream_empty": fill_empty,
        "stream_only-group": lambda c: c.xgroup_create(KEY, "g", "$", mkstream=True),
        "stream_plain": lambda c: [c.xadd(KEY, {"f": n, "g": noise(90)}, id=f"{n}-1") for n in range(1, 200)],
    }


def expiring(client: redis.Redis) -> dict[str, Case]:
    """Hashes whose fields expire."""

    def fill(c: redis.Redis, value: bytes) -> None:
        c.hset(KEY, mapping={b"f%d" % n: value + b"%d" % n for n in range(20)})  # type: ignore[arg-type]
        for n in range(0, 20, 3):
            c.execute_command("HPEXPIREAT", KEY, FAR - 7 * n, "FIELDS", 1, f"f{n}")

    return {
        "hash_expiring-small": lambda c: fill(c, b"v"),
        "hash_expiring-large": lambda c: fill(c, noise(80)),
    }


def cases(server: Server) -> dict[str, Case]:
    """All cases that a server can make."""
    client = server.client()
    NOISE.seed("cases")
    found = strings(client) | collections(client) | streams(client)
    if server.name in ("redis-8.0", "valkey-9.1"):
        found |= expiring(client)
    if server.name not in ("redis-5.0", "redis-6.2"):

        def plain(c: redis.Redis) -> None:
            c.execute_command("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "200b")
            c.rpush(KEY, b"a", noise(300), b"b", b"c" * 400)
            c.execute_command("DEBUG", "QUICKLIST-PACKED-THRESHOLD", "0")

        found["list_plain-nodes"] = plain
    return found


def write(name: str, payload: bytes, content: object) -> None:
    """Write one golden file with its content."""
    (GOLDEN / f"{name}.dump").write_bytes(payload)
    (GOLDEN / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False) + "\n")


def make(server: Server) -> None:
    """Write all files of one server."""
    client = server.client()
    for name, fill in cases(server).items():
        NOISE.seed(name)
        client.delete(KEY)
        fill(client)
        write(f"{name}_{server.name}", client.execute_command("DUMP", KEY), from_server(client, KEY))
    if server.name not in ("redis-5.0", "redis-6.2"):
        client.execute_command("FUNCTION", "LOAD", LIBRARY)
        content = {"type": "functions", "value": [LIBRARY]}
        write(f"functions_library_{server.name}", client.execute_command("FUNCTION", "DUMP"), content)
    if server.name == "redis-8.0":
        client.delete(KEY)
        client.execute_command("VADD", KEY, "VALUES", 3, 0.1, 1, 0.25, "element", "SETATTR", '{"a":1}')
        write(f"module_vectorset_{server.name}", client.execute_command("DUMP", KEY), {"type": "module"})


def make_crafted() -> None:
    """Write the files of encodings that no server at hand writes, as a server understands them."""
    for program, crafted in CRAFTED.items():
        with Server(program) as server:
            for name, payload in crafted.items():
                client = server.client()
                client.delete(KEY)
                client.execute_command("RESTORE", KEY, 0, payload)
                write(f"{name}_crafted", payload, from_server(client, KEY))


def main() -> int:
    """Write all files of the servers that this machine has."""
    GOLDEN.mkdir(exist_ok=True)
    for name in sys.argv[1:] or [name for name in SOURCES if find(name)]:
        with Server(name) as server:
            make(server)
    make_crafted()
    return 0


if __name__ == "__main__":
    sys.exit(main())
