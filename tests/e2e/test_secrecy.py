"""Logs and status hold no values and no secrets; access that is missing is told and waited for."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from shaker.commands.sample import seed
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

VALUE = "a-value-of-the-source"
PASSWORDS = ("password-of-the-source", "password-of-the-target")
PATHS = ("/status", "/readyz", "/healthz", "/metrics", "/livez")


@pytest.fixture
def guarded(server: Servers) -> tuple[Server, Server]:
    """A source and a target with passwords."""
    source, target = (server(requirepass=password) for password in PASSWORDS)
    return source, target


def test_a_worker_in_many_troubles(guarded: tuple[Server, Server], worker: Workers) -> None:
    """Full syncs, rejected commands, lost links, a fence: each line is JSON and tells no value and no password."""
    source, target = guarded
    client, shown = source.client(), ""
    client.mset({f"key:{number}": f"{VALUE}-{number}" for number in range(50)})
    client.rpush("list", VALUE, VALUE)
    running = worker(source, target, SHAKER_LOG__LEVEL="debug")
    running.wait_state("streaming")
    target.client().set("list", "no list")
    client.rpush("list", VALUE)
    client.execute_command("SETRANGE", "list2", 0, VALUE)
    target.client().hset("list2:hash", VALUE, VALUE)
    client.set("list2:hash", VALUE)
    client.eval("return redis.call('SET', KEYS[1], ARGV[1])", 1, "scripted", VALUE)
    client.function_load(f"#!lua name=library\nredis.register_function('f', function() return '{VALUE}' end)")
    client.publish("channel", VALUE)
    running.wait_status(lambda status: status["rejected_commands"] == 1, "the rejected command")
    client.client_kill_filter(_type="replica")
    running.wait_status(lambda status: status["reconnects"].get("source"), "the new link to the source")
    target.restart(kill=True)
    running.wait_status(lambda status: status["full_syncs"] == 2, "the full resync")
    running.wait_state("streaming")
    shown += "".join(running.get(path)[1] for path in PATHS)
    newer = worker(source, target)
    assert running.wait_ended() == 6
    newer.wait_state("streaming")
    shown += "".join(newer.get(path)[1] for path in PATHS)
    newer.terminate()
    assert newer.wait_ended() == 0

    lines = running.output + newer.output
    assert len(lines) == len(running.log) + len(newer.log) > 20
    for line in lines:
        event = json.loads(line)
        assert event["event"]
        assert event["level"]
        assert event["timestamp"]
    for secret in (VALUE, *PASSWORDS):
        assert secret not in shown
        assert secret not in "\n".join(lines)
        assert secret not in str(target.client().hgetall("shaker:checkpoint:default"))


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_wrong_password_is_waited_for(guarded: tuple[Server, Server], worker: Workers, side: str) -> None:
    """Named with its setting, tried again slowly, and with the password mended the work goes on."""
    source, target = guarded
    source.client().set("key", 1)
    wrong = {f"SHAKER_{side.upper()}__PASSWORD": "wrong-password"}
    running = worker(
        f"redis://127.0.0.1:{source.port}",
        f"redis://127.0.0.1:{target.port}",
        **{
            "SHAKER_SOURCE__PASSWORD": PASSWORDS[0],
            "SHAKER_TARGET__PASSWORD": PASSWORDS[1],
            "SHAKER_RETRY__ACCESS_SECONDS": "1",
            **wrong,
        },
    )
    running.wait(lambda: len(running.events("link failed")) >= 2, "two attempts")
    for event in running.events("link failed"):
        assert (event["side"], event["kind"], event["next_try_seconds"]) == (side, "access", 1)
        assert f"SHAKER_{side.upper()}__PASSWORD" in event["hint"]
    assert running.get("/livez")[0] == 200
    assert running.get("/readyz")[0] == 503
    assert "WRONGPASS" in running.get("/readyz")[1]

    (source if side == "source" else target).client().config_set("requirepass", "wrong-password")

    running.wait_state("streaming")
    wait_until(lambda: running.get("/readyz")[0] == 200, "the worker to be ready")
    for secret in ("wrong-password", *PASSWORDS):
        assert secret not in "\n".join(running.output)


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("mode", ["migrate", "snapshot"])
def test_a_wrong_password_ends_a_one_off_mode(
    guarded: tuple[Server, Server], worker: Workers, side: str, mode: str
) -> None:
    """3, with the setting named."""
    source, target = guarded
    urls = [source.url, target.url]
    urls[side == "target"] = f"redis://:wrong-password@127.0.0.1:{(source if side == 'source' else target).port}"
    running = worker(*urls, SHAKER_MODE=mode)
    assert running.wait_ended() == 3
    (end,) = running.events("replication ends")
    assert f"SHAKER_{side.upper()}__PASSWORD" in end["hint"]
    assert "wrong-password" not in "\n".join(running.output)


@pytest.mark.parametrize(("side", "rule"), [("source", "psync"), ("target", "multi")])
def test_a_command_that_the_user_may_not_use(
    source: Server, target: Server, worker: Workers, side: str, rule: str
) -> None:
    """Named with the command, tried again slowly, and with the rule mended the work goes on; not in migrate."""
    seed(source.client(), 100, shortest_expiry=600_000)
    guarded = source if side == "source" else target
    guarded.client().execute_command("ACL", "SETUSER", "worker", "on", ">secret", "~*", "&*", "+@all", f"-{rule}")
    url = f"redis://worker:secret@127.0.0.1:{guarded.port}"
    sides = (url, target) if side == "source" else (source, url)

    once = worker(*sides, SHAKER_MODE="migrate")
    assert once.wait_ended() == 3

    running = worker(*sides, SHAKER_RETRY__ACCESS_SECONDS="1")
    running.wait(lambda: len(running.events("link failed")) >= 2, "two attempts")
    event = running.events("link failed")[-1]
    assert (event["kind"], event["next_try_seconds"]) == ("access", 1)
    assert f"'{rule}'" in event["error"]
    assert "docs/access.md" in event["hint"]
    guarded.client().execute_command("ACL", "SETUSER", "worker", f"+{rule}")
    running.wait_state("streaming")
