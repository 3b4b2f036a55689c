"""TLS on either side: who is trusted, what is refused and by which words, and files replaced while running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.security.certificates import Authority, show, tls_server, tls_url
from tests.support.compare import differences
from tests.support.servers import NAMES, Server
from tests.support.worker import Worker

Sides = Callable[..., "Pair"]
# With the shortest waits that the settings allow, so that a test sees the next try.
SETTINGS = {"SHAKER_RETRY__ACCESS_SECONDS": "1", "SHAKER_RETRY__MAX_SECONDS": "0.2"}


class Pair:
    """A source and a target, of which `side` speaks TLS."""

    def __init__(self, side: str, encrypted: Server, plain: Server) -> None:
        self.side = side
        self.encrypted = encrypted
        self.source, self.target = (encrypted, plain) if side == "source" else (plain, encrypted)

    def tls(self, **files: Any) -> dict[str, str]:
        """Return settings of the encrypted side: `self.tls(ca_file=path)`."""
        return {f"SHAKER_{self.side.upper()}__TLS__{name.upper()}": str(value) for name, value in files.items()}

    def worker(self, **settings: str) -> Worker:
        """Return a worker that uses TLS on the side; it is not started."""
        urls = [tls_url(each) if each is self.encrypted else each for each in (self.source, self.target)]
        return Worker(*urls, **SETTINGS, **settings)

    def refused(self, worker: Worker) -> dict[str, Any]:
        """Wait for the second failed attempt on the side, and return what the log says of it."""

        def seen() -> list[dict[str, Any]]:
            return [event for event in worker.events("link failed") if event["side"] == self.side]

        worker.wait(lambda: len(seen()) > 1, "refused attempts")
        assert not worker.status()["ready"]
        assert "Traceback" not in "\n".join(worker.output)
        return seen()[1]

    def works(self, worker: Worker) -> None:
        """Assert that what is written now arrives."""
        worker.wait_state("streaming")
        self.source.client().incr("counter")
        worker.wait_applied(self.source)
        assert differences(self.source, self.target) == []


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture(params=["source", "target"])
def pair(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Sides]:
    """A factory: `pair(certificate, clients="yes")` starts both servers."""
    with ExitStack() as stack:

        def start(certificate: tuple[Path, Path], **settings: Any) -> Pair:
            encrypted = stack.enter_context(tls_server(authority, certificate, **settings))
            return Pair(request.param, encrypted, stack.enter_context(Server()))

        yield start


@pytest.mark.parametrize("name", NAMES[1:])
def test_both_sides_with_client_certificates(name: str, authority: Authority) -> None:
    certificate, client = authority.issue("server"), authority.issue("client")
    tls = {"CA_FILE": authority.file, "CERT_FILE": client[0], "KEY_FILE": client[1]}
    settings = {
        f"SHAKER_{side}__TLS__{file}": str(path) for side in ("SOURCE", "TARGET") for file, path in tls.items()
    }
    with (
        tls_server(authority, certificate, name, clients="yes") as source,
        tls_server(authority, certificate, name, clients="yes") as target,
    ):
        source.client().set("before", "x" * 1_000_000)
        with Worker(tls_url(source), tls_url(target), **settings) as worker:
            worker.wait_state("streaming")
            source.client().set("after", "y" * 1_000_000)
            worker.wait_applied(source)
            assert differences(source, target) == []
            # The link that follows the offset is encrypted, too: else lag would be unknown.
            worker.wait_status(lambda s: s["ready"], "ready")


@pytest.mark.parametrize(
    ("hosts", "expired", "word"),
    [(("127.0.0.1",), True, "expired"), (("other.example",), False, "127.0.0.1")],
    ids=["expired", "another host"],
)
def test_a_certificate_that_does_not_hold_is_refused(
    pair: Sides, authority: Authority, hosts: tuple[str, ...], expired: bool, word: str
) -> None:
    both = pair(authority.issue("bad", *hosts, expired=expired))
    with both.worker(**both.tls(ca_file=authority.file)) as worker:
        event = both.refused(worker)

        assert event["kind"] == "tls"
        assert word in event["error"]
        assert f"{both.side}.tls.verify" in event["hint"]
        assert both.target.client().keys("*") == []

        show(both.encrypted, authority.issue("good"), authority)
        both.works(worker)


def test_an_unknown_authority_is_refused(pair: Sides, authority: Authority, tmp_path: Path) -> None:
    both = pair(authority.issue("server"))
    with both.worker() as worker:
        event = both.refused(worker)

        assert event["kind"] == "tls"
        assert f"{both.side}.tls.ca_file" in event["hint"]
    with both.worker(**both.tls(ca_file=Authority(tmp_path / "another").file)) as worker:
        assert both.refused(worker)["kind"] == "tls"


def test_verification_can_be_switched_off(pair: Sides, authority: Authority) -> None:
    both = pair(authority.issue("bad", "other.example", expired=True))
    with both.worker(**both.tls(verify="false")) as worker:
        both.works(worker)


def test_a_missing_client_certificate_is_named(pair: Sides, authority: Authority) -> None:
    both = pair(authority.issue("server"), clients="yes")
    with both.worker(**both.tls(ca_file=authority.file)) as worker:
        event = both.refused(worker)

        assert event["kind"] == "tls"
        assert f"{both.side}.tls.cert_file" in event["hint"]


def test_a_plain_port_is_no_tls(pair: Sides, authority: Authority) -> None:
    both = pair(authority.issue("server"))
    both.encrypted.config["tls-port"] = both.encrypted.port  # its address is now that of the plain port
    limit = {f"SHAKER_{both.side.upper()}__CONNECT_TIMEOUT_SECONDS": "0.5"}
    with both.worker(**both.tls(ca_file=authority.file), **limit) as worker:
        assert f"TLS on this port, as {both.side}.url says" in both.refused(worker)["hint"]


def test_an_encrypted_port_is_no_plain_one(pair: Sides, authority: Authority) -> None:
    """The worker without TLS at a port with it: told, tried again, never a traceback."""
    both = pair(authority.issue("server"))
    url = f"redis://127.0.0.1:{both.encrypted.config['tls-port']}"
    urls = (url, both.target) if both.side == "source" else (both.source, url)
    with Worker(*urls, **SETTINGS) as worker:
        both.refused(worker)


def test_replaced_files_are_used_by_the_next_connection(pair: Sides, authority: Authority, tmp_path: Path) -> None:
    """Server and worker move to another authority; files are replaced in place."""
    client = authority.issue("client")
    both = pair(authority.issue("server"), clients="yes")
    files = both.tls(ca_file=authority.file, cert_file=client[0], key_file=client[1])
    with both.worker(**files) as worker:
        both.works(worker)
        newer = Authority(tmp_path / "newer")
        show(both.encrypted, newer.issue("server"), newer)
        disconnect(both.encrypted)
        assert both.refused(worker)["kind"] == "tls"

        authority.file.write_bytes(newer.file.read_bytes())
        for old, new in zip(client, newer.issue("client"), strict=True):
            old.write_bytes(new.read_bytes())
        both.works(worker)
        assert worker.status()["full_syncs"] == 1


def disconnect(server: Server) -> None:
    """End every connection to the server but the one that asks."""
    server.client().execute_command("CLIENT", "KILL", "SKIPME", "yes")


@pytest.mark.parametrize("name", ["ca_file", "cert_file"])
def test_a_file_that_cannot_be_used_is_named_and_mended(
    pair: Sides, authority: Authority, tmp_path: Path, name: str
) -> None:
    """While the worker runs: at the start it is a fault of the settings."""
    client = authority.issue("client")
    both = pair(authority.issue("server"), clients="yes")
    files: dict[str, Path] = {"ca_file": authority.file, "cert_file": client[0], "key_file": client[1]}
    path = tmp_path / "mounted.pem"
    good = files[name].read_bytes()
    path.write_bytes(good)
    with both.worker(**both.tls(**{**files, name: path})) as worker:
        both.works(worker)
        path.unlink()
        disconnect(both.encrypted)
        worker.wait(
            lambda: [e for e in worker.events("link failed") if "No such file" in e["error"]],
            "the failure in the log",
        )
        event = worker.events("link failed")[-1]
        assert f"{both.side}.tls.{name}" in event["error"]
        assert "No such file" in event["error"]
        assert event["next_try_seconds"] == 1.0  # retry.access_seconds

        path.write_bytes(b"-----BEGIN CERTIFICATE-----\nnot base64\n")
        worker.wait(
            lambda: "No such file" not in worker.events("link failed")[-1]["error"], "another error in the log"
        )
        assert f"{both.side}.tls.{name}" in worker.events("link failed")[-1]["error"]

        path.write_bytes(good)
        both.works(worker)


def test_a_file_that_cannot_be_used_ends_a_migration(pair: Sides, authority: Authority, tmp_path: Path) -> None:
    both = pair(authority.issue("server"))
    settings = both.tls(ca_file=tmp_path / "missing") | {"SHAKER_MODE": "migrate"}
    with both.worker(**settings) as worker:
        assert worker.wait_ended() == 2
