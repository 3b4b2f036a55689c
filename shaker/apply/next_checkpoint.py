"""The checkpoint that a transaction writes at its end."""

from __future__ import annotations

from shaker.apply.in_flight import Transaction
from shaker.apply.ledger import Ledger
from shaker.apply.records import Checkpoint
from shaker.apply.unconfirmed import Place
from shaker.codec.resp.replies import encode
from shaker.model.items import Barrier, SnapshotFinish, SnapshotStart, StreamItem
from shaker.model.position import Phase, Sweep


def advanced(checkpoint: Checkpoint, item: Barrier | StreamItem | SnapshotStart | SnapshotFinish) -> Checkpoint:
    """Return the checkpoint once `item` has taken effect."""
    if isinstance(item, Barrier):
        return checkpoint
    if isinstance(item, StreamItem):
        batch = item.batch
        return checkpoint._replace(
            phase=Phase.STREAM, replid=batch.replid, offset=batch.end_offset, database=batch.database
        )  # fmt: skip
    if isinstance(item, SnapshotStart):
        # Where a sweep was cut short its lists are still there: they are gone through again, or dropped.
        sweep = item.sweep or (bool(checkpoint.sweep) and not item.flush)
        return checkpoint._replace(
            phase=Phase.SNAPSHOT, snapshot=item.snapshot, snapshot_batch=0,
            replid=item.replid, offset=item.offset, confirmed=item.offset, rejected=0, rejected_last="",
            sweep=Sweep.LISTING if sweep else "", listed=0,
        )  # fmt: skip
    checkpoint = checkpoint.confirming(item.offset, item.database)
    return checkpoint._replace(
        phase=Phase.STREAM, replid=item.replid, offset=item.offset,
        database=item.database, snapshot="", snapshot_batch=0,
    )  # fmt: skip


def concluding(transaction: Transaction, ledger: Ledger) -> Checkpoint:
    """Return the checkpoint that the end of a transaction writes."""
    expiries, unconfirmed = ledger.expiries, ledger.unconfirmed
    checkpoint = ledger.tally.counted_in(ledger.checkpoint.naming(ledger.source))._replace(
        expiring=int(expiries.waiting),
        expired=expiries.expired_text,
        margin=expiries.margin,
        unconfirmed=unconfirmed.recorded,
        verified=ledger.verified,
        cutover=ledger.cutover,
        turned=ledger.turned,
    )
    if checkpoint.phase == Phase.STREAM:
        place = unconfirmed.place
        if place is None or unconfirmed.ends(transaction.items):
            place = Place(ledger.applied, checkpoint.database)
        checkpoint = checkpoint._replace(offset=ledger.applied).confirming(*place)
    if transaction.sweep is not None:
        checkpoint = checkpoint._replace(sweep=transaction.sweep.sweep, listed=transaction.sweep.listed)
    if transaction.items:
        checkpoint = advanced(checkpoint, transaction.items[-1])
    if ledger.complete or checkpoint.complete >= 0:
        checkpoint = checkpoint._replace(complete=checkpoint.offset if ledger.complete else -1)
    return checkpoint


def snapshot_requests(item: SnapshotStart | SnapshotFinish, fence: bytes) -> list[bytes]:
    """Return what begins or ends a snapshot on the target besides the checkpoint; `fence` writes the fence."""
    return [encode("FLUSHALL", "ASYNC"), fence] if isinstance(item, SnapshotStart) and item.flush else []
