"""Lasting fences of a cutover: by ACL rules, and on a source that answers OK and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.test_cutover import Command, Counter, configuration, follows, takes_writes
from tests.jobs.test_source_fence import swallowing
from tests.support.relay import Relay
from tests.support.servers import NAMES, Server, wait_until
from tests.support.worker import Worker

Workers = Callable[..., Worker]
ACL = ("--fence-acl", "app=-@write")


def with_user(server: Server) -> None:
    """Give a server the user `app`, which may do everything."""
    server.client().execute_command("ACL", "SETUSER", "app", "on", ">word", "~*", "&*", "+@all")  # type: ignore[no-untyped-call]


def users(server: Server) -> list[str]:
    """The rules of all users as the server lists them."""
    return sorted(str(line) for line in server.client().acl_list())


def ready(worker: Workers, source: Server | str, target: Server, token: Path) -> Worker:
    """A worker that could cut over."""
    running = worker(source, target, SHAKER_CONTROL__TOKEN_FILE=str(token))
    running.wait_status(lambda found: found["cutover"]["possible"], "a possible cutover", 60)
    return running


class Applications(Counter):
    """Writers that log in as `app`."""

    def __init__(self, server: Server, writers: int = 4) -> None:
        super().__init__(server, writers, username="app", password="word")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", NAMES)
def test_the_rules_given_keep_applications_out(
    server: Callable[..., Server], worker: Workers, token: Path, name: str
) -> None:
    """Of writers that were held none gets through; the worker's user still writes; `shaker abort` restores them."""
    source, target = server(name), server(name)
    with_user(source)
    before = users(source)
    running = ready(worker, source, target, token)
    with Applications(source) as counter:
        wait_until(lambda: counter.last_write, "writes")
        code, report = Command(running, token, *ACL).ended()
        assert (code, report["outcome"], report["fence"]) == (0, "done", "acl"), report
        wait_until(lambda: "permission" in counter.refused, "the refusal")
        assert counter.found(target) == counter.found(source) == counter.acknowledged
    assert running.wait_ended() == 0
    assert source.client().incr("by the worker's user") == 1
    assert "word" not in running.describe()
    code, text = Command(running, token, name="abort").ended()
    assert code == 0, text
    assert users(source) == before


@pytest.mark.timeout(120)
def test_a_failure_restores_the_rules(source: Server, target: Server, worker: Workers, token: Path) -> None:
    """Of a rule that leaves writes, with 3; of a hook that fails; of the worker's own user nothing is touched."""
    with_user(source)
    before = users(source)
    running = ready(worker, source, target, token)
    for arguments, code, text in (
        (("--fence-acl", "app=-set"), 3, "may still use DEL"),
        ((*ACL, "--run-when-fenced", "exit 1"), 75, "the hook ended with 1"),
    ):
        found, report = Command(running, token, *arguments).ended()
        assert (found, text in report["reason"], report["source_open"]) == (code, True, True), report
        assert users(source) == before
        follows(running, source, target)
    code, text = Command(running, token, "--fence-acl", "default=-@write").ended()
    assert (code, "own user" in text) == (3, True), text


@pytest.mark.timeout(120)
def test_a_source_that_only_answers_ok_is_not_cut_over(
    source: Server, target: Server, worker: Workers, token: Path
) -> None:
    """With 3, before writes are fenced; --fence pause works."""
    with Relay(source, swallowing) as relay:
        running = ready(worker, f"redis://127.0.0.1:{relay.port}", target, token)
        code, report = Command(running, token).ended()
        assert (code, report["outcome"], report["source_open"]) == (3, "refused", True), report
        assert "use --fence pause" in report["reason"]
        assert "fencing" not in [each["phase"] for each in report["timeline"]]
        assert configuration(source)[0] == "0"
        takes_writes(source, 1)
        code, report = Command(running, token, "--fence", "pause").ended()
        assert (code, report["outcome"]) == (0, "done"), report
