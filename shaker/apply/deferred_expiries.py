"""Keys whose expiry was deferred on the way to the target, and keys that differ: remembered beside the commands.

Three sets in each database list keys to be settled later: those that wait for the source's expiry, those that have to
be copied from the source, and those that have to be copied if the target has expired anything lately. They are written
in the transaction that makes it necessary, and lie in the same database as the keys, so that SWAPDB and FLUSHDB treat
them alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from shaker.apply.expired import ExpiredKeys
from shaker.apply.records import copying_key, doubtful_key, expiring_key
from shaker.apply.sent import Failed
from shaker.codec.resp.replies import encode
from shaker.model.batch import CommandRun
from shaker.model.items import StreamItem
from shaker.model.rejection import Rejection
from shaker.rules.expiring_commands import NOTED, SETS
from shaker.rules.expiry import NEVER, Rewritten, Times, rewrite


class Expiries:
    """Gives expiries a margin or puts them off. `times` answers for an item of the stream, or with None for a snapshot.

    `counted` returns what the target had expired when it was last asked.

    `waiting`: there may be keys to be settled; `unsettled`: also some from before the stream caught up. `by_target`:
    the target itself keeps what expires until the source deletes it, so that nothing has to be done. `expired` is what
    the target had expired when it was last known to agree with the source, None where nobody knows. `margin` is the
    most by which an expiry on the target may lie later than the source's, in milliseconds.
    """

    def __init__(
        self,
        name: str,
        times: Callable[[StreamItem | None], Times],
        counted: Callable[[], ExpiredKeys | None],
    ) -> None:
        self.waiting = False
        self.unsettled = False
        self.remembered = 0  # how often keys were
        self.doubts = False  # doubtful keys may be among them
        self.by_target = False
        self.expired: ExpiredKeys | None = None
        self.margin = 0
        self.missed = False  # keys waiting may be those of commands that failed, not only of expiries
        self._exact = 0  # the stream's offset before the first of them
        # Keys to be copied, by database, of which nothing is written yet.
        self.lacking: dict[int, set[bytes]] = {}
        self._expiring = expiring_key(name)
        self._copying = copying_key(name)
        self._doubtful = doubtful_key(name)
        self._times = times
        self._counted = counted

    @property
    def expired_text(self) -> str:
        """`expired` as the checkpoint records it."""
        return "" if self.expired is None else self.expired.text

    def begin_snapshot(self) -> None:
        """Forget the target's keys: the next transaction begins a snapshot, which replaces all.

        Until then transactions of the stream end, and what they record has to be true of the keys that are there.
        """
        self.expired = self._counted()
        self.margin = 0
        self.unsettled = True
        self.missed = False
        self.lacking.clear()

    def times_for(self, item: StreamItem, part: CommandRun) -> Times | None:
        """Return how expiries in a run of the stream are treated, None where no rule has to look at it."""
        if not part.expiries:
            return None
        times = self._now(item)
        return times if part.expiries & SETS or self.waiting or times.late else None

    def remember(self, database: int, found: Rewritten | None) -> list[tuple[int, bytes]]:
        """Return requests that remember the keys of a run, each with its database."""
        if found is None:
            return []
        requests = self._remember(found.waiting, found.copying, found.doubtful)
        return [(database, request) for request in requests] + self._remember_copying(found.elsewhere)

    def remember_huge(
        self, item: StreamItem, part: CommandRun, name: bytes, key: bytes | None
    ) -> list[tuple[int, bytes]]:
        """Return requests after a fragment: a command that is too large to be looked at may set an expiry."""
        note = NOTED.get(name.upper())
        if not part.commands or key is None or note is None or not note.bits & SETS:
            return []
        times = self._now(item)
        if not times.margin and times.near == NEVER:
            return []
        return [(part.database, request) for request in self._remember([key])]

    def committed(self) -> None:
        """Note that the `owed` requests have taken effect."""
        self.lacking.clear()

    def failed(self, failures: list[Failed], *, differ: bool) -> list[Rejection]:
        """Have the keys copied of commands that failed because a key has expired early, or because keys `differ`.

        Returns the rejections of the others. Keys differ behind a command that missed what it needed, too.
        """
        rejections = []
        for failure in failures:
            uncertain = differ or bool(self.lacking) or (self.missed and self.waiting)
            keys = failure.keys if uncertain else self._expired_early(failure)
            if any(keys.values()):
                for database, some in keys.items():
                    self.lacking.setdefault(database, set()).update(some)
            else:
                rejections.append(failure.rejection)
        return rejections

    def _expired_early(self, failure: Failed) -> dict[int, set[bytes]]:
        """Return the keys that differ if the target has expired the key that a command lacked."""
        times = self._now(failure.item)._replace(late=True)
        if not failure.missing or not times.passed:
            return {}
        found = rewrite(encode(*failure.arguments), times, any_waiting=True)
        return {failure.database: found.copying | found.doubtful}

    def exact(self, offset: int) -> int:
        """Return how much of the stream up to `offset` counts as applied: nothing behind what waits for a copy."""
        return min(offset, self._exact) if self.missed and self.waiting else offset

    def differ_behind(self, offset: int) -> None:
        """Note that keys to be copied differ since commands behind `offset`."""
        self._exact = self.exact(offset)

    def copy(self, by_database: dict[int, set[bytes]]) -> None:
        """Have keys copied that a command could not change: until then, what others make of them differs too."""
        for database, keys in by_database.items():
            if keys:
                self.missed = self.waiting = self.unsettled = True
                self.lacking.setdefault(database, set()).update(keys)

    def made(self, item: StreamItem, part: CommandRun) -> dict[int, set[bytes]]:
        """Return what a run of commands may have made of keys that differ, by database."""
        times = self._times(item)._replace(late=True, passed=True)
        found = rewrite(part.data, times, any_waiting=True)
        return found.elsewhere | {part.database: found.copying | found.doubtful}

    def owed(self, moved: Callable[[int], int]) -> list[tuple[int, bytes]]:
        """Return the requests that remember the keys in `lacking`, with the database of each.

        They are sent at the end of a transaction, whose SWAPDBs have `moved` the keys of a database to another one.
        """
        return self._remember_copying({moved(database): keys for database, keys in self.lacking.items()})

    def snapshot_times(self) -> Times:
        """Return how expiries of a snapshot are treated."""
        return self._now(None)

    def remember_restored(self, waiting: Iterable[bytes], copying: Iterable[bytes] = ()) -> list[bytes]:
        """Return requests that remember keys of a snapshot; their database is selected."""
        return self._remember(waiting, copying)

    def _now(self, item: StreamItem | None) -> Times:
        times = self._times(item)
        self.missed = self.missed and self.waiting
        if self.missed:
            return times._replace(late=True, passed=True)
        return times._replace(near=NEVER, margin=0, late=False, passed=False) if self.by_target else times

    def _remember_copying(self, by_database: dict[int, set[bytes]]) -> list[tuple[int, bytes]]:
        return [
            (database, request)
            for database, keys in by_database.items()
            for request in self._remember(copying=keys)
        ]

    def _remember(
        self, expiring: Iterable[bytes] = (), copying: Iterable[bytes] = (), doubtful: Iterable[bytes] = ()
    ) -> list[bytes]:
        lists = ((self._expiring, expiring), (self._copying, copying), (self._doubtful, doubtful))
        requests = [encode("SADD", name, *keys) for name, keys in lists if keys]
        if requests:
            self.waiting = True
            self.remembered += 1
            self.doubts = self.doubts or bool(doubtful)
        return requests
