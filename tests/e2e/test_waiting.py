"""While the source forks, saves or waits with its snapshot: connected, and the reason says what is waited for."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.support.servers import Server
from tests.support.worker import Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]

WAITING = re.compile(r"waiting for the source's snapshot \((\d+) s\)")


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        # The source answers PSYNC when its delay is over.
        ({"repl_diskless_sync": "yes", "repl_diskless_sync_delay": 4}, "handshaking"),
        # It answers at once, and sends nothing until its file is written: 40 keys of 0.1 s.
        ({"repl_diskless_sync": "no", "rdb_key_save_delay": 100_000}, "snapshot"),
    ],
    ids=["delay", "saving"],
)
def test_the_source_is_waited_for(
    server: Servers, target: Server, worker: Workers, settings: dict[str, object], state: str
) -> None:
    source = server(**settings)
    client = source.client(db=3)
    for number in range(40):
        client.set(f"key:{number}", number)
    running = worker(source, target)

    def waits(status: dict[str, object]) -> bool:
        reasons = status["reasons"]
        assert isinstance(reasons, list)
        found = next((match for match in map(WAITING.fullmatch, reasons) if match), None)
        return found is not None and int(found[1]) >= 1

    status = running.wait_status(waits, "the reason")
    assert (status["state"], status["source"]["connected"], status["target"]["connected"]) == (state, True, True)
    assert "waiting for the source's snapshot" in running.get("/readyz")[1]
    if state == "snapshot":
        client.config_set("rdb-key-save-delay", 0)
    status = running.wait_state("streaming")

    assert not any("waiting" in reason for reason in status["reasons"])
    assert [event["state"] for event in running.events("state")][:3] == ["connecting", "handshaking", "snapshot"]


def test_the_log_tells_what_happens_in_order(source: Server, target: Server, worker: Workers) -> None:
    running = worker(source, target)
    running.wait_state("streaming")

    told = [(event["event"], event.get("state") or event.get("side")) for event in running.log]
    names = ("state", "connecting", "connected", "registered", "psync", "full sync")
    assert [each for each in told if each[0] in names][:9] == [
        ("state", "connecting"),
        ("connecting", "source"),
        ("connected", "source"),
        ("state", "handshaking"),
        ("connecting", "target"),
        ("connected", "target"),
        ("registered", None),
        ("psync", None),
        ("full sync", None),
    ]
