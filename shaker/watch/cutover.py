"""The state of the cutover of one worker: kept by the cutover job, read by `/status` and the page."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from shaker.model.cutover import CutoverEvent, CutoverPhase, following


@dataclass(slots=True)
class CutoverState:
    """The cutover that is under way, or the last one.

    `reversed`: the replication runs from the target of the settings to their source. `refused` maps a kind of fence to
    why the source does not allow it. `timeline` has (phase, Unix time) of each phase of the present or last cutover,
    `report` the report of the last one that has ended.
    """

    phase: CutoverPhase = CutoverPhase.IDLE
    reversed: bool = False
    number: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    timeline: list[tuple[str, float]] = field(default_factory=list)
    report: dict[str, Any] | None = None
    keys_left: int = 0  # to compare before writes are fenced, or while they are

    def happen(self, event: CutoverEvent) -> None:
        """Move to the phase after `event`."""
        self.phase = following(self.phase, event)
        if event is CutoverEvent.STARTED:
            self.timeline.clear()
        self.timeline.append((str(self.phase), time.time()))
