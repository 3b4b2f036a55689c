"""Preflights of the tests: findings between real servers, and facts made by hand for what no server can be "
"made to do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio
import redis

from shaker.checks.preflight.catalogue import findings
from shaker.checks.preflight.facts import Facts, ServerFacts
from shaker.checks.preflight.finding import Finding
from shaker.checks.preflight.gather import gather
from shaker.settings.schema import Settings
from tests.support.info import server_info
from tests.support.servers import Server


def settings_for(source: Server | str, target: Server | str, /, **sections: Any) -> Settings:
    """Return the settings of a replication; `sections` such as `target={"on_existing": "merge"}` extend them."""
    values: dict[str, Any] = {"source": {}, "target": {}, **sections}
    for side, server in (("source", source), ("target", target)):
        values[side] = {"url": server if isinstance(server, str) else server.url, **values[side]}
    return Settings.model_validate(values)


def facts_of(source: Server | str, target: Server | str, rate_seconds: float = 0.0, /, **sections: Any) -> Facts:
    """Gather the facts of two servers."""

    async def run() -> Facts:
        return await gather(settings_for(source, target, **sections), rate_seconds=rate_seconds)

    return anyio.run(run)


def preflight(
    source: Server | str, target: Server | str, rate_seconds: float = 0.0, /, **sections: Any
) -> dict[str, Finding]:
    """Return the findings of a preflight by name."""
    return {each.name: each for each in findings(facts_of(source, target, rate_seconds, **sections))}


def made_up(
    source: dict[str, object] | None = None, target: dict[str, object] | None = None, /, **facts: Any
) -> Facts:
    """Return facts of two servers by fields of INFO; `source_facts` and `target_facts` add to their ServerFacts."""
    sides = {
        side: ServerFacts(
            f"{side}:6379",
            None
            if fields is None
            else server_info(**{"redis_version": "7.0.15", "run_id": f"run of the {side}", **fields}),
            **facts.pop(f"{side}_facts", {}),
        )
        for side, fields in (("source", source), ("target", target))
    }
    sections = facts.pop("sections", {})
    settings = settings_for("redis://source", "redis://target", **sections)
    return Facts(settings, sides["source"], sides["target"], **facts)


def judge(name: str, facts: Facts) -> Finding:
    """Return what one check finds in facts made by hand."""
    return next(each for each in findings(facts) if each.name == name)


@contextmanager
def load(server: Server, commands: int = 100, pause: float = 0.0) -> Iterator[None]:
    """Write values of 1,000 bytes from a thread: so many `commands` at a time, with a `pause` in seconds between."""
    ended = threading.Event()

    def write() -> None:
        with redis.Redis(port=server.port) as client:
            while not ended.wait(pause):
                pipeline = client.pipeline(transaction=False)
                for number in range(commands):
                    pipeline.set(f"load:{number}", b"x" * 1000)
                pipeline.execute()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
