"""Sentinels and servers that speak only TLS and ask for certificates: `rediss+sentinel://` on either side."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.security.certificates import Authority, tls_server
from tests.sentinel.sentinels import Sentinels
from tests.sentinel.test_sentinel import SETTINGS, Counting, assert_exact
from tests.support.servers import Server, wait_until
from tests.support.worker import Worker

pytestmark = pytest.mark.timeout(180)
Workers = Callable[..., Worker]


class Watched(NamedTuple):
    """A primary, its replica and their Sentinels; all show a certificate and ask for one of the `authority`."""

    primary: Server
    replica: Server
    sentinels: Sentinels
    authority: Authority

    def settings(self, side: str) -> dict[str, str]:
        """What the worker needs on that side."""
        certificate, key = self.authority.issue("worker")
        files = {"CA_FILE": self.authority.file, "CERT_FILE": certificate, "KEY_FILE": key}
        return {f"SHAKER_{side.upper()}__TLS__{name}": str(path) for name, path in files.items()}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    authority = Authority(tmp_path / "authority")
    certificate = authority.issue("server")
    primary, replica = (tls_server(authority, certificate, clients="yes", tls_replication="yes") for _ in range(2))
    with primary, replica:
        replica.client().replicaof("127.0.0.1", str(primary.config["tls-port"]))
        replica.wait_replica(primary)
        with Sentinels(primary) as sentinels:
            yield Watched(primary, replica, sentinels, authority)


def test_the_source_dies(watched: Watched, target: Server, worker: Workers) -> None:
    """The worker finds the primary, follows to the next one and goes on by partial sync, by TLS all the way."""
    primary, replica, sentinels, _ = watched
    running = worker(sentinels.url, target, **watched.settings("source"), **SETTINGS)
    running.wait_state("streaming")
    assert sentinels.url.startswith("rediss+sentinel://")
    with Counting(primary) as counting:
        counting.wait_more()
    wait_until(lambda: replica.info()["slave_repl_offset"] >= primary.offset(), "the replica to be equal")
    running.wait_applied(primary)
    # One that lived on would still say hello to Sentinels, into a history that the replica has left by then.
    primary.kill()
    sentinels.wait_primary(replica)
    with Counting(replica) as counting:
        counting.wait_more()
    running.wait_status(
        lambda s: s["source"]["address"].endswith(f":{sentinels.port_of(replica)}"), "the new primary", 60
    )
    running.wait_applied(replica)

    assert_exact(replica, target)
    status = running.wait_state("streaming")
    assert (status["full_syncs"], status["partial_syncs"]) == (1, 1)


def test_the_target_fails_over(watched: Watched, source: Server, worker: Workers) -> None:
    """Checkpoint and data go to the promoted replica together."""
    primary, replica, sentinels, _ = watched
    running = worker(source, sentinels.url, **watched.settings("target"), **SETTINGS)
    running.wait_state("streaming")
    assert primary.client().exists("shaker:checkpoint:default")
    with Counting(source) as counting:
        counting.wait_more()
        sentinels.failover(replica)
        counting.wait_more()
    running.wait_status(
        lambda s: s["target"]["address"].endswith(f":{sentinels.port_of(replica)}"), "the new primary", 60
    )
    running.wait_state("streaming")
    running.wait_applied(source)

    assert_exact(source, replica)
    assert running.status()["full_syncs"] == 1


def test_what_is_missing_is_told(watched: Watched, target: Server, worker: Workers, tmp_path: Path) -> None:
    """An authority that is not trusted, a certificate that is not shown, TLS that the URL does not ask for."""
    url, settings = watched.sentinels.url, watched.settings("source")
    stranger = Authority(tmp_path / "stranger")
    key_files = ("SHAKER_SOURCE__TLS__CERT_FILE", "SHAKER_SOURCE__TLS__KEY_FILE")
    cases = {
        "source.tls.ca_file": worker(url, target, **settings | {"SHAKER_SOURCE__TLS__CA_FILE": str(stranger.file)}),
        "source.tls.cert_file": worker(
            url, target, **{name: value for name, value in settings.items() if name not in key_files}
        ),
        "are the Sentinels of source.url up?": worker(url.replace("rediss", "redis"), target),
    }
    for hint, running in cases.items():
        event = running.wait(lambda running=running: running.events("link failed"), "the failure")[0]
        assert all(str(port) in event["error"] for port in watched.sentinels.ports)
        assert hint in event["hint"]
