"""Records of other workers on the source: where its data come from, and whether that is the target.

A worker that writes to the source records in its checkpoint there its own source, and the sources of that one.
Two servers that are each other's copy, in a circle of any length, would apply every command indefinitely.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from shaker.apply.records import checkpoint_key
from shaker.model.cutover import Turn

CHECKPOINTS: Final = checkpoint_key("")
# More workers than write to any one server, and more servers than any chain has.
MAX_RECORDS: Final = 256
MAX_ORIGINS: Final = 64
FIELDS: Final = ("source", "source_run_id", "replid", "origins", "phase", "turned")


class Upstream:
    """The checkpoints found on the source, by key, and the `origins` known from before.

    `own` is the key of the worker's own checkpoint, and `turn` how often its replication was turned round. The record
    of that name on the source is no circle if it is the direction before this one, or one that was not taken.
    """

    def __init__(self, own: str = "") -> None:
        self.own = own
        self._turn = 0
        self._records: dict[str, dict[str, str]] = {}
        self._inherited: tuple[str, ...] = ()
        self.origins = ""

    def inherit(self, origins: str) -> None:
        """Take the servers before the source from the worker's own checkpoint, until a snapshot has them."""
        self._inherited = tuple(origins.split()[:MAX_ORIGINS])
        self._derive()

    def clear(self) -> None:
        """Forget everything: a snapshot begins, which holds every record there is."""
        self._records.clear()
        self.inherit("")

    @property
    def turn(self) -> int:
        """The number of turns that the replication has made."""
        return self._turn

    @turn.setter
    def turn(self, turn: int) -> None:
        self._turn = turn
        self._derive()

    def put(self, key: str, record: Mapping[str, str]) -> None:
        """Take over a checkpoint found on the source, whole or in part."""
        if key not in self._records and len(self._records) >= MAX_RECORDS:
            return
        known = self._records.setdefault(key, {})
        known.update((name, record[name]) for name in FIELDS if name in record)
        self._derive()

    def _derive(self) -> None:
        origins = set(self._inherited)
        for key, record in self._records.items():
            if not self._turned(key, record):
                origins |= _identities(record)
        self.origins = " ".join(sorted(origins)[:MAX_ORIGINS])

    def _turned(self, key: str, record: Mapping[str, str]) -> bool:
        return key == self.own and abs(Turn.parse(record.get("turned", "")).number - self._turn) == 1

    def circle_through(self, target: Collection[str], *, streams: bool, address: str = "") -> str | None:
        """Return the key of a record by which the source's data come from the `target`; None where none does.

        `target` are the run id and the replication id of the target. A worker that `streams` leaves it to one that
        is still in its snapshot to find the circle. In the worker's `own` record `address`, the target's, is enough: a
        server that came back empty has new ids.
        """
        for key, record in self._records.items():
            if self._turned(key, record) or (streams and record.get("phase") == "snapshot"):
                continue
            own = key == self.own and record.get("source") == address
            if own or not _identities(record).isdisjoint(target):
                return key
        return None


def _identities(record: Mapping[str, str]) -> set[str]:
    """Return the run ids and replication ids of the servers in a record."""
    found = {record.get("source_run_id", ""), record.get("replid", ""), *record.get("origins", "").split()}
    return {each for each in found if len(each) == 40 and each.strip("0")}
