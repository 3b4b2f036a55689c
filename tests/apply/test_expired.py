"""What a target has expired: told by its INFO, kept in one line, compared across runs and resets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shaker.apply.expired import ExpiredKeys, expired_nothing
from shaker.codec.resp.replies import encode
from shaker.model.server_info import ServerInfo, parse_info
from tests.rules.conftest import exchange
from tests.support.info import server_info
from tests.support.servers import NAMES, Server, wait_until

COUNTED = ExpiredKeys("run", 5, 2, (10, 20, 30))


def asked(server: Server) -> ExpiredKeys:
    """What the server says now."""
    [info] = exchange(server, encode("INFO"), 1)
    found = ExpiredKeys.of(parse_info(info))
    assert found is not None
    assert ExpiredKeys.parse(found.text) == found
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_server_counts_keys_that_expire(shared: Callable[[str], Server], name: str) -> None:
    """By its own clock, and not those that somebody deletes; a reset of the counters is seen."""
    client = shared(name).client()
    client.set("deleted", 1, px=100_000)
    before = asked(shared(name))
    client.delete("deleted")
    assert expired_nothing(before, asked(shared(name)))
    client.set("k", 1, px=1)
    wait_until(lambda: client.exists("k") == 0, "the expiry")
    after = asked(shared(name))
    assert not expired_nothing(before, after)
    client.config_resetstat()
    client.set("k", 1, px=1)
    wait_until(lambda: client.exists("k") == 0, "the expiry")
    assert asked(shared(name)).keys <= after.keys
    assert not expired_nothing(after, asked(shared(name)))


@pytest.mark.parametrize("name", ["redis-8.0", "valkey-9.1"])
def test_a_server_counts_fields_that_expire(server: Callable[..., Server], name: str) -> None:
    """Where it has such fields."""
    one = server(name)
    client = one.client()
    client.hset("h", mapping={"f": 1, "g": 2})
    before = asked(one)
    client.execute_command("HPEXPIRE", "h", 1, "FIELDS", 1, "f")
    wait_until(lambda: asked(one).fields > before.fields, "the expiry of the field")
    assert not expired_nothing(before, asked(one))


@pytest.mark.parametrize(
    "after",
    [
        COUNTED._replace(run_id="other"),
        COUNTED._replace(keys=6),
        COUNTED._replace(keys=4),
        COUNTED._replace(fields=3),
        COUNTED._replace(steady=(9, 20, 30)),
        COUNTED._replace(steady=(10, 20, 29)),
        None,
    ],
)
def test_anything_else_is_not_certain(after: ExpiredKeys | None) -> None:
    """Another run, another count, a reset, nothing known."""
    assert expired_nothing(COUNTED, COUNTED._replace(steady=(10, 21, 30)))
    assert not expired_nothing(COUNTED, after)
    assert not expired_nothing(None, COUNTED)


@pytest.mark.parametrize("text", ["", "run 1 2", "run 1 2 3 4 x", "run 1 2 3 4 5 6", " "])
def test_a_line_that_says_nothing(text: str) -> None:
    """As a record of another version has it."""
    assert ExpiredKeys.parse(text) is None


def test_an_info_without_counters() -> None:
    """As something that is no Redis answers."""
    assert ExpiredKeys.of(ServerInfo()) is None
    assert ExpiredKeys.of(server_info(run_id="r", expired_keys="many")) is None
