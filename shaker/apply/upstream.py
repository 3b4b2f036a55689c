"""Records of other workers on the source: where its data come from, and whether that is the target.

A worker that writes to the source records in its checkpoint there its own source, and the sources of that one.
Two servers that are each other's copy, in a circle of any length, would apply every command indefinitely.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from shaker.apply.records import checkpoint_key

CHECKPOINTS: Final = checkpoint_key("")
# More workers than write to any one server, and more servers than any chain has.
MAX_RECORDS: Final = 256
MAX_ORIGINS: Final = 64
FIELDS: Final = ("source", "source_run_id", "replid", "origins", "phase")


class Upstream:
    """The checkpoints found on the source, by key, and the `origins` known from before."""

    def __init__(self) -> None:
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

    def put(self, key: str, record: Mapping[str, str]) -> None:
        """Take over a checkpoint found on the source, whole or in part."""
        if key not in self._records and len(self._records) >= MAX_RECORDS:
            return
        known = self._records.setdefault(key, {})
        known.update((name, record[name]) for name in FIELDS if name in record)
        self._derive()

    def _derive(self) -> None:
        origins = set(self._inherited)
        for record in self._records.values():
            origins |= _identities(record)
        self.origins = " ".join(sorted(origins)[:MAX_ORIGINS])

    def circle_through(
        self, target: Collection[str], *, streams: bool, own: str = "", address: str = ""
    ) -> str | None:
        """Return the key of a record by which the source's data come from the `target`; None where none does.

        `target` are the run id and the replication id of the target. A worker that `streams` leaves it to one that
        is still in its snapshot to find the circle. In the record `own`, of the worker's own name, `address`, the
        target's, is enough: a server that came back empty has new ids.
        """
        for key, record in self._records.items():
            if streams and record.get("phase") == "snapshot":
                continue
            if not _identities(record).isdisjoint(target) or (key == own and record.get("source") == address):
                return key
        return None


def _identities(record: Mapping[str, str]) -> set[str]:
    """Return the run ids and replication ids of the servers in a record."""
    found = {record.get("source_run_id", ""), record.get("replid", ""), *record.get("origins", "").split()}
    return {each for each in found if len(each) == 40 and each.strip("0")}
