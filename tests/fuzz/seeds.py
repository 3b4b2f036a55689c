"""What a fuzzer begins with, bytes that are right: `python -m tests.fuzz.seeds CORPUS` writes a folder a target."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from shaker.codec.resp.replies import encode
from tests.support.rdb_bytes import length, rdb, string
from tests.support.servers import NAMES, Server, cli

SMALL = rdb(
    b"\xfa" + string(b"redis-ver") + string(b"7.0.15") + b"\xfe\x00\xfb\x04\x01"
    b"\x00" + string(b"key") + string(b"value") + b"\x00" + string(b"compressed") + b"\xc3\x04\x0a\x01aa\xe0"
    b"\x01" + string(b"list") + length(2) + string(b"one") + string(b"two")
)  # fmt: skip
HANDSHAKE = b"$20\r\nredis_version:7.0.15\r\n+OK\r\n+OK\r\n+FULLRESYNC " + b"a" * 40 + b" 1\r\n"
STREAM = b"".join(
    (
        encode("SELECT", "0"),
        encode("MULTI"),
        encode("SET", "key", "value"),
        encode("exec"),
        encode("PING"),
        encode("SWAPDB", 0, 1),
        encode("HSET", "shaker:checkpoint:default", "offset", "1"),
        encode("REPLCONF", "GETACK", "*"),
    )
)
SEEDS = {
    "snapshot": b"\x05" + SMALL,
    "stream": b"\x07" + STREAM,
    "session": b"\x24" + HANDSHAKE + b"$%d\r\n" % len(SMALL) + SMALL + STREAM,
    "replies": b"\x03+OK\r\n*2\r\n:1\r\n*1\r\n$3\r\nabc\r\n-ERR no\r\n$-1\r\n*-1\r\n",
    "lzf": b"\x00\x0a\x01aa\xe0\x00\x01\x00",
}


def snapshot_of(server: Server) -> bytes:
    """Return the snapshot of an empty server after a few writes of each type, in several encodings."""
    client = server.client()
    client.mset({"number": 1, "long": "x" * 100})
    client.set("expires", 1, px=100_000_000)
    client.rpush("list", *range(20))
    client.rpush("long:list", "y" * 200)
    client.sadd("numbers", 1, 2, 3)
    client.sadd("words", "a", "b")
    client.zadd("scores", {"a": 1.5, "b": 2})
    client.hset("hash", mapping={"field": "value", "long": "w" * 90})
    client.hset("table", mapping={f"field:{number}": "z" for number in range(140)})
    client.xadd("stream", {"field": "value"})
    client.xgroup_create("stream", "group", 0)
    server.client(db=2).set("elsewhere", 1)
    path = server.directory / "seed.rdb"
    subprocess.run([cli(), "-p", str(server.port), "--rdb", str(path)], check=True, capture_output=True)
    return path.read_bytes()


def main() -> None:
    """Write all seeds below the folder that is named."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m tests.fuzz.seeds CORPUS")
    corpus = Path(sys.argv[1])
    seeds = [(target, "small", data) for target, data in SEEDS.items()]
    for name in NAMES:
        with Server(name) as server:
            snapshot = snapshot_of(server)
        answer = HANDSHAKE + b"$%d\r\n" % len(snapshot) + snapshot + STREAM
        seeds += [("snapshot", name, b"\x20" + snapshot), ("session", name, b"\x24" + answer)]
    for target, name, data in seeds:
        (corpus / target).mkdir(parents=True, exist_ok=True)
        (corpus / target / name).write_bytes(data)


if __name__ == "__main__":
    main()
