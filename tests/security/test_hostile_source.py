"""A source that means harm, before a whole worker and a real target: refused or tried again, never a crash."""

from __future__ import annotations

import time
from typing import NamedTuple

import pytest

from shaker.codec.resp.replies import encode
from tests.security.peers import (
    FULLRESYNC,
    INFO,
    MARK,
    SMALL,
    Answer,
    HostilePeer,
    at_once,
    bulk,
    for_ever,
    sized,
    then_ends,
)
from tests.support.rdb_bytes import string
from tests.support.servers import Server
from tests.support.worker import Worker, peak_bytes

LIMIT = 250 * 1024 * 1024  # bytes of memory that a worker takes, whatever comes
ENDS = 4  # the code for data that cannot be replicated faithfully
GOES_ON = None  # tried again, or waited for, until stopped
EITHER = -1  # it ends, or it goes on
PATIENCE = 3.0  # seconds that a worker is exposed to what has no end
SET = encode("SET", "key", "value")
MANY = 1 << 20


class Case(NamedTuple):
    """An answer to PSYNC, and what becomes of the worker."""

    answer: Answer
    outcome: int | None
    ready: bool = False  # what came so far was right, and a worker cannot know what will come


def flipped(data: bytes, place: int) -> bytes:
    """Return `data` with one bit changed."""
    changed = bytearray(data)
    changed[place] ^= 4
    return bytes(changed)


def body(*pieces: bytes) -> bytes:
    """An RDB that begins and does not end."""
    return b"REDIS0011" + b"".join(pieces)


EOF_LINE = FULLRESYNC + b"$EOF:" + MARK + b"\r\n"
CASES = {
    "a snapshot cut short, then the end": Case(then_ends(sized(SMALL)[:-100]), GOES_ON),
    "a snapshot cut short, then silence": Case(at_once(sized(SMALL)[:-100]), GOES_ON),
    "a snapshot with a flipped bit": Case(
        at_once(FULLRESYNC + b"$%d\r\n" % len(SMALL) + flipped(SMALL, 300)), ENDS
    ),
    "a snapshot shorter than announced": Case(at_once(FULLRESYNC + b"$%d\r\n" % (len(SMALL) + 9) + SMALL), ENDS),
    "a snapshot longer than announced": Case(at_once(FULLRESYNC + b"$5\r\n" + SMALL), ENDS),
    "a snapshot of more bytes than numbers": Case(at_once(FULLRESYNC + b"$" + b"9" * 30 + b"\r\n"), GOES_ON),
    "a snapshot without its mark": Case(at_once(EOF_LINE + SMALL + b"x" * 40), ENDS),
    "a snapshot without an end": Case(
        for_ever(FULLRESYNC + b"$999999999999999\r\n" + body(), b"\x00" + string(b"key") + string(b"v" * 1000)),
        GOES_ON,
    ),
    "a snapshot byte by byte": Case(
        for_ever(FULLRESYNC + b"$%d\r\n" % len(SMALL) + SMALL[:20], b"\x00", 0.1), GOES_ON
    ),
    "a value of 2 ** 63 bytes": Case(
        for_ever(EOF_LINE + body(b"\x00", string(b"key"), b"\x81\x7f" + b"\xff" * 7), b"x" * MANY), ENDS
    ),
    "a key of 2 ** 63 bytes": Case(for_ever(EOF_LINE + body(b"\x00\x81\x7f" + b"\xff" * 7), b"x" * MANY), ENDS),
    "a list of 2 ** 63 items": Case(
        for_ever(EOF_LINE + body(b"\x01", string(b"key"), b"\x81\x7f" + b"\xff" * 7), string(b"item") * 10_000),
        ENDS,
    ),
    "a hash of 2 ** 32 nothings": Case(
        for_ever(EOF_LINE + body(b"\x04", string(b"key"), b"\x80" + b"\xff" * 4), b"\x00" * MANY), ENDS
    ),
    "a compressed value that says 4 GB": Case(
        at_once(EOF_LINE + body(b"\xfa\xc3\x03\x80" + b"\xff" * 4 + b"abc", b"x" * 1000)), GOES_ON
    ),
    "an unknown type": Case(at_once(EOF_LINE + body(b"\x77" + string(b"key") + b"x" * 1000)), ENDS),
    "fields of the header without an end": Case(
        for_ever(EOF_LINE + body(), (b"\xfa" + string(b"name") + string(b"x" * 50)) * 1000), GOES_ON
    ),
    "libraries without an end": Case(
        for_ever(EOF_LINE + body(), b"\xf5" + string(b"#!lua name=one\n" + b"-" * 100_000)), ENDS
    ),
    "module data without an end": Case(
        for_ever(EOF_LINE + body(), (b"\xf7\x81" + b"\x11" * 8 + b"\x02\x00\x00") * 1000), ENDS
    ),
    "a database of 2 ** 32": Case(at_once(EOF_LINE + body(b"\xfe\x80\xff\xff\xff\xff", b"\x00" * 100)), ENDS),
    "newlines without an end": Case(for_ever(FULLRESYNC, b"\n" * MANY), GOES_ON),
    "CONTINUE that nobody asked for": Case(at_once(b"+CONTINUE\r\n" + SET), GOES_ON),
    "two answers": Case(at_once(FULLRESYNC + FULLRESYNC), GOES_ON),
    "an answer without an end": Case(for_ever(b"+FULLRESYNC ", b"x" * MANY), ENDS),
    "an answer in escapes": Case(at_once(b"-ERR \x1b[2J\x1b]0;title\x07 \xff\xfe\r\n"), GOES_ON),
    "HTTP": Case(at_once(b"HTTP/1.1 400 Bad Request\r\n\r\n<html>"), GOES_ON),
    "a stream that is none": Case(at_once(sized(SMALL) + b"\x00\x01garbage\r\n"), ENDS),
    "nested arrays": Case(at_once(sized(SMALL) + b"*1\r\n" * MANY), ENDS),
    "a request of 2 ** 63 arguments": Case(
        for_ever(sized(SMALL) + b"*9223372036854775807\r\n", b"$1\r\nx\r\n" * 10_000), ENDS
    ),
    "a request of 2 ** 31 - 1 arguments": Case(
        for_ever(sized(SMALL) + b"*2147483647\r\n", b"$1\r\nx\r\n" * 10_000), GOES_ON, ready=True
    ),
    "a request of a negative length": Case(at_once(sized(SMALL) + b"*2\r\n$3\r\nGET\r\n$-1\r\n"), ENDS),
    "an argument without an end": Case(
        for_ever(sized(SMALL) + b"*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$999999999999\r\n", b"x" * MANY),
        ENDS,
        ready=True,
    ),
    "a transaction without an end": Case(
        for_ever(sized(SMALL) + encode("MULTI"), SET * 10_000), GOES_ON, ready=True
    ),
    "transactions in one another": Case(at_once(sized(SMALL) + encode("MULTI") * 2), ENDS),
    "EXEC of nothing": Case(at_once(sized(SMALL) + encode("EXEC")), ENDS),
    "a database that the target lacks": Case(at_once(sized(SMALL) + encode("SELECT", 999_999) + SET), ENDS),
    "a database that is no number": Case(at_once(sized(SMALL) + encode("SELECT", "1; x") + SET), ENDS),
    "pings without an end": Case(for_ever(sized(SMALL), encode("PING") * 10_000), GOES_ON, ready=True),
    "questions without an end": Case(
        for_ever(sized(SMALL), encode("REPLCONF", "GETACK", "*") * 1000), GOES_ON, ready=True
    ),
    "unknown commands with huge keys": Case(
        at_once(sized(SMALL) + (encode("NOSUCH", b"\x1b[2J" + b"k" * 100_000, "v")) * 20), GOES_ON
    ),
    "names of commands without an end": Case(
        at_once(sized(SMALL) + b"".join(encode(b"N%d" % number, "v") for number in range(20_000))), GOES_ON
    ),
}


def check(worker: Worker, outcome: int | None, *, may_be_ready: bool = False) -> None:
    """Wait for the end, or stop what goes on; assert what holds for every worker whatever comes."""
    deadline = time.monotonic() + (PATIENCE if outcome in (GOES_ON, EITHER) else 30.0)
    peak = 0
    while worker.returncode is None and time.monotonic() < deadline:
        try:
            code, body = worker.get("/livez")
            ready = worker.get("/readyz")[0]
            peak = max(peak, peak_bytes(worker.pid))
        except (OSError, AssertionError):
            continue  # it is just ending
        assert code == 200, body
        assert ready == 503 or may_be_ready, worker.describe()
        assert peak < LIMIT, worker.describe()
        time.sleep(0.02)
    ended = worker.returncode
    if ended is not None:
        worker.wait_ended()  # its last lines are read
    text = "\n".join(worker.output)
    assert "Traceback" not in text, text[-3000:]
    assert "\x1b" not in text
    assert outcome in (ended, EITHER), worker.describe()
    if ended is None:
        worker.terminate()
        assert worker.wait_ended() in ((0, 3, 4, 75) if outcome == EITHER else (0, 75))
        assert "Traceback" not in "\n".join(worker.output)
    else:
        assert worker.events("replication ends")[-1]["error"]
    assert max(map(len, worker.output)) < 20_000, "a line of the log repeats what came"


SETTINGS = {
    "SHAKER_SOURCE__TIMEOUT_SECONDS": "1",
    "SHAKER_RETRY__MAX_SECONDS": "0.5",
    "SHAKER_DRAIN_TIMEOUT_SECONDS": "2",
    "SHAKER_LOG__LEVEL": "debug",
    # What is held whole of a value, twice over while it is joined.
    "SHAKER_SNAPSHOT__MAX_VALUE": "32MiB",
}


@pytest.mark.parametrize("name", CASES)
def test_an_answer_that_means_harm(name: str, target: Server) -> None:
    case = CASES[name]
    with HostilePeer(psync=case.answer) as source, Worker(source.url, target, **SETTINGS) as worker:
        check(worker, case.outcome, may_be_ready=case.ready)


FIRSTS = {
    "nothing at all": at_once(b""),
    "garbage": at_once(bytes(range(256)) * 100),
    "garbage without an end": for_ever(b"", b"\x00\xff" * 100_000),
    "a line without an end": for_ever(b"", b"x" * MANY),
    "an INFO without an end": for_ever(b"$999999999\r\n", b"x" * MANY),
    "an INFO of 1 MB": at_once(b"$1000000\r\n" + b"x" * 1_000_000 + b"\r\n" + b"+OK\r\n" * 10),
    "an INFO drop by drop": for_ever(b"$1000000\r\n", b"x", 0.3),
    "newlines drop by drop": for_ever(b"", b"\n", 0.3),
    "nested arrays": for_ever(b"", b"*1\r\n" * 100_000),
    "errors without an end": for_ever(b"", b"-ERR no\r\n" * 1000),
    "the end": then_ends(b""),
}


@pytest.mark.parametrize("name", FIRSTS)
def test_a_greeting_that_means_harm(name: str, target: Server) -> None:
    with HostilePeer(first=FIRSTS[name]) as source, Worker(source.url, target, **SETTINGS) as worker:
        check(worker, EITHER)  # what is no Redis can become one
        assert worker.returncode in (0, 4, 75)
        assert target.client().keys("*") == []


def test_a_handshake_drop_by_drop_is_given_up(target: Server) -> None:
    """Bytes that go on coming are no sign of life: the whole handshake has its time."""
    drip = for_ever(b"$1000000\r\n", b"x", 0.2)
    with HostilePeer(first=drip) as source, Worker(source.url, target, **SETTINGS) as worker:
        worker.wait(lambda: worker.events("link failed"), "the handshake to be given up", 10)


INFOS = {
    "empty": b"",
    "no fields": b"x" * 1000,
    "bytes": bytes(range(256)) * 10,
    "no numbers": INFO.replace(b":1000", b":" + b"9" * 400),
    "other signs for digits": INFO.replace(b":1000", ":\u0663\u00b2".encode()),
    "a long version": INFO.replace(b"7.0.15", b"\x1b[2J" + b"7" * 100_000),
    "no run id": INFO.replace(b"run_id", b"run"),
    "a cluster": INFO.replace(b"cluster_enabled:0", b"cluster_enabled:1"),
    "a replica without primary": INFO.replace(b"role:master", b"role:slave"),
}


@pytest.mark.parametrize("name", INFOS)
def test_an_info_that_means_harm(name: str, target: Server) -> None:
    answer = then_ends(sized(SMALL[:-3]))
    replies = {b"INFO": bulk(INFOS[name])}
    with HostilePeer(replies=replies, psync=answer) as source, Worker(source.url, target, **SETTINGS) as worker:
        check(worker, EITHER)
        assert worker.returncode in (0, 3, 4, 75)


@pytest.mark.parametrize(
    "reply", [b":1\r\n", b"*0\r\n", b"*-1\r\n", b"$-1\r\n", b"+\r\n", b"*2\r\n:1\r\n*0\r\n", b"-\r\n"]
)
@pytest.mark.parametrize("command", [b"INFO", b"AUTH", b"REPLCONF", b"PSYNC"])
def test_a_reply_of_another_kind(command: bytes, reply: bytes, target: Server) -> None:
    settings = {"SHAKER_SOURCE__PASSWORD": "secret", **SETTINGS}
    with HostilePeer(replies={command: reply}) as source, Worker(source.url, target, **settings) as worker:
        worker.wait(lambda: worker.events("link failed") or worker.returncode is not None, "the refusal", 10)
        assert worker.returncode in (None, 4)
        assert "Traceback" not in "\n".join(worker.output)
