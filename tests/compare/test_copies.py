"""One key on two real servers: equal whatever the encoding, different by its kind, without a value in the text."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.compare.copies import Copy, Tolerance, compare, compare_types
from shaker.model.differences import Kind
from tests.support.servers import Server

EXACT = Tolerance(0)
MARGIN = Tolerance(later=2000)


def dump(server: Server, key: str = "k") -> bytes:
    """The payload of a key."""
    found = server.client().dump(key)
    assert isinstance(found, bytes)
    return found


def test_missing_and_extra_keys_have_their_kinds() -> None:
    """No key on either side is no difference."""
    there, gone = Copy(b"payload with a footer"), Copy(None)
    assert compare(gone, gone, EXACT) is None
    assert compare(there, there, EXACT) is None
    assert compare(there, gone, EXACT) == (Kind.MISSING, "not on the target")
    assert compare(gone, there, EXACT) == (Kind.EXTRA, "only on the target")


@pytest.mark.parametrize(
    ("mine", "theirs", "differs"),
    [
        (1000, 1000, False),
        (1000, 3000, False),
        (1000, 3001, True),
        (1000, 999, True),
        (-1, -1, False),
        (-1, 1000, True),
        (1000, -1, True),
    ],
)
def test_an_expiry_may_be_later_by_the_margin_only(mine: int, theirs: int, differs: bool) -> None:
    """Never earlier, and never on one side alone."""
    payload = b"payload with a footer"
    found = compare(Copy(payload, mine), Copy(payload, theirs), MARGIN)
    assert (found is not None and found[0] is Kind.EXPIRY) == differs


@pytest.mark.parametrize("kind", ["set", "hash", "zset", "list", "stream"])
def test_another_encoding_of_the_same_value_is_equal(source: Server, target: Server, kind: str) -> None:
    """Order of members and encoding do not count; one element more does, and its text names no element."""
    for server, names in ((source, range(600)), (target, reversed(range(600)))):
        client = server.client()
        if server is target:
            for each in ("hash-max-listpack-entries", "zset-max-listpack-entries"):
                client.config_set(each, 10_000)
        for number in names:
            if kind == "set":
                client.sadd("k", f"member:{number}")
            elif kind == "hash":
                client.hset("k", f"field:{number}", number)
            elif kind == "zset":
                client.zadd("k", {f"member:{number}": number / 3})
        if kind == "list":
            client.rpush("k", *range(600))
        elif kind == "stream":
            for number in range(1, 601):
                client.xadd("k", {"f": number}, id=f"{number}-1")
    assert compare(Copy(dump(source)), Copy(dump(target)), EXACT) is None
    getattr(target.client(), {"set": "sadd", "list": "rpush"}.get(kind, "ping"))(
        *(("k", "secret") if kind in ("set", "list") else ())
    )
    if kind == "hash":
        target.client().hset("k", "field:1", "secret")
    elif kind == "zset":
        target.client().zadd("k", {"member:1": 77})
    elif kind == "stream":
        target.client().xadd("k", {"f": "secret"})
    found = compare(Copy(dump(source)), Copy(dump(target)), EXACT)
    assert found is not None
    assert found[0] is Kind.VALUE
    assert "secret" not in found[1]


def test_another_type_is_named(source: Server, target: Server) -> None:
    """By the names of TYPE."""
    source.client().set("k", "v")
    target.client().rpush("k", "v")
    expected = (Kind.TYPE, "string on the source, list on the target")
    assert compare(Copy(dump(source)), Copy(dump(target)), EXACT) == expected
    assert compare_types(Copy(b"string"), Copy(b"list"), EXACT) == expected
    assert compare_types(Copy(b"string", 5), Copy(b"string", 5), EXACT) is None


@pytest.mark.parametrize("name", ["redis-8.0", "valkey-9.1"])
def test_the_expiry_of_a_field_may_be_later_by_the_margin(server: Callable[..., Server], name: str) -> None:
    """As that of a key."""
    one, other = server(name), server(name)
    far = 4_102_444_800_000
    for each, expiry in ((one, far), (other, far + 1500)):
        each.client().hset("k", mapping={"a": "1", "b": "2"})
        each.client().execute_command("HPEXPIREAT", "k", expiry, "FIELDS", 1, "a")
    assert compare(Copy(dump(one)), Copy(dump(other)), MARGIN) is None
    found = compare(Copy(dump(one)), Copy(dump(other)), EXACT)
    assert found is not None
    assert found[0] is Kind.VALUE


def test_damaged_payloads_are_a_difference() -> None:
    """Never an exception: servers are not trusted."""
    assert compare(Copy(b"\x0e" + b"a" * 20), Copy(b"\xff" + b"b" * 20), EXACT) is not None
