"""Rights of the worker's users: by ACL DRYRUN, and by a trial where servers have none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shaker.checks.preflight.rights import source_needs
from shaker.model.server_info import ServerInfo
from shaker.settings.schema import Settings
from tests.e2e.test_access import OLD_SOURCE, SOURCE, TARGET
from tests.support.preflight import preflight
from tests.support.servers import OLDEST, Server

Servers = Callable[..., Server]
ASKING = ["+acl|whoami", "+acl|dryrun"]  # Redis 7.0
# Rules of docs/access.md in its text: for circles of workers, and for limits.
MORE = ["+client|list", "+config|get"]
NOT_IN_70 = {"+hpexpiretime"}
UNKNOWN = {"redis-6.2": {"+pexpiretime", "+spublish", "+function|list"} | NOT_IN_70, "redis-7.0": NOT_IN_70}


def allow(server: Server, rules: list[str]) -> str:
    """Give the user `worker` exactly these rules; return the URL with it."""
    known = [rule for rule in rules if rule not in UNKNOWN.get(server.name, ())]
    known = [rule for rule in known if not rule.startswith(">")]
    server.client().execute_command("ACL", "SETUSER", "worker", "reset", "on", ">pass", *known)
    return f"redis://worker:pass@127.0.0.1:{server.port}"


@pytest.mark.parametrize("name", ["redis-6.2", "redis-7.0", "redis-8.0", "valkey-9.1"])
def test_the_printed_rules_pass(server: Servers, name: str) -> None:
    """Those of docs/access.md, with the right to ask where there is ACL DRYRUN."""
    source, target = server(name), server(name)
    asking = [] if name == "redis-6.2" else ASKING
    found = preflight(allow(source, [*SOURCE, *MORE, *asking]), allow(target, [*TARGET, *MORE, *asking]))

    assert found["source-rights"].status == "ok", found["source-rights"]
    assert found["target-rights"].status == "ok", found["target-rights"]


@pytest.mark.parametrize("name", ["redis-7.0", "valkey-9.1"])
def test_without_the_right_to_ask(server: Servers, name: str) -> None:
    """All but PSYNC can be tried in a transaction that is never executed: skipped, with the rules that help."""
    source, target = server(name), server(name)
    found = preflight(allow(source, [*SOURCE, *MORE]), allow(target, [*TARGET, *MORE]))

    rights = found["source-rights"]
    assert (rights.status, "may run psync" in rights.finding) == ("skipped", True), rights
    assert "+acl|dryrun" in rights.remedy
    assert found["target-rights"].status == "ok", found["target-rights"]
    assert target.client().dbsize() == 0


@pytest.mark.parametrize("asking", [True, False], ids=["ACL DRYRUN", "trial"])
@pytest.mark.parametrize("name", ["redis-6.2", "redis-7.0"])
@pytest.mark.parametrize(
    ("side", "rule", "status"),
    [
        ("source", "+replconf", "failed"),
        ("source", "+dump", "warning"),
        ("target", "+exec", "failed"),
        ("target", "+client|kill", "failed"),
        ("target", "+@write", "failed"),
        ("target", "~*", "failed"),
        ("target", "+scard", "warning"),
        ("target", "+publish", "warning"),
    ],
)
def test_one_rule_less_is_named(
    server: Servers, asking: bool, name: str, side: str, rule: str, status: str
) -> None:
    """With the ACL SETUSER that gives it."""
    rules = {"source": list(SOURCE), "target": TARGET + OLD_SOURCE}
    rules[side] = [each for each in rules[side] if each != rule]
    more = [*MORE, *(ASKING if asking and name != "redis-6.2" else [])]
    source, target = server(name), server(name)
    found = preflight(allow(source, rules["source"] + more), allow(target, rules["target"] + more))

    rights = found[f"{side}-rights"]
    named = {"+@write": "hset", "~*": "hset"}.get(rule, rule[1:])
    assert (rights.status, named in rights.finding) == (status, True), rights
    assert "ACL SETUSER worker" in rights.remedy


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.needs_servers("redis-7.0")
def test_info_that_is_forbidden(source: Server, target: Server, side: str) -> None:
    """The server counts as not reachable, and the rights name the missing command all the same."""
    few = ["-@all", *ASKING, "+ping"]
    urls = {"source": source.url, "target": target.url}
    urls[side] = allow(source if side == "source" else target, few)
    found = preflight(urls["source"], urls["target"])

    assert found[f"{side}-reachable"].status == found[f"{side}-rights"].status == "failed"
    assert "info" in found[f"{side}-rights"].finding


@pytest.mark.parametrize("name", [OLDEST, "redis-6.2", "redis-7.0"])
def test_a_command_that_was_taken_away(server: Servers, source: Server, target: Server, name: str) -> None:
    """Missing is not forbidden: an ACL rule does not bring it back."""
    found = preflight(server(name, rename_command=['REPLCONF ""']), target)["source-rights"]
    assert (found.status, "undo its rename-command" in found.remedy) == ("failed", True), found
    if name != OLDEST:
        found = preflight(source, server(name, rename_command=['RESTORE ""']))["target-rights"]
        assert (found.status, "restore does not exist" in found.remedy) == ("failed", True), found


def test_psync_that_is_forbidden(source: Server, target: Server) -> None:
    """The rule names PSYNC even where the settings give it another name."""
    url = allow(source, ["+@all", "~*", "-psync"])
    found = preflight(url, target)
    assert (found["source-rights"].status, "+psync" in found["source-rights"].remedy) == ("failed", True)
    assert found["source-psync"].status == "ok"


def test_a_worker_that_can_be_cut_over_needs_a_fence(tmp_path: Path) -> None:
    """Only where it takes commands, and where the source has a pause of writers."""
    token = tmp_path / "token"
    urls: dict[str, Any] = {"source": {"url": "redis://a"}, "target": {"url": "redis://b"}}
    fences = {"client|pause", "client|unpause", "config|set"}

    def commands(settings: Settings, *release: int) -> set[str]:
        info = ServerInfo(release=(release[0], release[1]))
        return {need.command for need in source_needs(settings, info)}

    steered = Settings(**urls, control={"token_file": token})  # type: ignore[arg-type]
    assert fences <= commands(steered, 7, 0)
    assert not fences & commands(steered, 6, 0)
    assert not fences & commands(Settings(**urls), 7, 0)
