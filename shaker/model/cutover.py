"""A cutover: its phases with one table of what changes them, and the note about it in the checkpoint.

Rule 1: everything that changes the phase is a row of `TRANSITIONS`; an event without a row is an error.
Rule 2: from every phase that fences writes, one event leads to `LIFTING`, and only `CONFIRMED` leads to `DONE`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import Final, NamedTuple

from shaker.errors import quoted

FENCES: Final = ("replicas", "pause", "none")
# The words of an ACL rule that a fence may change, because it can restore them.
RULE_BEGINNINGS: Final = ("+", "-", "~", "%")
RULE_WORDS: Final = frozenset(("allcommands", "nocommands", "allkeys", "resetkeys"))


class CutoverPhase(StrEnum):
    """The phase of a cutover; the values are public in `/status`."""

    IDLE = "idle"
    PREPARING = "preparing"  # the note about the source's configuration is on its way into the checkpoint
    VERIFYING = "verifying"  # every key is compared; the source takes writes
    FENCING = "fencing"
    CATCHING_UP = "catching_up"  # the target applies everything up to the end offset
    COMPARING = "comparing"  # keys that changed since they were compared last
    HOOK = "hook"  # the command runs its hook
    CLOSING = "closing"
    LIFTING = "lifting"
    DONE = "done"


class CutoverEvent(Enum):
    """The events of a cutover."""

    STARTED = "started"
    PREPARED = "prepared"
    VERIFIED = "verified"
    FENCED = "fenced"
    APPLIED = "applied"
    COMPARED = "compared"
    HOOK_SUCCEEDED = "hook succeeded"
    CONFIRMED = "confirmed"
    GIVEN_UP = "given up"
    LIFTED = "lifted"


P, V = CutoverPhase, CutoverEvent
# Phases in which writes may be fenced.
FENCED: Final = frozenset((P.FENCING, P.CATCHING_UP, P.COMPARING, P.HOOK, P.CLOSING, P.LIFTING))
TRANSITIONS: Final[Mapping[tuple[CutoverPhase, CutoverEvent], CutoverPhase]] = {
    (P.IDLE, V.STARTED): P.PREPARING,
    (P.PREPARING, V.PREPARED): P.VERIFYING,
    (P.VERIFYING, V.VERIFIED): P.FENCING,
    (P.FENCING, V.FENCED): P.CATCHING_UP,
    (P.CATCHING_UP, V.APPLIED): P.COMPARING,
    (P.COMPARING, V.COMPARED): P.HOOK,
    (P.HOOK, V.HOOK_SUCCEEDED): P.CLOSING,
    (P.CLOSING, V.CONFIRMED): P.DONE,
    **{(phase, V.GIVEN_UP): P.LIFTING for phase in P if phase not in (P.IDLE, P.LIFTING, P.DONE)},
    (P.LIFTING, V.LIFTED): P.IDLE,
}
del P, V


def following(phase: CutoverPhase, event: CutoverEvent) -> CutoverPhase:
    """Return the phase after `event`; raises ValueError where the phase has no row for it."""
    try:
        return TRANSITIONS[phase, event]
    except KeyError:
        raise ValueError(f"{event.value!r} happened to a cutover that was {phase.value}") from None


class CutoverNote(NamedTuple):
    """The note about a cutover in the checkpoint. It outlives the worker.

    `before` has the values of the source's configuration that the fence replaces. `offset` is the end offset and
    `at` the Unix time of a cutover that is done; with a note that is not done, the next worker restores `before`.
    `turned`: the replication runs in the other direction since.
    """

    done: bool
    before: Mapping[str, str] = {}
    offset: int = 0
    at: float = 0.0
    turned: bool = False

    @classmethod
    def parse(cls, text: str) -> CutoverNote | None:
        """Return the note in a checkpoint's text, None where there is none."""
        try:
            done, before, offset, at, *turned = json.loads(text)
            return cls(bool(done), _texts(before), int(offset), float(at), any(turned))
        except (ValueError, TypeError, AttributeError):
            return None

    def __str__(self) -> str:
        parts = [int(self.done), dict(self.before), self.offset, round(self.at)]
        return json.dumps([*parts, 1] if self.turned else parts)


class Turn(NamedTuple):
    """The number of turns that the replication has made up to this checkpoint, 0 for none.

    Of two checkpoints, one on each server, the later one counts once the note in the other says that it is `turned`.
    `shut` are rules of users on the checkpoint's own server that a fence has taken away, and that have to be restored
    when applications write there again.
    """

    number: int = 0
    shut: Mapping[str, str] = {}

    @classmethod
    def parse(cls, text: str) -> Turn:
        """Return the turn in a checkpoint's text; that of a first direction where there is none."""
        try:
            number, shut = json.loads(text)
            return cls(int(number), _texts(shut))
        except (ValueError, TypeError, AttributeError):
            return cls()

    def __str__(self) -> str:
        return json.dumps([self.number, dict(self.shut)]) if self.number else ""


def _texts(values: Mapping[object, object]) -> dict[str, str]:
    return {str(name): str(value) for name, value in values.items()}


def rule_fault(rules: str) -> str:
    """Return why an ACL rule is none that a fence can restore; empty where it is one."""
    words = rules.split()
    wrong = next((word for word in words if not word.startswith(RULE_BEGINNINGS) and word not in RULE_WORDS), None)
    if wrong is not None:
        return f"{quoted(wrong)} is no rule about commands or keys, such as -@write or 'resetkeys %R~*'"
    return "" if words else "a rule is missing, such as -@write"
