"""There and back: a cutover that turns the replication round, load on the new home, and the way back, exactly once."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.e2e.test_cutover import Command
from tests.e2e.test_cutover_fences import users, with_user
from tests.faults.stopping import Mark, Moment, StoppingProxy
from tests.support.compare import differences
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

Workers = Callable[..., Worker]
Servers = Callable[..., Server]

REVERSE = ("--reverse", "--fence-acl", "app=-@write")
PATIENT = ("--timeout", "90", "--max-lag", "60", "--fence-seconds", "30")  # on a machine with other work
DATABASE = 3
SESSIONS = 200
CHECKPOINT = "shaker:checkpoint:default"


class Home:
    """Applications that count in database 3, each on a key of its own, on whichever server is their home.

    `history` has every number that a server has confirmed. An application repeats a write only if it was refused.
    Between two of its writes are `pause` seconds.
    """

    def __init__(self, home: Server, writers: int = 3, pause: float = 0.0) -> None:
        self.home = home
        self._pause = pause
        self.acknowledged = {f"app:{number}": 0 for number in range(writers)}
        self.doubled: list[str] = []
        self._stop = threading.Event()
        self._resting = threading.Event()
        self._threads = [
            threading.Thread(target=self._count, args=(key,), daemon=True) for key in self.acknowledged
        ]

    def _count(self, key: str) -> None:
        client, at = None, None
        while not self._stop.is_set():
            if self._resting.is_set():
                time.sleep(0.01)
                continue
            if client is None or at is not self.home:
                at = self.home
                client = redis.Redis(
                    port=at.port, username="app", password="word", db=DATABASE, socket_timeout=60,
                    retry=Retry(NoBackoff(), 0),
                )  # fmt: skip
            following = self.acknowledged[key] + 1
            pipeline = client.pipeline(transaction=True)
            pipeline.incr(key)
            pipeline.rpush(f"{key}:log", following)
            pipeline.set(f"{key}:at", following, ex=3600)
            try:
                number = int(pipeline.execute()[0])
            except redis.ResponseError:
                time.sleep(0.01)
                continue
            if number != self.acknowledged[key] + 1:
                self.doubled.append(f"{key}: {number} after {self.acknowledged[key]}")
            self.acknowledged[key] = number
            if self._pause:
                time.sleep(self._pause)

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Write nothing within the block."""
        self._resting.set()
        time.sleep(0.2)  # the writes under way
        yield
        self._resting.clear()

    def counted(self, more: int = 50) -> None:
        """Wait until each application has counted further."""
        before = dict(self.acknowledged)
        wait_until(
            lambda: all(self.acknowledged[key] >= before[key] + more for key in before), "applications to count", 30
        )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def check(self, *servers: Server) -> None:
        """Each number was counted once, and every server holds the last one and the whole log."""
        assert self.doubled == []
        for server in servers:
            client = server.client(db=DATABASE)
            found = {key: int(client.get(key) or 0) for key in self.acknowledged}
            assert found == self.acknowledged
            for key, last in self.acknowledged.items():
                log = [int(number) for number in client.lrange(f"{key}:log", 0, -1)]
                assert log == list(range(1, last + 1))


def with_backlog(new_home: Server, server: Servers) -> int:
    """Have a server keep a backlog, as it does once a replica was attached; return its number of full syncs."""
    replica = server(new_home.name)
    replica.replicate(new_home)
    replica.close()
    return full_syncs(new_home)


def full_syncs(server: Server) -> int:
    """How many snapshots a server has given."""
    return int(server.info("stats")["sync_full"])


def direction(running: Worker) -> str:
    """The direction in the worker's status."""
    return str(running.status()["cutover"]["direction"])


def cut(running: Worker, token: Path, home: Home, to: Server, *arguments: str) -> dict[str, object]:
    """Cut over, with a hook at which the applications move; return the report."""
    reached, moved = token.with_name("reached"), token.with_name("moved")
    for each in (reached, moved):
        each.unlink(missing_ok=True)
    hook = f"touch {reached}; while [ ! -e {moved} ]; do sleep 0.05; done"
    command = Command(running, token, *arguments, *PATIENT, "--run-when-fenced", hook)
    wait_until(lambda: reached.exists() or command.process.poll() is not None, "the hook", 120)
    home.home = to
    moved.touch()
    code, report = command.ended(120)
    assert (code, report["outcome"]) == (0, "done"), report
    found: dict[str, object] = report
    return found


def streams(running: Worker, way: str) -> None:
    """The worker is ready in that direction."""
    running.wait_status(
        lambda found: found["cutover"]["direction"] == way and found["cutover"]["possible"], f"{way} streaming", 120
    )


def equal(running: Worker, home: Home, other: Server) -> None:
    """The other server has everything that the home of the applications has, exactly once."""
    with home.resting():
        running.wait_applied(home.home)
        assert differences(home.home, other) == []
        home.check(home.home, other)


@pytest.fixture
def pair(server: Servers) -> tuple[Server, Server]:
    """Two servers with the user of the applications; the second one keeps a backlog."""
    old, new = server(), server()
    for each in (old, new):
        with_user(each)
    old.client().mset({f"key:{number}": number for number in range(500)})
    with_backlog(new, server)
    return old, new


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["redis-6.2", "redis-7.0", "redis-8.0", "valkey-9.1"])
def test_there_and_back(server: Servers, worker: Workers, token: Path, name: str) -> None:
    """Under load: both servers are equal after each direction, and there is no full sync but the first."""
    old, new = server(name), server(name)
    for each in (old, new):
        with_user(each)
    rules = users(old), users(new)
    old.client().mset({f"key:{number}": number for number in range(500)})
    before = with_backlog(new, server)
    running = worker(old, new, SHAKER_CONTROL__TOKEN_FILE=str(token))
    streams(running, "forward")
    with Home(old) as home:
        home.counted()
        report = cut(running, token, home, new, *REVERSE)
        assert report["reverse"] is True
        streams(running, "reverse")
        home.counted()
        equal(running, home, old)
        with pytest.raises(redis.ResponseError, match="permission"):
            redis.Redis(port=old.port, username="app", password="word").incr("k")
        assert users(new) == rules[1]
        cut(running, token, home, old, "--fence-acl", "app=-@write")
        home.counted()
    assert running.wait_ended() == 0
    assert (full_syncs(old), full_syncs(new)) == (1, before)
    assert users(old) == rules[0]
    home.check(old)


@pytest.mark.timeout(300)
def test_there_and_back_and_there_again(pair: tuple[Server, Server], worker: Workers, token: Path) -> None:
    """By one process, three turns; then the end, and a later worker is refused."""
    old, new = pair
    rules, before = (users(old), users(new)), full_syncs(new)
    running = worker(old, new, SHAKER_CONTROL__TOKEN_FILE=str(token))
    streams(running, "forward")
    with Home(old) as home:
        for way, to in itertools.islice(itertools.cycle((("reverse", new), ("forward", old))), 3):
            home.counted()
            cut(running, token, home, to, *REVERSE)
            streams(running, way)
            home.counted()
            equal(running, home, old if to is new else new)
        cut(running, token, home, old, "--fence-acl", "app=-@write")
        home.counted()
    assert running.wait_ended() == 0
    assert (full_syncs(old), full_syncs(new)) == (1, before)
    assert users(old) == rules[0]
    home.check(old)
    later = worker(old, new, SHAKER_CONTROL__TOKEN_FILE=str(token))
    assert later.wait_ended() == 3
    assert "cut over at offset" in later.describe()
    code, text = Command(running, token, name="abort").ended()
    assert code == 0, text
    assert users(new) == rules[1]


# Where the worker is killed: at a request to the old source, or as soon as the note says that it is turned.
NEVER = Mark(("NEVER",))
KILLS: dict[str, tuple[Mark, Moment, str]] = {
    "before its record": (Mark(("CLIENT", "UNPAUSE")), "answer withheld", "forward"),
    "before its record is written": (Mark(("DEL", CHECKPOINT)), "withheld", "forward"),
    "behind its record": (Mark(("EXEC",), since="DEL"), "answer withheld", "forward"),
    "behind the note": (NEVER, "withheld", "reverse"),
}


@pytest.mark.timeout(240)
@pytest.mark.parametrize("step", KILLS)
def test_a_worker_killed_while_it_turns(
    pair: tuple[Server, Server], worker: Workers, token: Path, step: str
) -> None:
    """Before the note it goes on as before and the source opens; behind it, it goes on in the other direction."""
    old, new = pair
    before, rules = full_syncs(new), users(old)
    mark, moment, way = KILLS[step]
    settings = {"SHAKER_CONTROL__TOKEN_FILE": str(token)}
    with StoppingProxy(old, mark, moment) as proxy, Home(old) as home:
        running = worker(proxy.url, new, **settings)
        streams(running, "forward")
        home.counted()
        # The applications move once the cutover is done: until then the old source may open again.
        command = Command(running, token, *REVERSE, "--fence-seconds", "3")
        if mark is NEVER:
            wait_until(lambda: b", 1]" in (new.client().hget(CHECKPOINT, "cutover") or b""), "the note")
        else:
            running.wait(lambda: proxy.stopped, step, 60)
        running.kill()
        proxy.hang_up()
        later = worker(proxy.url, new, **settings, SHAKER_HEALTH__PORT=str(running.port))
        code, report = command.ended(120)
        if way == "forward":
            assert (code, report["outcome"]) == (75, "failed"), report
            assert users(old) == rules
        else:
            assert (code, report["outcome"]) == (0, "done"), report
            home.home = new
        streams(later, way)
        home.counted()
        equal(later, home, old if way == "reverse" else new)
        # What was left of the turn does no harm: the same again.
        for to in (new,) if way == "forward" else (old, new):
            cut(later, token, home, to, *REVERSE)
            home.counted()
            streams(later, "reverse" if to is new else "forward")
            equal(later, home, old if to is new else new)
    assert (full_syncs(old), full_syncs(new)) == (1, before)


@pytest.mark.timeout(240)
def test_a_worker_killed_in_the_other_direction(pair: tuple[Server, Server], worker: Workers, token: Path) -> None:
    """Again and again, under load: the next one with the same settings goes on there, exactly once."""
    old, new = pair
    before = full_syncs(new)
    settings = {"SHAKER_CONTROL__TOKEN_FILE": str(token)}
    running = worker(old, new, **settings)
    streams(running, "forward")
    with Home(old) as home:
        home.counted()
        cut(running, token, home, new, *REVERSE)
        for round_ in range(6):
            time.sleep(0.05 * round_)
            running.kill()
            home.counted(5)
            running = worker(old, new, **settings)
            if round_ % 2:
                streams(running, "reverse")
        streams(running, "reverse")
        home.counted()
        equal(running, home, old)
        running.terminate()
        assert running.wait_ended() == 0
        home.counted(5)
        running = worker(old, new, **settings)
        streams(running, "reverse")
        equal(running, home, old)
    assert "(reverse)" in Command(running, token, name="status").ended()[1]
    assert (full_syncs(old), full_syncs(new)) == (1, before)


@pytest.mark.timeout(120)
def test_what_stands_against_it_is_said_before_the_fence(server: Servers, worker: Workers, token: Path) -> None:
    """A fence that shuts out the worker, a new home without a backlog, and rights that are missing there: 3."""
    old, new = server(), server()
    with_user(old)
    running = worker(old, new, SHAKER_CONTROL__TOKEN_FILE=str(token))
    streams(running, "forward")
    for arguments, text in (
        (("--reverse",), "would shut out the worker, too"),
        (REVERSE, "keeps no replication backlog"),
        (("--dry-run", *REVERSE), "keeps no replication backlog"),
    ):
        code, found = Command(running, token, *arguments).ended()
        assert (code, text in found) == (3, True), found
    with_backlog(new, server)
    new.client().execute_command("ACL", "SETUSER", "default", "-psync")  # type: ignore[no-untyped-call]
    code, found = Command(running, token, *REVERSE).ended()
    assert (code, "psync" in found) == (3, True), found
    new.client().execute_command("ACL", "SETUSER", "default", "+psync")  # type: ignore[no-untyped-call]
    code, found = Command(running, token, "--dry-run", *REVERSE).ended()
    assert code == 0, found
    assert old.client().client_list()
    assert running.status()["cutover"]["phase"] == "idle"


@pytest.mark.timeout(180)
def test_other_workers_are_refused_in_the_other_direction(
    pair: tuple[Server, Server], worker: Workers, token: Path
) -> None:
    """Circles of another name; a worker of the same name takes over, whichever way its settings are written."""
    old, new = pair
    running = worker(old, new, SHAKER_CONTROL__TOKEN_FILE=str(token))
    streams(running, "forward")
    with Home(old) as home:
        cut(running, token, home, new, *REVERSE)
        streams(running, "reverse")
        merge = {"SHAKER_TARGET__ON_EXISTING": "merge", "SHAKER_NAME": "other"}
        circle = worker(old, new, **merge)
        assert circle.wait_ended() == 3
        assert "gets its data from the target" in circle.describe()
        swapped = worker(new, old, SHAKER_CONTROL__TOKEN_FILE=str(token))
        streams(swapped, "forward")
        assert running.wait_ended() == 6
        equal(swapped, home, old)


@pytest.mark.timeout(180)
def test_a_failure_in_the_other_direction_changes_nothing(
    pair: tuple[Server, Server], worker: Workers, token: Path
) -> None:
    """The new home takes writes again, the old one still refuses them; without a worker there is nothing to undo."""
    old, new = pair
    rules = users(new)
    running = worker(old, new, SHAKER_CONTROL__TOKEN_FILE=str(token))
    streams(running, "forward")
    with Home(old) as home:
        cut(running, token, home, new, *REVERSE)
        streams(running, "reverse")
        shut = users(old)
        code, report = Command(running, token, *REVERSE, "--run-when-fenced", "exit 1").ended()
        assert (code, report["outcome"], report["source_open"]) == (75, "aborted", True), report
        assert (users(old), users(new)) == (shut, rules)
        home.counted()
        equal(running, home, old)
        port = running.port
        running.terminate()
        assert running.wait_ended() == 0
        assert port == running.port
        code, text = Command(running, token, name="abort").ended()
        assert (code, "nothing to undo" in text) == (0, True), text
        assert users(old) == shut


@pytest.mark.timeout(180)
def test_keys_that_are_renewed_after_the_turn_live(
    pair: tuple[Server, Server], worker: Workers, token: Path
) -> None:
    """Their expiry on the old source is that from before the turn, earlier than on the new home."""
    old, new = pair
    running = worker(old, new, SHAKER_CONTROL__TOKEN_FILE=str(token))
    streams(running, "forward")
    with Home(old) as home:
        home.counted()
        command = Command(running, token, *REVERSE, "--run-when-fenced", "sleep 3")
        for number in range(SESSIONS):
            old.client().set(f"session:{number}", 0, px=15_000 + 50 * number)
        running.wait_status(lambda found: found["cutover"]["phase"] == "hook", "the hook", 60)
        home.home = new
        waiting = set(range(SESSIONS))
        until = time.monotonic() + 60
        while waiting and time.monotonic() < until:
            for number in sorted(waiting):
                key = f"session:{number}"
                if int(new.client().pttl(key)) < 1500:  # the old source has expired it already
                    waiting.discard(number)
                    with new.client().pipeline(transaction=True) as pipeline:
                        pipeline.expire(key, 1000)
                        pipeline.incr(key)
                        pipeline.execute()
        code, report = command.ended(120)
        assert (code, report["outcome"]) == (0, "done"), report
        streams(running, "reverse")
        equal(running, home, old)
        kept = [number for number in range(SESSIONS) if old.client().ttl(f"session:{number}") > 100]
        assert len(kept) > 20, kept


@pytest.mark.timeout(180)
def test_applications_that_are_stopped_need_no_lasting_fence(
    pair: tuple[Server, Server], worker: Workers, token: Path
) -> None:
    """With --fence none, of a migration that holds; the next worker in mode=migrate goes on in the other direction."""
    old, new = pair
    settings = {"SHAKER_CONTROL__TOKEN_FILE": str(token), "SHAKER_MIGRATE__HOLD": "true", "SHAKER_MODE": "migrate"}
    running = worker(old, new, **settings)
    streams(running, "forward")
    with Home(old) as home:
        home.counted()
        with home.resting():
            code, report = Command(running, token, "--reverse", "--fence", "none").ended()
            assert (code, report["outcome"]) == (0, "done"), report
            home.home = new
        streams(running, "reverse")
        home.counted()
        running.terminate()
        assert running.wait_ended() == 0
        home.counted(5)
        running = worker(old, new, **settings)
        streams(running, "reverse")
        equal(running, home, old)


@pytest.mark.timeout(180)
def test_a_backlog_that_is_lost_costs_a_full_sync_and_no_more(
    pair: tuple[Server, Server], worker: Workers, token: Path
) -> None:
    """The worker was away for too long: the copy on the old source is replaced, and the way back stays."""
    old, new = pair
    rules = users(old)
    before = full_syncs(new)
    running = worker(old, new, SHAKER_CONTROL__TOKEN_FILE=str(token))
    streams(running, "forward")
    with Home(old) as home:
        cut(running, token, home, new, *REVERSE)
        streams(running, "reverse")
        running.kill()
        new.client().config_set("repl-backlog-size", 16384)
        home.counted(500)
        new.client().set("large", "x" * 100_000)
        new.client().config_set("repl-backlog-size", 64 * 1024 * 1024)
        running = worker(old, new, SHAKER_CONTROL__TOKEN_FILE=str(token))
        streams(running, "reverse")
        assert full_syncs(new) == before + 1
        equal(running, home, old)
        cut(running, token, home, old, "--fence-acl", "app=-@write")
        home.counted()
    assert users(old) == rules
    home.check(old)
