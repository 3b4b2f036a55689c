"""Commands of the stream on their way into a transaction: those that the target does not take are left out."""

from __future__ import annotations

from typing import Final, NamedTuple

from shaker.apply.databases import Databases
from shaker.apply.deferred_expiries import Expiries
from shaker.apply.in_flight import Transaction
from shaker.apply.records import Fence, checkpoint_key, fence_key
from shaker.apply.rejections import RESERVED, beyond, describe, rejection_of, runs_without, too_long
from shaker.apply.sent import Sent
from shaker.apply.unconfirmed import Unconfirmed
from shaker.apply.window import Window
from shaker.codec.resp.replies import encode
from shaker.codec.resp.requests import whole
from shaker.errors import PlannedReconnectError, UnfaithfulError
from shaker.model.batch import CommandRun, RecordsWiped
from shaker.model.items import ReviewItem, StreamItem
from shaker.model.rejection import Rejection
from shaker.rules.chain import Chain

UNNUMBERED: Final = -1  # what the source has not sent


class Limits(NamedTuple):
    """Limits of the target: bytes of one transaction, and of one argument."""

    transaction: int
    bulk: int


class Forwarder:
    """Sends items of the stream. A transaction beyond the limit raises UnfaithfulError."""

    def __init__(
        self,
        name: str,
        fence: Fence,
        window: Window,
        expiries: Expiries,
        unconfirmed: Unconfirmed,
        databases: Databases,
        chain: Chain,
        limits: Limits,
    ) -> None:
        self._name = name
        self._fence = fence
        self._window = window
        self._expiries = expiries
        self._unconfirmed = unconfirmed
        self._databases = databases
        self._chain = chain
        self._max_transaction, self._max_bulk = limits

    def send(self, item: StreamItem, transaction: Transaction, out: list[bytes]) -> None:
        """Send the commands of an item; raises LinkError where the transaction has to begin again without one."""
        batch = item.batch
        transaction.items.append(item)
        transaction.size += batch.size
        transaction.unfinished = batch.more
        self._check_size(transaction.size)
        if isinstance(item, ReviewItem):
            for part in batch.parts:
                transaction.run(Sent(part.commands, item, part, UNNUMBERED), (part.data,), out)
            return
        item.left_out = 0
        number = item.first
        for part in batch.parts:
            if part.label is not None:
                self._fragment(item, part, number, transaction, out)
            elif self._window.left_out or len(part.data) > self._max_bulk:
                self._some(item, part, number, transaction, out)
            else:
                self._run(item, part, number, transaction, out)
            number += part.commands
        if batch.records is not None:
            self._write_records(batch.records, transaction, out)

    def _check_size(self, size: int) -> None:
        """Raise UnfaithfulError where a transaction of `size` bytes is beyond the limit."""
        if size > self._max_transaction:
            raise UnfaithfulError(
                f"a transaction of more than {self._max_transaction} bytes is too large for the target",
                hint="raise client-query-buffer-limit on the target, or write less in one transaction",
                kind="too_large",
            )

    def send_extra(self, requests: list[tuple[int, bytes]], transaction: Transaction, out: list[bytes]) -> None:
        """Send requests of the worker's own, each in its database."""
        for database, request in requests:
            self._databases.require(database)
            transaction.remember(database, request, out)

    def _write_records(self, records: RecordsWiped, transaction: Transaction, out: list[bytes]) -> None:
        """Write the fence again, which the item took or moved, and remove what it moved."""
        transaction.sealed = transaction.wipes = True
        if records.moved_to is not None:
            transaction.select(records.moved_to, out)
            transaction.request(encode("DEL", fence_key(self._name), checkpoint_key(self._name)), out)
        transaction.select(0, out)
        transaction.request(self._fence.command(self._name), out)

    def _run(
        self, item: StreamItem, part: CommandRun, number: int, transaction: Transaction, out: list[bytes]
    ) -> None:
        """Send a run of commands; `number` is that of the first one."""
        times = self._expiries.times_for(item, part)
        written = self._chain.written(part, times, any_waiting=self._expiries.waiting)
        transaction.run(Sent(written.requests, item, part, number), written.pieces, out)
        requests = self._expiries.remember(part.database, written.found)
        self.send_extra(requests + self._unconfirmed.derived(part, self._chain.table), transaction, out)

    def _some(
        self, item: StreamItem, part: CommandRun, number: int, transaction: Transaction, out: list[bytes]
    ) -> None:
        """Send those of a run of commands that the target takes."""
        left_out = self._window.left_out
        apart = part if not part.prefix else part._replace(data=whole(part.data, part.prefix), prefix=b"")
        if len(part.data) > self._max_bulk:
            for each, error in too_long(apart, number, self._max_bulk):
                left_out.add(each, error)
        numbers = left_out.between(number, number + part.commands)
        if not numbers:
            self._run(item, part, number, transaction, out)
            return
        runs, gone = runs_without(apart, number, numbers)
        for each, arguments in zip(numbers, gone, strict=True):
            self._without(item, describe(arguments, left_out.get(each) or "", self._chain.table), transaction)
        for run, first in runs:
            self._run(item, run, first, transaction, out)

    def _fragment(
        self, item: StreamItem, part: CommandRun, number: int, transaction: Transaction, out: list[bytes]
    ) -> None:
        """Send a fragment of a huge command, or leave it out with all of the command."""
        self._check_size(part.longest)  # as announced: its bytes may never end
        label, left_out = part.label, self._window.left_out
        assert label is not None  # what makes it a fragment
        error = left_out.get(number)
        if error is None and (part.reserved or part.longest > self._max_bulk):
            error = RESERVED if part.reserved else beyond(part.longest, self._max_bulk)
            left_out.add(number, error)
            if transaction.cut:  # the target has its beginning, and must not get its end
                raise PlannedReconnectError(f"the command is left out: {rejection_of(label, error).summary}")
        if error is None:
            transaction.fragment(item, part, number, out)
            self.send_extra(self._expiries.remember_huge(item, part, *label), transaction, out)
        elif part.commands:
            self._without(item, rejection_of(label, error), transaction)

    def _without(self, item: StreamItem, rejection: Rejection, transaction: Transaction) -> None:
        item.left_out += 1
        transaction.left_out.append(rejection)
