"""Commands that failed inside EXEC because of the server's state: their keys are copied."""

from __future__ import annotations

from shaker.apply.deferred_expiries import Expiries
from shaker.apply.in_flight import Transaction
from shaker.model.rejection import Rejection


def copy_missed(transaction: Transaction, expiries: Expiries, before: int) -> list[Rejection]:
    """Have the keys of a transaction copied that it missed; return the rejections of commands without known keys.

    `before` is the stream's offset before the transaction.
    """
    rejections = []
    if transaction.failures.missed:
        expiries.differ_behind(before)
    for keys, rejection in transaction.failures.missed:
        expiries.copy(keys)
        if not keys and rejection is not None:
            rejections.append(rejection)
    if transaction.failures.missed:
        # Others in it may have made keys of those.
        for sent in transaction.layout:
            if sent.item is not None and sent.part is not None and sent.part.expiries:
                expiries.copy(transaction.moved_keys(expiries.made(sent.item, sent.part), sent))
    return rejections
