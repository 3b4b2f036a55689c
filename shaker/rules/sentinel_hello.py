"""Rule: what the source's Sentinels publish about the source does not reach the target."""

from __future__ import annotations

from typing import Final

from shaker.codec.resp.requests import split
from shaker.rules.rule import Received, Rule

SENTINEL_HELLO: Final = b"__sentinel__:hello"
# The run is one PUBLISH.
PUBLISHES: Final = 1 << 12


class SentinelHello(Rule):
    """Leaves out messages of Sentinels: on the target, other Sentinels would believe them."""

    marks = PUBLISHES

    def commands(self, run: Received) -> Received:
        """Drop a message of a Sentinel, which is not counted."""
        arguments = split(run.data)
        gossip = len(arguments) > 1 and arguments[1] == SENTINEL_HELLO
        return run._replace(data=b"", commands=0, marks=0) if gossip else run
