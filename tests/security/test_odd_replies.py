"""Control connections trust nothing: whatever kind of reply comes, the connection counts as lost, the worker lives."""

from __future__ import annotations

import pytest

from tests.support.compare import differences
from tests.support.relay import Relay
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

SETTINGS = {"SHAKER_RETRY__MAX_SECONDS": "0.2"}
# What is asked on connections that neither write nor replicate, by side, once the stream flows.
ASKED = {
    "source": (b"INFO", b"TIME", b"CONFIG", b"MULTI", b"PEXPIRETIME", b"DUMP", b"MEMORY", b"EXEC"),
    "target": (b"INFO", b"TIME", b"SELECT", b"SCARD", b"SRANDMEMBER", b"EXISTS"),
}
ODD = {
    "a number": b":5\r\n",
    "nothing": b"$-1\r\n",
    "a status": b"+fine\r\n",
    "text": b"$4\r\n\xff\r\n\x00\r\n",
    "an array of numbers": b"*2\r\n:-1\r\n:-1\r\n",
    "nested arrays": b"*1\r\n*2\r\n*-1\r\n$0\r\n\r\n",
    "an error": b"-ERR no\r\n",
    "no reply": b"\r\n\r\n",
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("side", ASKED)
def test_an_odd_reply(side: str, odd: str, source: Server, target: Server) -> None:
    """To each of the commands in turn, while keys wait to be settled; at the end all is well again."""
    broken: set[bytes] = set()

    def answering(arguments: list[bytes], data: bool) -> bytes | None:
        return ODD[odd] if not data and arguments[0] in broken else None

    real = {"source": source, "target": target}
    with Relay(real[side], answering) as relay:
        urls = {name: relay.url if name == side else server.url for name, server in real.items()}
        with Worker(urls["source"], urls["target"], **SETTINGS) as worker:
            worker.wait_state("streaming")
            for number, name in enumerate(ASKED[side]):
                broken.add(name)
                before = relay.answered
                source.client(db=3).set(f"k{number}", 1, px=60_000)
                target.client(db=3).sadd("shaker:expiring:default", f"k{number}")
                if name in (b"INFO", b"TIME"):
                    wait_until(lambda before=before: relay.answered > before, f"{name!r} to be asked")  # type: ignore[misc]
                assert worker.returncode is None, worker.describe()
                assert worker.get("/livez")[0] == 200
                broken.clear()
            source.client(db=3).incr("a")
            worker.wait_applied(source)
            worker.wait_state("streaming")
            assert "Traceback" not in "\n".join(worker.output)
    assert differences(source, target) == []
