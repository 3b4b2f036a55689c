"""A pass that somebody asked for, such as by `shaker verify`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import anyio

from shaker.jobs.verify_walk import Selection
from shaker.watch.verification import Findings


@dataclass(slots=True)
class Wanted:
    """The pass, and its outcome once it has ended."""

    selection: Selection = field(default_factory=Selection)
    keys_only: bool = False
    repair: bool = False
    keys_per_second: float = 0.0  # 0: without a limit
    only: Mapping[int, Iterable[bytes]] | None = None  # these keys by database, None for those of the selection
    fenced: bool = False  # nobody writes to the source: the stream may be held for long
    number: int = 0
    aborted: bool = False
    report: dict[str, Any] | None = None
    findings: Findings | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)

    @property
    def libraries(self) -> bool:
        """Whether the function libraries belong to it: it is for all keys, or the last look of a cutover."""
        return self.selection == Selection() and (self.only is None or self.fenced)
