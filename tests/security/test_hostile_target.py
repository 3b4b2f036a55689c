"""A target, or what stands at its address, that means harm: told, tried again or refused, and bounded."""

from __future__ import annotations

import time

import pytest

from shaker.codec.resp.replies import encode
from tests.security.peers import Answer, HostilePeer, at_once, bulk, for_ever, then_ends
from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.worker import Worker, peak_bytes

LIMIT = 250 * 1024 * 1024
PATIENCE = 3.0
SETTINGS = {
    "SHAKER_TARGET__TIMEOUT_SECONDS": "1",
    "SHAKER_RETRY__MAX_SECONDS": "0.5",
    "SHAKER_DRAIN_TIMEOUT_SECONDS": "2",
    "SHAKER_LOG__LEVEL": "debug",
}
INFO = b"redis_version:7.0.15\r\nrun_id:" + b"c" * 40 + b"\r\nrole:master\r\nmaster_replid:" + b"d" * 40 + b"\r\n"
MANY = 1 << 20
FIRSTS: dict[str, Answer] = {
    "nothing": at_once(b""),
    "the end": then_ends(b""),
    "garbage": for_ever(b"", bytes(range(256)) * 1000),
    "a line without an end": for_ever(b"", b"x" * MANY),
    "an error without an end": for_ever(b"-", b"x" * MANY),
    "a string without an end": for_ever(b"$999999999999\r\n", b"x" * MANY),
    "a string drop by drop": for_ever(b"$1000000\r\n", b"x", 0.2),
    "an array of 2 ** 32": for_ever(b"*4294967295\r\n", b"*0\r\n" * 100_000),
    "nested arrays": for_ever(b"", b"*1\r\n" * 100_000),
    "a length beyond numbers": at_once(b"$" + b"9" * 100 + b"\r\n"),
    "replies that nobody asked for": for_ever(b"", b"+OK\r\n" * 10_000),
    "HTTP": then_ends(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
}


def endure(worker: Worker, seconds: float = PATIENCE) -> None:
    """Watch a worker for a while, then stop it: alive, not ready, bounded, and no traceback."""
    deadline = time.monotonic() + seconds
    while worker.returncode is None and time.monotonic() < deadline:
        code, body = worker.get("/livez")
        assert code == 200, body
        assert worker.get("/readyz")[0] == 503
        assert peak_bytes(worker.pid) < LIMIT
        time.sleep(0.05)
    assert worker.returncode in (None, 3), worker.describe()
    worker.terminate()
    assert worker.wait_ended() in (0, 3, 75)
    text = "\n".join(worker.output)
    assert "Traceback" not in text, text[-3000:]
    assert max(map(len, worker.output)) < 20_000


@pytest.mark.parametrize("name", FIRSTS)
def test_a_greeting_that_means_harm(name: str, source: Server) -> None:
    with HostilePeer(first=FIRSTS[name]) as target, Worker(source, target.url, **SETTINGS) as worker:
        worker.wait(lambda: worker.events("link failed"), "the failure in the log", 10)
        endure(worker)


ROWS = b"*2\r\n*6\r\n$3\r\nget\r\n:2\r\n:5\r\n$1\r\nx\r\n*0\r\n$-1\r\n*7\r\n" + b":1\r\n" * 7
KINDS = [
    ROWS,
    b":1\r\n",
    b"*0\r\n",
    b"*-1\r\n",
    b"$-1\r\n",
    b"$3\r\nabc\r\n",
    b"*3\r\n:1\r\n*0\r\n$-1\r\n",
    b"-ERR no\r\n",
]


@pytest.mark.parametrize("reply", KINDS)
@pytest.mark.parametrize(
    "command", [b"INFO", b"COMMAND", b"CLIENT", b"HGETALL", b"EXISTS", b"WATCH", b"EXEC", b"CONFIG"]
)
def test_a_reply_of_another_kind_at_the_registration(command: bytes, reply: bytes, source: Server) -> None:
    replies = {
        b"INFO": bulk(INFO),
        b"COMMAND": b"*1\r\n*6\r\n$3\r\nget\r\n:2\r\n*0\r\n:1\r\n:1\r\n:1\r\n",
        b"CLIENT": b":7\r\n",
        b"HGETALL": b"*0\r\n",
        b"EXISTS": b":0\r\n",
        b"EXEC": b"*2\r\n:1\r\n*0\r\n",
        b"CONFIG": b"*0\r\n",
    } | {command: reply}
    with HostilePeer(replies=replies) as target, Worker(source, target.url, **SETTINGS) as worker:
        worker.wait(lambda: worker.events("link failed") or worker.returncode is not None, "the refusal", 10)
        worker.terminate()
        assert worker.wait_ended() in (0, 3, 75)
        text = "\n".join(worker.output)
        assert "Traceback" not in text, text[-3000:]


class Replacing(Proxy):
    """A proxy that puts bytes of its own in place of the next ones from the server."""

    instead = b""

    async def _forward(self, data, writer, direction):  # type: ignore[no-untyped-def]
        if direction == "down" and self.instead:
            data, self.instead = self.instead, b""
        await super()._forward(data, writer, direction)


@pytest.mark.parametrize(
    "data",
    [
        b"+QUEUED\r\n" * 1000,
        b"\x00\x01\x02\r\n",
        b"-ERR unknown\r\n",
        b"*9999999\r\n",
        b"$5\r\nhello\r\n",
        b":1\r\n" * 3,
        b"+" + b"x" * 100_000,
        encode("PING"),
        b"$" + b"9" * 25 + b"\r\n",
    ],
)
def test_wrong_replies_in_the_stream(data: bytes, source: Server, target: Server) -> None:
    """After a reply that cannot be none is trusted: the next connection asks the checkpoint, nothing is lost."""
    client = source.client()
    with Replacing(target) as proxy, Worker(source, proxy.url, **SETTINGS) as worker:
        worker.wait_state("streaming")
        client.incr("counter")
        worker.wait_applied(source)
        proxy.instead = data
        for _ in range(20):
            client.incr("counter")
        worker.wait_applied(source)
        worker.wait_state("streaming")
        assert target.client().get("counter") == b"21"
        assert worker.status()["rejected_commands"] == 0
        assert "Traceback" not in "\n".join(worker.output)
