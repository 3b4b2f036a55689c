"""The source side of unconfirmed work: it requests the stream from before it, and remembers the keys.

These commands have taken effect on the target and are not applied again. Where the source cannot send them, every
key of every database counts as unconfirmed.
"""

from __future__ import annotations

import time

import structlog

from shaker.apply.unconfirmed import add
from shaker.errors import LinkError
from shaker.flow.flow import Flow
from shaker.model.batch import Event, Reviewed, ReviewEnd
from shaker.model.items import ReviewItem
from shaker.model.position import Resume
from shaker.model.server_info import ServerInfo
from shaker.readers.full_syncs import continues
from shaker.rules.touched_keys import Touched

log = structlog.get_logger("shaker.source")

UNKNOWN = -1  # instead of a database


class Review:
    """Reads, on one connection, the commands between the last reply read and the last one in effect.

    `resume` is where the stream continues, `info` the source's INFO from before PSYNC. `begin` is the offset and the
    database to ask from, None where nothing has to be read again, or nothing can be.
    """

    def __init__(self, flow: Flow, resume: Resume | None, info: ServerInfo) -> None:
        self._flow = flow
        self._resume = resume
        self._info = info
        self._touched = Touched(flow.target.table)
        unconfirmed = flow.unconfirmed
        self._due = resume is not None and unconfirmed.unread
        self.begin: tuple[int, int] | None = None
        place = unconfirmed.place
        if resume is None or not self._due or place is None or unconfirmed.unreadable:
            return
        # Up to `resume`, the source must have the history that the target has.
        if all(continues(info, resume._replace(offset=offset)) for offset in (place.offset, resume.offset)):
            self.begin = place.offset, UNKNOWN if place.database is None else place.database

    def continued(self, replid: str) -> None:
        """Take over the source's answer that it continues, as history `replid`.

        Raises LinkError where the source may send other commands than those in effect.
        """
        if self._resume is None or not self._due:
            return
        if self.begin is None:
            log.warning("unconfirmed work cannot be read again", hint="all keys are compared with the source's")
            self._touched.everything = True
            self._put(replid, last=True)
        elif not self._same(replid, self._resume):
            # Asked from where the target is, the source itself decides whether it has the history of the target.
            self._flow.unconfirmed.unreadable = True
            raise LinkError("the source has failed over at an offset before the applied one", kind="history")

    def _same(self, replid: str, resume: Resume) -> bool:
        """Whether the continued history is that of the target up to `resume`."""
        source = self._info.replication
        if replid == resume.replid:
            return True
        known = source.replid == replid and source.replid2 == resume.replid
        return known and source.second_offset is not None and resume.offset < source.second_offset

    def take(self, event: Event) -> None:
        """Take commands that have already taken effect, in order; ignore any other event."""
        resume = self._flow.resume
        assert resume is not None  # nothing is read again without one
        if isinstance(event, Reviewed):
            add(self._touched, event.batch.parts)
            # Where only the end names the database, all keys are kept until then.
            if self.begin is not None and self.begin[1] != UNKNOWN:
                self._put(event.batch.replid, last=False)
        elif isinstance(event, ReviewEnd):
            self._end(event, resume)

    def _end(self, event: ReviewEnd, resume: Resume) -> None:
        if event.database == UNKNOWN:
            self._touched.settle(UNKNOWN, resume.database)
        elif UNKNOWN in self._touched.databases or event.database != resume.database:
            self._touched.everything = True
        self._put(resume.replid, last=True)

    def _put(self, replid: str, *, last: bool) -> None:
        resume, unconfirmed = self._flow.resume, self._flow.unconfirmed
        assert resume is not None
        batch = unconfirmed.batch(self._touched, replid, resume.offset, resume.database)
        if not last and not batch.parts:
            return
        self._touched = Touched(self._flow.target.table)
        if last:
            unconfirmed.unread = unconfirmed.unreadable = False
            log.info("unconfirmed work read again", bytes=unconfirmed.bytes, keys_waiting=unconfirmed.waiting)
        self._flow.put(ReviewItem(batch, time.monotonic(), last=last))
