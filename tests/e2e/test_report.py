"""The report of a run on real servers: what was copied, by database and type, and how it ended."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from tests.support.proxy import Proxy
from tests.support.servers import Server
from tests.support.worker import ROOT, Worker

Servers = Callable[..., Server]
Workers = Callable[..., Worker]
SECRET = "a-secret-password"


def fill(server: Server) -> None:
    """Write keys of each type into two databases."""
    for database, count in ((0, 50), (3, 20)):
        with server.client(db=database).pipeline() as pipe:
            for number in range(count):
                pipe.set(f"string:{number}", number)
                pipe.set(f"expiring:{number}", number, ex=3600)
                pipe.rpush(f"list:{number}", *range(5))
                pipe.sadd(f"set:{number}", "a", "b")
                pipe.zadd(f"zset:{number}", {"a": 1})
                pipe.hset(f"hash:{number}", mapping={"a": 1})
                pipe.xadd(f"stream:{number}", {"a": 1})
            pipe.execute()
    for number in range(30):
        server.client(db=3).set(f"large:{number}", Random(number).randbytes(100_000 if number else 3_000_000))


def types(count: int, large: int = 0) -> dict[str, int]:
    """The keys of one database by type."""
    kinds = ("list", "set", "zset", "hash", "stream")
    return {"string": 2 * count + large} | dict.fromkeys(kinds, count)


def test_a_report_says_what_a_migration_did(server: Servers, worker: Workers, tmp_path: Path) -> None:
    """Numbers add up; a lost link is in it; no secret is."""
    source, target = server(requirepass=SECRET), server()
    fill(source)
    report = tmp_path / "report.json"
    with Proxy(target) as proxy:
        running = worker(
            source.url,
            proxy.url,
            SHAKER_REPORT__FILE=str(report),
            SHAKER_MODE="migrate",
            SHAKER_MIGRATE__VERIFY="true",
            SHAKER_MEMORY_LIMIT="8mb",
            SHAKER_RATE__SNAPSHOT_BYTES="12mb",
        )
        proxy.set("up", bandwidth=2_000_000)
        running.wait_status(lambda found: found["snapshot"]["keys_done"] > 100, "keys of the snapshot")
        time.sleep(0.5)
        proxy.reset()
        proxy.heal()
        assert running.wait_ended(60) == 0
    document = json.loads(report.read_text())
    assert (document["kind"], document["complete"], document["exit_code"]) == ("run", True, 0)
    assert document["copied"]["databases"] == {"0": types(50), "3": types(20, large=30)}
    assert document["copied"]["keys"] >= 7 * 70 + 30
    assert document["syncs"]["full"] >= 1
    assert sum(document["errors"].values()) >= 1
    assert document["verification"]["equal"]
    assert document["restarts"] == 0
    assert document["source"]["run_id"] == source.info("server")["run_id"]
    assert document["stream"]["checkpoint_offset"] == document["stream"]["applied_offset"]
    assert document["settings"]["mode"] == "migrate"
    assert SECRET not in report.read_text()
    states = [each["state"] for each in document["timeline"]]
    assert states.index("connecting") < states.index("snapshot") < states.index("draining") < len(states) - 1
    assert states[-1] == "stopped"
    ended = document["timeline"][-1]["at"] - document["timeline"][0]["at"]
    assert sum(each["seconds"] for each in document["timeline"][:-1]) == pytest.approx(ended, abs=0.1)
    assert len(document["curves"]["at"]) >= 2
    assert {len(column) for column in document["curves"].values()} == {len(document["curves"]["at"])}


@pytest.mark.parametrize("suffix", ["md", "html"])
def test_a_report_for_people(source: Server, target: Server, worker: Workers, tmp_path: Path, suffix: str) -> None:
    """Markdown, or a page that loads nothing; curves as SVG; a hostile name of a key does no harm."""
    fill(source)
    source.client().set("<script>|", 1)
    report = tmp_path / f"report.{suffix}"
    worker(source, target, SHAKER_MODE="snapshot").wait_ended()
    target.client().delete("<script>|")
    running = worker(
        source,
        target,
        SHAKER_MODE="migrate",
        SHAKER_MIGRATE__VERIFY="true",
        SHAKER_REPORT__FILE=str(report),
    )
    assert running.wait_ended() == 5
    text = report.read_text()
    assert "Ended with exit code 5" in text
    assert "1 missing" in text
    pictures = [part.partition("</svg>")[0] + "</svg>" for part in text.split("<svg")[1:]]
    for picture in pictures:
        ET.fromstring("<svg" + picture)
    assert pictures
    if suffix == "html":
        assert "<script>" not in text
        assert text.startswith("<!doctype html>")
        assert "src=" not in text
    else:
        assert "<script>\\|" in text


def test_a_report_of_a_run_that_failed(source: Server, target: Server, worker: Workers, tmp_path: Path) -> None:
    """Written, too, with the code and the reason."""
    target.client().set("foreign", 1)
    report = tmp_path / "report.json"
    running = worker(source, target, SHAKER_MODE="migrate", SHAKER_REPORT__FILE=str(report))
    assert running.wait_ended() == 3
    document = json.loads(report.read_text())
    assert (document["exit_code"], document["complete"]) == (3, False)
    assert document["timeline"][-1]["state"] == "failed"
    assert document["error"]["kind"] == "refused"


def test_a_report_into_a_directory_that_is_not_there(
    source: Server, target: Server, worker: Workers, tmp_path: Path
) -> None:
    """2, before anything is written."""
    running = worker(source, target, SHAKER_REPORT__FILE=str(tmp_path / "missing" / "report.json"))
    assert running.wait_ended() == 2
    assert "report.file (SHAKER_REPORT__FILE)" in "\n".join(running.output)


def test_a_report_of_a_verification(source: Server, target: Server, tmp_path: Path) -> None:
    """As `shaker verify` writes it: Markdown by its suffix."""
    for each in (source, target):
        each.client().set("k", 1)
    target.client().set("k", 2)
    report = tmp_path / "verify.md"
    command = [sys.executable, "-m", "shaker", "verify", "--static", "--report", str(report)]
    urls = [f"--source.url={source.url}", f"--target.url={target.url}"]
    done = subprocess.run([*command, *urls], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert done.returncode == 5
    assert "The servers differ." in report.read_text()
    assert "differs: k" in report.read_text()
