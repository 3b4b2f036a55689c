"""States of the conversation with the source, as one table of transitions.

Rule: everything that changes the state is a row of `TRANSITIONS`; an input that has no row is a CorruptError.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class ReplicaState(Enum):
    """The state of the conversation with the source."""

    NEW = "new"
    AUTHENTICATING = "authenticating"
    INSPECTING = "inspecting"
    ANNOUNCING = "announcing"
    OFFERING = "offering"
    READY = "ready"
    REQUESTING = "requesting"
    PREPARING = "preparing"
    LOADING = "loading"
    MARK = "mark"
    STREAMING = "streaming"


class Input(Enum):
    """The inputs that change the state."""

    START = "start"
    START_WITH_PASSWORD = "start with password"  # noqa: S105 - not a password
    OK = "+OK"
    INFO = "info"
    REQUEST = "request"
    FULLRESYNC = "+FULLRESYNC"
    CONTINUE = "+CONTINUE"
    SIZED = "$<length>"
    MARKED = "$EOF:<mark>"
    END = "end of the snapshot"
    END_MARKED = "end of the snapshot, mark expected"


S, I = ReplicaState, Input  # noqa: E741 - short for the table below
TRANSITIONS: Final[dict[tuple[ReplicaState, Input], ReplicaState]] = {
    (S.NEW, I.START): S.INSPECTING,
    (S.NEW, I.START_WITH_PASSWORD): S.AUTHENTICATING,
    (S.AUTHENTICATING, I.OK): S.INSPECTING,
    (S.INSPECTING, I.INFO): S.ANNOUNCING,
    (S.ANNOUNCING, I.OK): S.OFFERING,
    (S.OFFERING, I.OK): S.READY,
    (S.READY, I.REQUEST): S.REQUESTING,
    (S.REQUESTING, I.FULLRESYNC): S.PREPARING,
    (S.REQUESTING, I.CONTINUE): S.STREAMING,
    (S.PREPARING, I.SIZED): S.LOADING,
    (S.PREPARING, I.MARKED): S.LOADING,
    (S.LOADING, I.END): S.STREAMING,
    (S.LOADING, I.END_MARKED): S.MARK,
    (S.MARK, I.END): S.STREAMING,
}
del S, I
