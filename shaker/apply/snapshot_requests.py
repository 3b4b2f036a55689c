"""Items of a snapshot → requests, made when they are sent: expiries depend on the time.

The window holds keys as nouns, for other writers, filters and targets. Against requests made when keys are received,
that costs the compiled worker 0.1 µs a key: its objects are cold when they are read and freed.
"""

from __future__ import annotations

from typing import NamedTuple

from shaker.apply.building import Building
from shaker.apply.deferred_expiries import Expiries
from shaker.apply.stale_set import restored_keys
from shaker.codec.resp.replies import encode
from shaker.errors import UnfaithfulError
from shaker.model.entries import LargeEntry
from shaker.model.items import SnapshotChunk, SnapshotItem, SnapshotKeys, SnapshotScripts
from shaker.rules.chain import Chain
from shaker.rules.command_table import CommandTable
from shaker.rules.restore import functions_payload, names


class SnapshotRequests(NamedTuple):
    """Requests in their pieces: so many of the snapshot, each answered by +OK, and `extra` ones of the worker's own.

    A chunk of a value that is not the last has none that is whole.
    """

    pieces: list[bytes]
    requests: int
    extra: int = 0


class SnapshotEncoder:
    """Makes the requests of one connection; items are given in order."""

    def __init__(self, name: str, chain: Chain, expiries: Expiries) -> None:
        self._name = name
        self._chain = chain
        self._expiries = expiries
        # Of the large value on its way: what follows its payload, and requests of the worker's own.
        self._after = b""
        self._extra: list[bytes] = []

    def builds(self, entry: LargeEntry) -> bool:
        """Return whether a value that comes in chunks is built by commands."""
        return self._chain.form.builds(entry)

    def build(self, item: SnapshotChunk, max_bulk: int) -> Building:
        """Return a value to be built, of which `item` is the first chunk."""
        return Building(item, self._chain.form, self._expiries.snapshot_times(), max_bulk)

    def built(self, building: Building, *, listed: bool) -> SnapshotRequests:
        """Return the requests after the commands of a value: they give it its name, and note its expiry."""
        key = building.entry.key
        ends, waits = building.ends(self._expiries.snapshot_times())
        extra = self._expiries.remember_restored([key] if waits else [], [key] if building.deferred else [])
        if listed:
            extra += restored_keys(self._name, [key])
        return SnapshotRequests([*ends, *extra], len(ends), len(extra))

    def requests(self, item: SnapshotItem) -> SnapshotRequests:
        """Return the requests for an item, in the database of its keys."""
        if isinstance(item, SnapshotKeys):
            return self._keys(item)
        if isinstance(item, SnapshotChunk):
            return self._chunk(item)
        if isinstance(item, SnapshotScripts):
            return SnapshotRequests([encode("SCRIPT", "LOAD", body) for body in item.bodies], len(item.bodies))
        return SnapshotRequests([functions_request(item.codes, keep=item.keep)], 1)

    def _keys(self, item: SnapshotKeys) -> SnapshotRequests:
        restored = self._chain.restored(item.entries, self._expiries.snapshot_times())
        extra = self._expiries.remember_restored(restored.waiting, restored.copying)
        if item.listed:
            extra += restored_keys(self._name, names(item.entries))
        return SnapshotRequests([restored.data, *extra], restored.requests, len(extra))

    def _chunk(self, item: SnapshotChunk) -> SnapshotRequests:
        pieces = [item.data]
        if item.first:
            restored = self._chain.large_restored(item.entry, self._expiries.snapshot_times())
            pieces.insert(0, restored.before)
            self._after = restored.after
            self._extra = self._expiries.remember_restored([item.entry.key]) if restored.waits else []
        if item.more:
            return SnapshotRequests(pieces, 0)
        if item.listed:
            self._extra += restored_keys(self._name, [item.entry.key])
        return SnapshotRequests([*pieces, self._after, *self._extra], 1, len(self._extra))


def takes_libraries(codes: tuple[bytes, ...], table: CommandTable, *, keep: bool) -> bool:
    """Return whether the function libraries of the target, whose commands are in `table`, have to be changed.

    Raises UnfaithfulError where there are libraries and the target knows no functions.
    """
    if codes and "function" not in table:
        raise UnfaithfulError(
            "the source has function libraries, the target knows no functions",
            hint="take a target of Redis 7.0 or newer, or delete the libraries on the source",
            kind="function",
        )
    return bool(codes) or ("function" in table and not keep)


def functions_request(codes: tuple[bytes, ...], *, keep: bool) -> bytes:
    """Return the request that makes the target's function libraries those of the source; with `keep` they join."""
    if codes:
        return encode("FUNCTION", "RESTORE", functions_payload([*codes]), "REPLACE" if keep else "FLUSH")
    return encode("FUNCTION", "FLUSH")
