"""Cutover under a load of writes: nothing acknowledged is lost, and after any failure the source takes writes again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from shaker.commands.sample import Load
from tests.faults.stopping import Mark, Moment, StoppingProxy
from tests.support.servers import Server, wait_until
from tests.support.worker import ROOT, Worker

Workers = Callable[..., Worker]
NAMES = ("min-replicas-to-write", "min-replicas-max-lag")


class Counter:
    """Writers that count, each on a key of its own; `acknowledged` has the last number that the source confirmed."""

    def __init__(self, source: Server, writers: int = 4, **options: Any) -> None:
        self.acknowledged = {f"counter:{number}": 0 for number in range(writers)}
        self.last_write = 0.0
        self.refused = ""
        self._options = {"port": source.port, **options}
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._count, args=(key,), daemon=True) for key in self.acknowledged
        ]

    def _count(self, key: str) -> None:
        client = redis.Redis(**self._options, socket_timeout=60, retry=Retry(NoBackoff(), 0))
        while not self._stop.is_set():
            try:
                number = int(client.incr(key))  # type: ignore[arg-type]
            except redis.RedisError as error:
                self.refused = str(error)
                time.sleep(0.01)
                continue
            self.acknowledged[key] = number
            self.last_write = time.monotonic()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def found(self, server: Server) -> dict[str, int]:
        """The numbers that a server holds."""
        return {key: int(server.client().get(key) or 0) for key in self.acknowledged}


class Command:
    """`shaker cutover --json` as a process."""

    def __init__(self, running: Worker, token: Path, *arguments: str, name: str = "cutover") -> None:
        environment = running.environment | {
            "SHAKER_CONTROL__TOKEN_FILE": str(token),
            "SHAKER_HEALTH__PORT": str(running.port),
        }
        form = ("--json",) if name == "cutover" else ()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "shaker", name, *form, *arguments],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ended(self, seconds: float = 60) -> tuple[int, Any]:
        """Wait for the end; return the exit code and the report, or the errors where there is none."""
        out, errors = self.process.communicate(timeout=seconds)
        return self.process.returncode, json.loads(out) if out.startswith("{") else out + errors


def takes_writes(server: Server, seconds: float) -> None:
    """Wait until the source acknowledges a write, `seconds` at most."""
    client = redis.Redis(port=server.port, socket_timeout=seconds)
    began = time.monotonic()
    while True:
        try:
            client.incr("written after")
            return
        except redis.RedisError:
            assert time.monotonic() - began < seconds, "the source takes no writes"
            time.sleep(0.05)


def configuration(server: Server) -> list[str]:
    """The source's configuration that a fence changes."""
    return [str(server.client().config_get(name)[name]) for name in NAMES]


def follows(running: Worker, source: Server, target: Server) -> None:
    """The worker streams, and what is written now reaches the target."""
    running.wait_state("streaming")
    source.client().incr("followed")
    running.wait_applied(source)
    assert target.client().get("followed") == source.client().get("followed")


@pytest.fixture
def running(source: Server, target: Server, worker: Workers, token: Path) -> Worker:
    """A worker that streams."""
    source.client().mset({f"key:{number}": number for number in range(1000)})
    started = worker(source, target, SHAKER_CONTROL__TOKEN_FILE=str(token))
    started.wait_state("streaming", seconds=60)
    started.wait_status(lambda found: found["cutover"]["possible"], "a possible cutover", 60)
    return started


@pytest.mark.timeout(120)
@pytest.mark.parametrize("fence", ["replicas", "pause"])
def test_the_last_acknowledged_write_is_on_the_target(
    source: Server, target: Server, running: Worker, token: Path, fence: str, tmp_path: Path
) -> None:
    """Writers get no answer and then an error; the target has all that was acknowledged; the report says so."""
    with Counter(source) as counter, Load(source.client(), keys=300, rate=1000):
        running.wait_status(lambda found: found["stream"]["commands_applied"] > 500, "load")
        file = tmp_path / "report.json"
        code, report = Command(running, token, "--fence", fence, "--report", str(file)).ended()
        assert (code, report["outcome"]) == (0, "done"), report
        assert running.wait_ended() == 0
        held = counter.found(source) if fence == "replicas" else None
        if fence == "replicas":
            wait_until(lambda: "NOREPLICAS" in counter.refused, "the refusal")
            assert held == counter.acknowledged == counter.found(target)
            assert configuration(source)[0] == "1000000"
        else:
            assert counter.found(target) == counter.acknowledged
            assert configuration(source)[0] == "0"
    assert report["fenced_seconds"] < 3, report  # a loaded machine: the bench measures it
    assert report["verification"]["keys_compared"] >= 1000
    assert [each["phase"] for each in report["timeline"]] == [
        *("preparing", "verifying", "fencing", "catching_up", "comparing", "hook", "closing", "done"),
    ]
    assert json.loads(file.read_text()) == report


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", ["redis-6.2", "redis-8.0", "valkey-9.1"])
def test_other_servers_are_fenced_alike(
    server: Callable[..., Server], worker: Workers, token: Path, name: str
) -> None:
    """Pause, lasting fence, and what writers see."""
    source, target = server(name), server(name)
    source.client().mset({f"key:{number}": number for number in range(100)})
    running = worker(source, target, SHAKER_CONTROL__TOKEN_FILE=str(token))
    running.wait_status(lambda found: found["cutover"]["possible"], "a possible cutover", 60)
    with Counter(source, writers=2) as counter:
        wait_until(lambda: counter.last_write, "writes")
        code, report = Command(running, token).ended()
        assert (code, report["outcome"]) == (0, "done"), report
        wait_until(lambda: "NOREPLICAS" in counter.refused, "the refusal")
        assert counter.found(target) == counter.found(source) == counter.acknowledged


@pytest.mark.timeout(120)
def test_a_later_worker_refuses_and_abort_undoes_the_cutover(
    source: Server, target: Server, worker: Workers, running: Worker, token: Path
) -> None:
    """The target has writers of its own by then; `shaker abort` opens the source, and the stream resumes."""
    source.client().config_set("min-replicas-max-lag", 7)
    code, report = Command(running, token).ended()
    assert (code, report["outcome"]) == (0, "done"), report
    port = running.port
    assert running.wait_ended() == 0
    later = worker(source, target, SHAKER_CONTROL__TOKEN_FILE=str(token))
    assert later.wait_ended() == 3
    assert "cut over at offset" in later.describe()
    assert configuration(source) == ["1000000", "7"]

    assert port == running.port
    code, text = Command(running, token, name="abort").ended()
    assert code == 0, text
    assert configuration(source) == ["0", "7"]
    takes_writes(source, 1)
    again = worker(source, target)
    follows(again, source, target)
    assert again.status()["full_syncs"] == 0


@pytest.mark.timeout(120)
def test_the_hook_runs_within_the_fence_and_its_failure_aborts(
    source: Server, target: Server, running: Worker, token: Path
) -> None:
    """No write is acknowledged while it runs; after a failure the writers continue where they were."""
    with Counter(source) as counter:
        wait_until(lambda: counter.last_write, "writes")
        code, report = Command(running, token, "--run-when-fenced", "sleep 0.5; exit 9").ended()
        assert (code, report["outcome"]) == (75, "aborted"), report
        assert "the hook ended with 9" in report["reason"]
        assert report["fenced_seconds"] >= 0.5
        before = time.monotonic()
        wait_until(lambda: counter.last_write > before, "writes again", 5)
        assert counter.refused == ""
        assert configuration(source)[0] == "0"
        nowhere = ("--report", "/nowhere/report.json")  # a report that cannot be written changes no outcome
        code, report = Command(running, token, "--run-when-fenced", "test -n $CUTOVER_TARGET", *nowhere).ended()
        assert (code, report["outcome"]) == (0, "done"), report
        assert counter.found(target) == counter.found(source)


@pytest.mark.timeout(180)
def test_what_ends_a_cutover_opens_the_source(source: Server, target: Server, running: Worker, token: Path) -> None:
    """A timeout, `shaker abort`, SIGINT and SIGKILL of the command: each time the worker streams on."""
    hook = ("--run-when-fenced", "sleep 30")

    code, report = Command(running, token, *hook, "--timeout", "1").ended()
    assert (code, report["outcome"], report["source_open"]) == (75, "timed_out", True), report
    takes_writes(source, 1)
    follows(running, source, target)

    command = Command(running, token, *hook)
    running.wait_status(lambda found: found["cutover"]["phase"] == "hook", "the hook")
    code, text = Command(running, token, name="abort").ended()
    assert code == 0, text
    code, report = command.ended()
    assert (code, report["outcome"]) == (75, "aborted"), report
    takes_writes(source, 1)
    follows(running, source, target)

    command = Command(running, token, *hook)
    running.wait_status(lambda found: found["cutover"]["phase"] == "hook", "the hook")
    command.process.send_signal(signal.SIGINT)
    code, report = command.ended()
    assert (code, report["reason"]) == (75, "aborted: interrupted"), report
    takes_writes(source, 1)
    follows(running, source, target)

    command = Command(running, token, *hook, "--fence-seconds", "3")
    running.wait_status(lambda found: found["cutover"]["phase"] == "hook", "the hook")
    command.process.kill()
    takes_writes(source, 4)
    command.process.communicate()
    running.wait_status(lambda found: found["cutover"]["phase"] == "idle", "the end")
    assert "is gone" in running.status()["cutover"]["report"]["reason"]
    follows(running, source, target)
    assert running.status()["full_syncs"] == 1
    assert configuration(source)[0] == "0"


@pytest.mark.timeout(120)
@pytest.mark.parametrize("ending", ["abort", "SIGINT"])
def test_a_hook_ends_with_its_cutover(
    source: Server, target: Server, running: Worker, token: Path, tmp_path: Path, ending: str
) -> None:
    """With everything that it has started, also where that ignores SIGTERM: it would switch to the wrong server."""
    begun, switched = tmp_path / "begun", tmp_path / "switched"
    script = f"trap '' TERM; touch {begun}; sleep 8; touch {switched}"
    command = Command(running, token, "--run-when-fenced", f'sh -c "{script}"; true')
    wait_until(begun.exists, "the hook", 60)
    began = time.monotonic()
    if ending == "abort":
        code, text = Command(running, token, name="abort").ended()
        assert code == 0, text
    else:
        command.process.send_signal(signal.SIGINT)
    code, report = command.ended()
    assert (code, report["outcome"]) == (75, "aborted"), report
    takes_writes(source, 1)
    time.sleep(max(0.0, began + 9 - time.monotonic()))
    assert not switched.exists()
    follows(running, source, target)


@pytest.mark.timeout(120)
def test_a_stopped_worker_opens_the_source(source: Server, target: Server, running: Worker, token: Path) -> None:
    """SIGTERM within the fence: writers continue at once, and the worker ends as usual."""
    with Counter(source, writers=2) as counter:
        command = Command(running, token, "--run-when-fenced", "sleep 20")
        running.wait_status(lambda found: found["cutover"]["phase"] == "hook", "the hook")
        running.terminate()
        stopped = time.monotonic()
        wait_until(lambda: counter.last_write > stopped, "writes", 5)
        code, report = command.ended()
        assert code == 75, report
        assert running.wait_ended() == 0
        assert counter.refused == ""


@pytest.mark.timeout(120)
def test_a_difference_ends_a_cutover_with_5(source: Server, target: Server, running: Worker, token: Path) -> None:
    """Found before the fence: writes were never held."""
    source.client().set("differs", 1)
    running.wait_applied(source)
    target.client().set("differs", 2)
    code, report = Command(running, token).ended()
    assert (code, report["outcome"], report["fenced_seconds"]) == (5, "different", 0), report
    assert report["verification"]["examples"][0]["key"] == "differs"
    takes_writes(source, 1)
    code, report = Command(running, token, "--no-verify").ended()
    assert code == 3
    assert "verify --repair" in report


@pytest.mark.timeout(120)
def test_a_cutover_that_is_not_possible_names_each_reason(
    source: Server, target: Server, worker: Workers, token: Path
) -> None:
    """Exit code 3, also with --dry-run, and /status says the same."""
    rule = ("ACL", "SETUSER", "worker")
    source.client().execute_command(*rule, "on", ">secret", "~*", "&*", "+@all", "-config|set")
    url = source.url.replace("redis://", "redis://worker:secret@")
    running = worker(url, target, SHAKER_CONTROL__TOKEN_FILE=str(token))
    running.wait_state("streaming")
    running.wait_status(lambda found: found["cutover"]["reasons"], "the reason")
    code, text = Command(running, token, "--dry-run").ended()
    assert code == 3
    assert "ACL SETUSER worker +config|set" in text
    code, text = Command(running, token, "--dry-run", "--fence", "pause").ended()
    assert (code, text) == (0, "A cutover is possible.\n")
    source.client().execute_command(*rule, "-client|pause")
    code, text = Command(running, token, "--fence", "pause").ended()
    assert code == 3
    assert "+client|pause" in text


@pytest.mark.timeout(120)
def test_a_lag_is_bounded_and_the_proof_can_be_left_out(
    source: Server, target: Server, worker: Workers, token: Path
) -> None:
    """--max-lag refuses with 3 or accepts; with --no-verify no key is compared, and all is applied nevertheless."""
    running = worker(source, target, SHAKER_CONTROL__TOKEN_FILE=str(token), SHAKER_RATE__STREAM_COMMANDS="200")
    running.wait_status(lambda found: found["cutover"]["possible"], "a possible cutover", 60)
    pipeline = source.client().pipeline(transaction=False)
    for _ in range(2000):
        pipeline.incr("counter")
    pipeline.execute()
    running.wait_status(lambda found: found["stream"]["lag_seconds"] > 1, "a lag")
    code, text = Command(running, token, "--dry-run", "--max-lag", "0.5").ended()
    assert (code, "is above 0.5 s" in text) == (3, True), text
    code, report = Command(running, token, "--max-lag", "60", "--no-verify", "--timeout", "60").ended()
    assert (code, report["outcome"], report["verification"]) == (0, "done", None), report
    assert target.client().get("counter") == b"2000"


# Where the worker is killed: at a request to the source that a proxy withholds, or whose answer it withholds.
KILLS: dict[str, tuple[Mark, Moment]] = {
    "before the note": (Mark(("CONFIG", "GET", NAMES[0]), 3), "withheld"),
    "before the fence": (Mark(("CLIENT", "PAUSE")), "withheld"),
    "behind the fence": (Mark(("CLIENT", "PAUSE")), "answer withheld"),
    "at a renewal within the hook": (Mark(("CLIENT", "PAUSE"), 2), "answer withheld"),
    "before the lasting fence": (Mark(("CONFIG", "SET", NAMES[0])), "withheld"),
    "at the proof of CONFIG SET": (Mark(("CONFIG", "SET", NAMES[1])), "answer withheld"),
    "behind the lasting fence": (Mark(("CONFIG", "SET", NAMES[1]), 3), "answer withheld"),
    "once it is done": (Mark(("CLIENT", "UNPAUSE")), "withheld"),
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("step", KILLS)
def test_a_worker_killed_at_any_step_leaves_the_source_open(
    source: Server, target: Server, worker: Workers, token: Path, step: str
) -> None:
    """Within the fence's seconds; the next worker streams on, and nothing is lost. Once done, it stays shut."""
    settings = {"SHAKER_CONTROL__TOKEN_FILE": str(token)}
    source.client().mset({f"key:{number}": number for number in range(1000)})
    with StoppingProxy(source, *KILLS[step]) as proxy, Counter(source, writers=2) as counter:
        running = worker(proxy.url, target, **settings)
        running.wait_status(lambda found: found["cutover"]["possible"], "a possible cutover", 60)
        port = running.port
        hook = "sleep 2" if step == "at a renewal within the hook" else "true"
        command = Command(running, token, "--fence-seconds", "3", "--run-when-fenced", hook)
        running.wait(lambda: proxy.stopped, step, 60)
        running.kill()
        killed = time.monotonic()
        proxy.hang_up()
        if step == "once it is done":
            code, report = command.ended()
            assert (code, report["outcome"]) == (0, "done"), report
            wait_until(lambda: "NOREPLICAS" in counter.refused, "the refusal", 5)
            assert counter.found(target) == counter.found(source) == counter.acknowledged
            assert configuration(source)[0] == "1000000"
            return
        later = worker(source, target, **settings, SHAKER_HEALTH__PORT=str(port))
        wait_until(lambda: counter.last_write > killed, "writes", 6)
        code, report = command.ended()
        assert (code, report["outcome"], report["source_open"]) == (75, "failed", True), report
        follows(later, source, target)
        assert later.status()["full_syncs"] == 0
        assert configuration(source)[0] == "0"
    later.wait_applied(source)
    assert counter.found(target) == counter.found(source)


@pytest.mark.timeout(120)
def test_the_command_undoes_what_a_killed_worker_left(
    source: Server, target: Server, worker: Workers, token: Path
) -> None:
    """No supervisor starts another worker: the command itself takes the replication over for as long."""
    source.client().set("key", 1)
    with StoppingProxy(source, Mark(("CONFIG", "SET", NAMES[1]), 3), "answer withheld") as proxy:
        running = worker(proxy.url, target, SHAKER_CONTROL__TOKEN_FILE=str(token))
        running.wait_status(lambda found: found["cutover"]["possible"], "a possible cutover", 60)
        command = Command(running, token, "--fence-seconds", "3")
        running.wait(lambda: proxy.stopped, "the lasting fence", 60)
        running.kill()
        proxy.hang_up()
        assert configuration(source)[0] == "1000000"
        code, report = command.ended()
        assert (code, report["outcome"], report["source_open"]) == (75, "failed", True), report
        assert configuration(source)[0] == "0"
        takes_writes(source, 1)
    follows(worker(source, target), source, target)
