"""`shaker preflight` as its user meets it: table, JSON, exit codes, and two servers that are as they were."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from shaker.checks.preflight.catalogue import NAMES
from tests.support.servers import SOURCES, Server
from tests.support.worker import ROOT

Servers = Callable[..., Server]
# What reads, or concerns only the connection that sends it. PSYNC, RESTORE and their kind may be refused, never called.
HARMLESS = {
    *("acl|dryrun", "acl|whoami", "acl", "auth", "client|list", "client", "command", "command|info", "config|get"),
    *("config", "dump", "echo", "exec", "exists", "hgetall", "info", "memory|usage", "memory", "multi", "ping"),
    *("scan", "select", "time", "watch"),
}


def shaker(source: Server | str, target: Server | str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `shaker preflight` between two servers."""
    urls = {
        f"SHAKER_{side}__URL": server if isinstance(server, str) else server.url
        for side, server in (("SOURCE", source), ("TARGET", target))
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHAKER_")}
    return subprocess.run(
        [sys.executable, "-m", "shaker", "preflight", *arguments],
        env=kept | urls,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )


def document(source: Server, target: Server, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Return the exit code and what --json prints."""
    done = shaker(source, target, "--json", "--measure-seconds", "0.1", *arguments)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_the_json_is_that_of_the_contract(source: Server, target: Server) -> None:
    """0 and `passed` while nothing fails; 3 once a check does."""
    source.client().set("key", 1)
    code, found = document(source, target)

    assert (code, found["passed"], set(found)) == (0, True, {"passed", "checks", "estimate"})
    assert [check["name"] for check in found["checks"]] == list(NAMES)
    for check in found["checks"]:
        assert set(check) == {"name", "side", "status", "finding", "remedy"}
        assert check["side"] in ("source", "target", "both")
        assert check["status"] in ("ok", "warning", "failed", "skipped")
        assert check["finding"]
        assert bool(check["remedy"]) or check["status"] in ("ok", "skipped")
    assert found["estimate"]["keys"] == 1
    assert found["estimate"]["measured"]["sampled_keys"] == 1
    assert found["estimate"]["measured"]["source_link_bytes_per_second"] > 0

    target.client().set("key", 1)
    code, found = document(source, target)
    assert (code, found["passed"]) == (3, False)
    assert [check["name"] for check in found["checks"] if check["status"] == "failed"] == ["target-contents"]


def test_the_table_names_each_check_and_what_to_do(source: Server, target: Server) -> None:
    """A line for each, remedies behind an arrow, the estimate and a summary; no secret."""
    target.client().set("key", 1)
    done = shaker(source, target, "--measure-seconds", "0")

    assert done.returncode == 3
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines if line.split() and line.split()[0] in NAMES] == list(NAMES)
    assert "→ take an empty target" in done.stdout
    assert any(line.startswith("snapshot: 0 keys") for line in lines)
    assert "1 failed" in lines[-1]


def test_checks_are_chosen_by_name(source: Server, target: Server) -> None:
    """And the exit code is theirs."""
    target.client().set("key", 1)
    code, found = document(source, target, "--only-check", "clocks", "--only-check", "types")
    assert (code, [check["name"] for check in found["checks"]]) == (0, ["clocks", "types"])
    code, found = document(source, target, "--skip-check", "target-contents")
    assert (code, len(found["checks"])) == (0, len(NAMES) - 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--skip-check", "target-memroy"], "did you mean target-memory?"),
        (["--measure-seconds", "x"], "must be seconds from 0 to 600"),
        (["--measure-second", "1"], "did you mean --measure-seconds?"),
        (["--source.tls.ca-file", "/nowhere"], "source.tls.ca_file"),
    ],
)
def test_usage_faults_end_with_2(arguments: list[str], words: str) -> None:
    """Before anything is connected."""
    done = shaker("redis://127.0.0.1:1", "redis://127.0.0.1:2", *arguments)
    assert (done.returncode, done.stdout, words in done.stderr) == (2, "", True), done.stderr


def test_servers_that_are_away() -> None:
    """3, with both named and nothing but that failed."""
    done = shaker("redis://127.0.0.1:1", "redis://127.0.0.1:2", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 3
    assert [check["name"] for check in found["checks"] if check["status"] == "failed"] == [
        "source-reachable",
        "target-reachable",
    ]


@pytest.mark.parametrize("asks", [True, False], ids=["default user", "user without ACL DRYRUN"])
@pytest.mark.parametrize("name", SOURCES)
def test_it_changes_nothing(server: Servers, name: str, asks: bool) -> None:
    """No command of either server but those that read was called, and every key is as it was."""
    source, target = server(name), server("redis-7.0" if name == "redis-5.0" else name)
    urls = []
    for each in (source, target):
        client = each.client()
        for number in range(50):
            client.set(f"key:{number}", number, ex=1000)
        client.hset("hash", mapping={"field": "value"})
        if not asks and each.name != "redis-5.0":
            client.execute_command("ACL", "SETUSER", "few", "on", ">pass", "~*", "&*", "+@all", "-acl")
            urls.append(f"redis://few:pass@127.0.0.1:{each.port}")
        else:
            urls.append(each.url)
        client.config_resetstat()
    before = [state(each) for each in (source, target)]

    assert shaker(*urls, "--measure-seconds", "0.1").returncode == 3  # the target has keys

    for each, was in zip((source, target), before, strict=True):
        stats = each.client().info("commandstats")
        called = {stat.removeprefix("cmdstat_") for stat, counts in stats.items() if counts["calls"]}
        own = {"config|resetstat", "debug", "debug|digest", "dbsize", "ttl", "hello", "client|setinfo", "psync"}
        # A PSYNC without arguments, and what a transaction refuses, is counted by some releases as rejected only.
        assert called - HARMLESS - own == set()
        assert state(each) == was
        assert each.info("stats")["sync_full"] == 0
        assert "psync" not in called


def state(server: Server) -> tuple[Any, ...]:
    """Return what a write would change."""
    client, info = server.client(), server.client().info()
    keys = sorted(client.scan_iter(count=1000))
    return (
        info["rdb_changes_since_last_save"],
        info["master_replid"],
        [(key, client.dump(key)) for key in keys],
        client.config_get("*") if "config" not in str(server.config) else None,
    )
