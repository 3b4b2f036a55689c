"""An order for a cutover, its possible outcomes, and the failure that ends it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

import anyio


class Outcome(StrEnum):
    """The end of a cutover; the values are public in its report."""

    DONE = "done"
    DIFFERENT = "different"
    ABORTED = "aborted"
    TIMED_OUT = "timed_out"
    REFUSED = "refused"  # the source does not do what it answers
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class Failed(Exception):
    """A cutover cannot continue; the text is the reason."""

    def __init__(self, outcome: Outcome, reason: str) -> None:
        super().__init__(reason)
        self.outcome = outcome


@dataclass(slots=True)
class Order:
    """A cutover that was asked for.

    `timeout_seconds` bounds the time for which writes are fenced. The pause of writers lasts `fence_seconds` from each
    renewal on. `users` has, for the fence `acl`, the ACL rules that keep each user from writing. `attended`: the
    command asks for the progress all the time, and the cutover is given up without it. `reverse`: the replication is
    turned round.
    """

    fence: str = "replicas"
    users: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 30.0
    fence_seconds: float = 10.0
    verify: bool = True
    hook: bool = False
    reverse: bool = False
    attended: bool = False
    attended_at: float = field(default_factory=time.monotonic)
    aborted: str = ""  # why somebody wants it to end
    hook_succeeded: anyio.Event = field(default_factory=anyio.Event)
    fetched: anyio.Event = field(default_factory=anyio.Event)  # the command has the report
