"""Three real Sentinels on either side: the primary is found and followed, and the worker is never made one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.sentinel.sentinels import SERVICE, Sentinels
from tests.support.compare import differences
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

pytestmark = pytest.mark.timeout(180)
Servers = Callable[..., Server]
Workers = Callable[..., Worker]
SETTINGS = {"SHAKER_RETRY__MAX_SECONDS": "0.5", "SHAKER_RETRY__ACCESS_SECONDS": "1"}


@pytest.fixture
def watched(server: Servers) -> Callable[..., tuple[Server, Server, Sentinels]]:
    """A factory of a primary, its replica, and Sentinels of both."""
    with ExitStack() as stack:

        def start(**settings: str) -> tuple[Server, Server, Sentinels]:
            primary, replica = server(), server()
            replica.replicate(primary)
            sentinels = stack.enter_context(Sentinels(primary, **settings))
            return primary, replica, sentinels

        yield start


class Counting:
    """Writes to whoever is the primary, one write at a time, and keeps what was answered. A context manager."""

    def __init__(self, *servers: Server) -> None:
        self.answered = 0
        self._servers = servers
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        clients = [each.client(retry=None) for each in self._servers]
        while not self._stopped.wait(0.001):
            for client in clients:
                try:
                    client.pipeline(transaction=True).incr("counter").rpush("list", time.monotonic_ns()).execute()
                    self.answered += 1
                except Exception:
                    continue
                break

    def wait_more(self, count: int = 50) -> None:
        """Wait until so many more writes were answered."""
        goal = self.answered + count
        wait_until(lambda: self.answered >= goal, "writes to be answered", 60)

    def __enter__(self) -> Counting:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()


def counts(server: Server) -> tuple[int, int, int]:
    """Return the counter, the length of the list and how many different entries it has."""
    client = server.client()
    entries = client.lrange("list", 0, -1)
    return int(client.get("counter") or 0), len(entries), len(set(entries))


def assert_exact(source: Server, target: Server) -> None:
    """Assert that the target has what the source has, and each of its writes once."""
    assert counts(target) == counts(source)
    assert counts(target)[1] == counts(target)[2]
    assert differences(source, target) == []


@pytest.mark.parametrize("how", ["failover", "killed"])
def test_the_source_fails_over(
    how: str, watched: Callable[..., tuple[Server, Server, Sentinels]], target: Server, worker: Workers
) -> None:
    """The worker follows to the promoted replica and goes on by partial sync."""
    primary, replica, sentinels = watched()
    running = worker(sentinels.url, target, **SETTINGS)
    running.wait_state("streaming")
    with Counting(primary) as counting:
        counting.wait_more()
    # What a primary had not sent to its replica is lost in any failover: here, nothing.
    wait_until(lambda: replica.info()["slave_repl_offset"] >= primary.offset(), "the replica to be equal")
    running.wait_applied(primary)
    if how == "failover":
        # Without a pause the old primary takes hellos of the Sentinels, into a history that the replica has left.
        primary.client().client_pause(20_000, all=False)
        sentinels.failover(replica)
    else:
        primary.kill()
        sentinels.wait_primary(replica)
    with Counting(replica) as counting:
        counting.wait_more()
    running.wait_status(lambda s: s["source"]["address"].endswith(f":{replica.port}"), "the new primary", 60)
    running.wait_applied(replica)

    assert_exact(replica, target)
    status = running.wait_state("streaming")
    assert status["full_syncs"] == 1
    assert status["partial_syncs"] >= 1


def test_the_source_fails_over_under_load(
    watched: Callable[..., tuple[Server, Server, Sentinels]], target: Server, worker: Workers
) -> None:
    """What the old primary took and lost is gone on the target, too, by a full sync where there is no other way."""
    primary, replica, sentinels = watched()
    running = worker(sentinels.url, target, **SETTINGS)
    running.wait_state("streaming")
    with Counting(primary, replica) as counting:
        counting.wait_more()
        sentinels.failover(replica)
        wait_until(lambda: primary.info()["role"] == "slave", "the old primary to be a replica", 60)
        counting.wait_more()
    running.wait_status(lambda s: s["source"]["address"].endswith(f":{replica.port}"), "the new primary", 60)
    running.wait_state("streaming")
    running.wait_applied(replica)
    running.wait_status(lambda s: s["ready"], "the sweep to end", 60)

    assert_exact(replica, target)


@pytest.mark.parametrize("how", ["failover", "killed"])
def test_the_target_fails_over(
    how: str, watched: Callable[..., tuple[Server, Server, Sentinels]], source: Server, worker: Workers
) -> None:
    """Checkpoint and data go to the promoted replica together, and the worker goes on there, exactly."""
    primary, replica, sentinels = watched()
    running = worker(source, sentinels.url, **SETTINGS)
    running.wait_state("streaming")
    with Counting(source) as counting:
        counting.wait_more()
        if how == "failover":
            sentinels.failover(replica)
        else:
            # Unsent writes may go with the primary: the checkpoint goes with them.
            primary.kill()
            sentinels.wait_primary(replica)
        counting.wait_more()
    running.wait_status(lambda s: s["target"]["address"].endswith(f":{replica.port}"), "the new primary", 60)
    running.wait_state("streaming")
    running.wait_applied(source)

    assert_exact(source, replica)
    assert counts(source)[1] == counting.answered
    assert running.status()["full_syncs"] == 1


@pytest.mark.parametrize("side", ["source", "target"])
def test_sentinels_have_a_password_of_their_own(
    side: str,
    watched: Callable[..., tuple[Server, Server, Sentinels]],
    server: Servers,
    worker: Workers,
    tmp_path: Path,
) -> None:
    primary, _, sentinels = watched(password="sentinel-secret")
    other = server()
    ends = (sentinels.url, other) if side == "source" else (other, sentinels.url)
    file = tmp_path / "password"
    file.write_text("not-the-secret")
    running = worker(*ends, **{f"SHAKER_{side.upper()}__SENTINEL__PASSWORD_FILE": str(file)}, **SETTINGS)

    def told(word: str) -> bool:
        return any(word in event["error"] for event in running.events("link failed"))

    running.wait(lambda: told("WRONGPASS"), "the refusal")
    event = running.events("link failed")[0]
    assert event["kind"] == "access"
    assert f"{side}.sentinel.password" in event["hint"]
    assert event["next_try_seconds"] == 1.0

    file.unlink()
    running.wait(lambda: told(f"{side}.sentinel.password_file"), "the missing file in the log")
    file.write_text("sentinel-secret\n")
    running.wait_state("streaming")
    source, target = (primary, other) if side == "source" else (other, primary)
    source.client().incr("counter")
    running.wait_applied(source)
    assert target.client().get("counter") == b"1"
    shown = "\n".join(running.output) + running.get("/status")[1]
    assert "sentinel-secret" not in shown
    assert "not-the-secret" not in shown


def test_sentinels_have_a_user_of_their_own(
    watched: Callable[..., tuple[Server, Server, Sentinels]], target: Server, worker: Workers
) -> None:
    _, _, sentinels = watched(user="watcher", password="sentinel-secret")
    settings = {
        "SHAKER_SOURCE__SENTINEL__USERNAME": "watcher",
        "SHAKER_SOURCE__SENTINEL__PASSWORD": "sentinel-secret",
    }
    running = worker(sentinels.url, target, **settings, **SETTINGS)
    running.wait_state("streaming")


def test_sentinels_that_are_down_are_passed_over(
    watched: Callable[..., tuple[Server, Server, Sentinels]], target: Server, worker: Workers
) -> None:
    """One Sentinel that answers is enough; none is a failure that names each, and is tried again."""
    _, _, sentinels = watched()
    for process in sentinels.processes[:2]:
        process.kill()
    running = worker(sentinels.url, target, **SETTINGS)
    running.wait_state("streaming")
    sentinels.processes[2].kill()
    second = worker(sentinels.url, target, SHAKER_NAME="second", **SETTINGS)
    event = second.wait(lambda: second.events("link failed"), "the failure")[0]
    assert event["kind"] == "sentinel"
    assert all(str(port) in event["error"] for port in sentinels.ports)
    # Links that stand do not depend on Sentinels.
    assert running.status()["state"] == "streaming"


def test_an_unknown_service_is_told(
    watched: Callable[..., tuple[Server, Server, Sentinels]], target: Server, worker: Workers
) -> None:
    _, _, sentinels = watched()
    running = worker(sentinels.url.replace(SERVICE, "another"), target, **SETTINGS)
    event = running.wait(lambda: running.events("link failed"), "the failure")[0]
    assert "another" in event["error"]
    assert "source.url" in event["hint"]


def test_the_worker_is_never_promoted(server: Servers, worker: Workers) -> None:
    """As the only replica of a primary that dies, the worker is down in the Sentinels' eyes: nobody is promoted."""
    source, target = server(), server()
    running = worker(source, target, **SETTINGS)
    running.wait_state("streaming")
    with Sentinels(source) as sentinels:

        def known() -> dict[str, object] | None:
            found = sentinels.replicas()
            return found[0] if found and found[0]["is_sdown"] else None

        replica = wait_until(known, "the worker to be down", 30)
        assert replica["port"] == 0
        source.kill()
        with sentinels.client() as client:
            wait_until(lambda: client.sentinel_master(SERVICE)["is_odown"], "the primary to be down", 30)
        # Longer than the Sentinels take for an election and its failure.
        wait_until(lambda: "-failover-abort-no-good-slave" in sentinels.logs, "a vain failover", 60)
        assert sentinels.primary_port() == source.port
        assert target.info()["role"] == "master"
        source.start()
        wait_until(lambda: source.info()["role"] == "master", "the source to be back")
        running.wait_state("streaming")
        assert target.info()["role"] == "master"


def test_a_failover_prefers_the_real_replica(
    watched: Callable[..., tuple[Server, Server, Sentinels]], target: Server, worker: Workers
) -> None:
    """With the worker further ahead than any replica, a replica is promoted."""
    primary, replica, sentinels = watched()
    running = worker(primary, target, **SETTINGS)
    running.wait_state("streaming")
    wait_until(
        lambda: {entry["port"]: entry["is_sdown"] for entry in sentinels.replicas()}.get(0),
        "the worker to be known",
        30,
    )
    sentinels.failover(replica)
    assert target.info()["role"] == "master"


def test_hello_messages_stay_on_the_source(
    watched: Callable[..., tuple[Server, Server, Sentinels]], target: Server, worker: Workers
) -> None:
    """The Sentinels' own messages, which come with the stream, are not published on the target; others are."""
    primary, _, sentinels = watched()
    running = worker(sentinels.url, target, **SETTINGS)
    running.wait_state("streaming")
    subscriber = target.client().pubsub(ignore_subscribe_messages=True)
    subscriber.subscribe("__sentinel__:hello", "news")
    before = primary.client().pubsub(ignore_subscribe_messages=True)
    before.subscribe("__sentinel__:hello")
    seen: list[object] = []
    hellos = 0
    deadline = time.monotonic() + 30
    # Sentinels say hello every two seconds: two of each have come by.
    while hellos < 6 and time.monotonic() < deadline:
        hellos += before.get_message(timeout=0.1) is not None
        if (message := subscriber.get_message()) is not None:
            seen.append(message["channel"])
    assert hellos == 6
    primary.client().publish("news", "x")
    running.wait_applied(primary)
    wait_until(
        lambda: (m := subscriber.get_message()) is not None and seen.append(m["channel"]) is None, "the news"
    )
    assert seen == [b"news"]
    subscriber.close()
    before.close()
