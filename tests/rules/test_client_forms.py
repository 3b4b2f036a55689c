"""What only a primary may send becomes what a client may send, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shaker.codec.rdb.crc64 import crc64
from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import split
from shaker.rules.client_forms import PAYLOADS, TRIMS, ClientForms, HugeForm, client_forms
from tests.rules.conftest import exchange
from tests.support.servers import NAMES, Server
from tests.support.splits import every_cut

LIBRARY = b"#!lua name=lib\nredis.register_function('answer', function() return 42 end)\n"

# What comes, what goes out; None where it stays.
TRIMMED: dict[str, str | None] = {
    "XADD s MAXLEN = 10 LIMIT 5 7-1 f v": "XADD s MAXLEN = 10 7-1 f v",
    "xadd s maxlen = 10 limit 5 7-1 f v": "xadd s maxlen = 10 7-1 f v",
    "XADD s NOMKSTREAM MINID = 5-0 LIMIT 5 7-1 f v": "XADD s NOMKSTREAM MINID = 5-0 7-1 f v",
    "XADD s MAXLEN 10 LIMIT 5 7-1 f v": "XADD s MAXLEN 10 7-1 f v",
    "XADD s LIMIT 5 MAXLEN = 10 7-1 f v": "XADD s MAXLEN = 10 7-1 f v",
    "XADD s KEEPREF MAXLEN = 10 LIMIT 5 7-1 f v": "XADD s KEEPREF MAXLEN = 10 7-1 f v",
    "XADD s IDMP producer 1 MAXLEN = 10 LIMIT 5 7-1 f v": "XADD s IDMP producer 1 MAXLEN = 10 7-1 f v",
    "XADD s MAXLEN ~ 10 LIMIT 5 7-1 f v": "XADD s MAXLEN ~ 10 LIMIT 0 7-1 f v",
    "XTRIM s MAXLEN = 10 LIMIT 5": "XTRIM s MAXLEN = 10",
    "XTRIM s MINID = 5-0 LIMIT 5": "XTRIM s MINID = 5-0",
    "xtrim s limit 5 minid = 5-0": "xtrim s minid = 5-0",
    "XTRIM s MAXLEN = 10 ACKED LIMIT 5": "XTRIM s MAXLEN = 10 ACKED",
    # No option, though it looks like one.
    "XADD LIMIT MAXLEN = 10 7-1 LIMIT 5 f v": None,
    "XADD s MAXLEN = 10 7-1 LIMIT 5 f v": None,
    "XADD s 7-1 LIMIT 5 MAXLEN LIMIT f v": None,
    "XTRIM LIMIT MAXLEN = 10 ACKED": None,
    "XTRIM LIMIT MAXLEN = 10 LIMIT": None,
    "ZADD s LIMIT 5 MAXLEN LIMIT f v x y": None,
}


@pytest.mark.parametrize("command", TRIMMED)
def test_the_limit_of_a_trimming_is_left_out(command: str) -> None:
    """Only where it is an option; a replica takes it without effect, a client's is a syntax error."""
    changed = TRIMMED[command]
    around = encode("XADD", "s", "MAXLEN", "=", "10", "7-1", "f", "limit"), encode("SET", "limit", "LIMIT")
    data = encode(*command.split()).join(around)
    expected = encode(*(changed or command).split()).join(around)
    assert client_forms(data, TRIMS) == expected
    assert client_forms(data, TRIMS | PAYLOADS) == expected


@given(st.lists(st.sampled_from([*TRIMMED, "SET a b", "INCR a"]), max_size=20))
@settings(max_examples=100, deadline=None)
def test_any_run(commands: list[str]) -> None:
    """As many commands in the same order."""
    data = b"".join(encode(*command.split()) for command in commands)
    expected = b"".join(encode(*(TRIMMED.get(command) or command).split()) for command in commands)
    assert client_forms(data, TRIMS) == expected


def _payloads(server: Server) -> dict[str, bytes]:
    client = server.client()
    client.rpush("list", 1, 2)
    client.set("string", "v" * 100)
    client.hset("hash", "f", "v")
    client.zadd("zset", {"m": 1.5})
    client.sadd("set", 1, 2)
    # Beyond any server before 7.0 are listpacks; the type decides, not the version.
    client.set("number", 7)
    return {key: bytes(client.dump(key)) for key in ("list", "string", "hash", "zset", "set", "number")}


# Servers that know all types that the first one writes for small values.
ACROSS = [
    ("redis-8.0", ("redis-7.0", "valkey-8.0", "valkey-9.1")),
    ("valkey-9.1", ("redis-7.0", "redis-8.0", "valkey-8.1")),
    ("redis-6.2", ("redis-7.0", "valkey-9.1")),
    ("redis-7.0", ("redis-8.0", "valkey-9.1")),
]


@pytest.mark.parametrize(("name", "others"), ACROSS, ids=[name for name, _ in ACROSS])
@pytest.mark.parametrize("command", ["RESTORE", "restore", "RESTORE-ASKING"])
def test_payloads_of_other_versions(
    shared: Callable[[str], Server], name: str, others: tuple[str, ...], command: str
) -> None:
    """RESTORE is taken by every server that knows the type, with its options."""
    payloads = _payloads(shared(name))
    data = b"".join(encode(command, key, "0", payload, "REPLACE") for key, payload in payloads.items())
    for other in others:
        target = shared(other)
        assert exchange(target, client_forms(data, PAYLOADS), len(payloads)) == [b"OK"] * len(payloads)
        assert target.client().lrange("list", 0, -1) == [b"1", b"2"]
        assert target.client().hgetall("hash") == {b"f": b"v"}


@pytest.mark.needs_servers("redis-8.0", "valkey-9.1")
def test_what_the_other_product_does_not_know_stays(shared: Callable[[str], Server]) -> None:
    """Fields with expiries: the same number means something else there, so the target refuses it by name."""
    for name, other in (("redis-8.0", "valkey-9.1"), ("valkey-9.1", "redis-8.0")):
        client = shared(name).client()
        client.hset("hash", "f", "v")
        client.execute_command("HPEXPIREAT", "hash", 4102444800123, "FIELDS", 1, "f")
        data = client_forms(encode("RESTORE", "hash", "0", bytes(client.dump("hash"))), PAYLOADS)
        assert exchange(shared(name), client_forms(encode("DEL", "hash") + data, PAYLOADS), 2)[1] == b"OK"
        [error] = exchange(shared(other), data, 1)
        assert "DUMP payload version" in str(error)


def test_a_wrong_checksum_stays_wrong() -> None:
    """Neither a damaged payload nor one that is none becomes a right one."""
    body = b"\x00\x01v" + (12).to_bytes(2, "little")
    for payload in (body + bytes(8), body + crc64(body + b"x"), b"", b"x", b"x" * 9, b"\xf5" + bytes(9)):
        for data in (encode("RESTORE", "k", "0", payload), encode("FUNCTION", "RESTORE", payload)):
            assert client_forms(data, PAYLOADS) == data
            assert _huge(data, [data[:20], data[20:]]) == data


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("redis-5.0", "redis-6.2")])
@pytest.mark.needs_servers("redis-7.0", "redis-8.0", "valkey-8.0", "valkey-9.1")
def test_functions_of_other_versions(shared: Callable[[str], Server], name: str) -> None:
    """FUNCTION RESTORE is taken by every server that has functions; nothing else of FUNCTION changes."""
    client = shared(name).client()
    client.function_flush()
    nothing = bytes(client.execute_command("FUNCTION", "DUMP"))
    client.function_load(LIBRARY)
    payload = bytes(client.execute_command("FUNCTION", "DUMP"))
    client.function_flush()
    data = client_forms(
        encode("FUNCTION", "RESTORE", nothing) + encode("function", "restore", payload, "REPLACE"), PAYLOADS
    )
    for other in ("redis-7.0", "redis-8.0", "valkey-8.0", "valkey-9.1"):
        target = shared(other)
        assert exchange(target, data, 2) == [b"OK"] * 2
        assert target.client().fcall("answer", 0) == 42
        target.client().function_flush()
    for arguments in (("FUNCTION", "LOAD", LIBRARY), ("FUNCTION", "DELETE", payload)):
        assert client_forms(encode(*arguments), PAYLOADS) == encode(*arguments)


def _huge(data: bytes, pieces: list[bytes]) -> bytes:
    """Pass a command in fragments; the first one carries the arguments that are whole in it."""
    arguments = []
    whole = split(data)
    head = len(b"*%d\r\n" % len(whole))
    for argument in whole:
        head += len(b"$%d\r\n" % len(argument)) + len(argument) + 2
        if head > len(pieces[0]):
            break
        arguments.append(argument)
    if not arguments:
        return data  # is not given out before there is a name
    form = HugeForm(arguments)
    out = form.begin(arguments, pieces[0])
    return out + b"".join(form.pass_on(piece) for piece in pieces[1:])


HUGE = [
    ("RESTORE", "key", "0", "payload", "REPLACE", "ABSTTL"),
    ("restore", "key", "0", "payload"),
    ("FUNCTION", "RESTORE", "library", "FLUSH"),
    ("FUNCTION", "LOAD", "payload"),
    ("SET", "key", "payload"),
    ("HSET", "key", "0", "payload", "REPLACE"),
]


@pytest.mark.parametrize("command", HUGE, ids=[" ".join(command) for command in HUGE])
def test_a_huge_payload_is_changed_on_its_way(command: tuple[str, ...]) -> None:
    """Wherever it is cut, as if it had been whole."""
    body = b"\x00" + b"v" * 500 + (80).to_bytes(2, "little")
    library = b"\xf5\x41\xf4" + b"l" * 500 + (80).to_bytes(2, "little")
    known = {"payload": body + crc64(body), "library": library + crc64(library)}
    data = encode(*(known.get(word, word) for word in command))
    expected = client_forms(data, PAYLOADS) if command[0].upper().encode() in ClientForms.notes else data
    assert (expected != data) == (command[0].upper() == "RESTORE" or command[1] == "RESTORE")
    for pieces in every_cut(data, 200):
        if len(pieces[0]) > 40:  # what tells FUNCTION RESTORE is at hand
            assert split(_huge(data, pieces))[1:] == split(expected)[1:]


def test_the_limit_of_a_huge_xadd() -> None:
    """It lies in the beginning, which is at hand."""
    data = encode("XADD", "s", "MAXLEN", "=", "10", "LIMIT", "5", "7-1", "f", b"v" * 1000)
    beginning = len(data) - 900
    assert _huge(data, [data[:beginning], data[beginning:]]) == client_forms(data, TRIMS)
