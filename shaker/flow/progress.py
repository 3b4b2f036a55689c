"""Progress of a flow: it distinguishes a fault that passes from one that returns at the same place."""

from __future__ import annotations

from shaker.flow.flow import Flow
from shaker.model.position import Phase


class FlowProgress:
    """Counts steps forward: a higher applied offset, more keys of a snapshot than ever, a command left out.

    A snapshot that starts over makes none until it has more keys than the one before it.
    """

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._steps = 0
        self._history = ""
        self._offset = 0  # applied, in that history
        self._keys = 0  # of a snapshot, applied
        self._deleted = 0  # stale keys
        self._learned = 0

    @property
    def steps(self) -> int:
        """Number of steps forward so far; two equal readings mean that there was none in between."""
        if self._further():
            self._steps += 1
        return self._steps

    @property
    def at_rest(self) -> bool:
        """Whether all received data are applied: a link that is lost then is not stuck."""
        flow = self._flow
        return flow.phase == Phase.STREAM and not flow.loading and not flow.sweep and not flow.unapplied

    def _further(self) -> bool:
        flow, status = self._flow, self._flow.status
        learned, deleted = flow.window.learned, status.sweep.deleted
        further = learned > self._learned or deleted > self._deleted
        self._deleted = deleted
        if flow.phase == Phase.STREAM and not flow.loading:
            history, offset = status.stream.replid, status.stream.applied_offset
            if history != self._history or offset > self._offset:
                self._history, self._offset, self._keys, self._learned = history, offset, 0, learned
                return True
        elif status.snapshot.keys_done > self._keys:
            self._keys = status.snapshot.keys_done
            return True
        self._learned = max(self._learned, learned)
        return further
