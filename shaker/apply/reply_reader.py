"""Replies of the target matched to the steps sent, one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final

from shaker.apply.command_locator import CommandLocator
from shaker.apply.in_flight import Probe, Requests, Step, Transaction
from shaker.apply.rejections import (
    changed_keys,
    describe,
    is_passing,
    passing_error,
    refused_request,
    rejection_of,
    script_error,
)
from shaker.apply.scripted import FAILED, failures
from shaker.apply.sent import Failed, Missed, Sent
from shaker.apply.window import Window
from shaker.codec.resp.replies import MAX_ERRORS, ReplyScanner
from shaker.codec.resp.requests import commands, whole
from shaker.errors import LinkError, PlannedReconnectError, UnfaithfulError, counted
from shaker.model.batch import CommandRun
from shaker.rules.command_table import CommandTable
from shaker.rules.expiring_commands import MISSING
from shaker.rules.target_form import EVERYTHING, TargetForm

# RENAME of a value of which nothing is left: all its fields have expired.
NOTHING_BUILT: Final = "ERR no such key"
OK: Final = b"+OK\r\n"
QUEUED: Final = b"+QUEUED\r\n"
# Replies compared at a time once one is an error: others follow, and each comparison builds what it compares.
MIXED: Final = 16
# Refused commands after which a transaction that is too large to keep is not sent any further.
MANY: Final = 10_000
# Behind such an error the target closes the connection (server file src/networking.c, setProtocolError).
PROTOCOL_ERROR: Final = "Protocol error"


class ReplyReader:
    """Matches replies to the steps in `expected`; a step leaves it when it is answered whole."""

    def __init__(
        self, expected: deque[Step], window: Window, table: CommandTable, form: TargetForm = EVERYTHING
    ) -> None:
        self._expected = expected
        self._window = window
        self._table = table
        self._form = form
        self._replies = ReplyScanner()

    def receive(self, data: bytes) -> Iterator[Step]:
        """Take bytes of the target's replies; yield each step that is answered whole, in order.

        Raises UnfaithfulError for data that the target cannot take, LinkError and its kinds where a new connection
        helps; nothing can be read after any of them.
        """
        self._replies.feed(data)
        while self._expected:
            step = self._expected[0]
            if isinstance(step, Transaction):
                done = self._transaction(step)
            elif isinstance(step, Requests):
                done = self._requests(step)
            elif isinstance(step, Probe):
                done = self._probe(step)
            else:
                done = self._replies.skip(1) == 1
            if not done:
                return
            self._expected.popleft()
            self._replies.clear_errors()
            yield step
        if self._replies.pending:
            raise LinkError("the target sent a reply that nothing asked for", kind="protocol")

    def _probe(self, probe: Probe) -> bool:
        while left := len(probe.databases) + 1 - probe.answered:  # one for the way back
            got = self._replies.skip_same(OK, left) or self._replies.skip(min(left, MAX_ERRORS))
            for position, text in self._replies.errors:
                self._missing(probe, probe.answered + position, text)
            self._replies.clear_errors()
            probe.answered += got
            if not got:
                return False
        return True

    def _missing(self, probe: Probe, number: int, text: str) -> None:
        """Note the database of a question that was answered by an error; raise where it is needed."""
        database = probe.databases[number] if number < len(probe.databases) else 0
        needed = number == len(probe.databases) or database in probe.needed
        if is_passing(text) and (needed or not text.startswith("NOPERM")):
            raise passing_error(text)
        if needed:
            raise UnfaithfulError(
                f"the source uses database {database}, which the target does not have: {text}",
                hint="give the target as many databases as the source (its setting `databases`)",
                kind="database",
            )
        probe.missing.add(database)

    def _requests(self, step: Requests) -> bool:
        # The HSET of the checkpoint at the end answers an integer, all before it +OK.
        before = step.left if step.unfinished else step.left - 1
        before -= self._replies.skip_same(OK, before)
        before -= self._replies.skip(before)
        step.left = before + (not step.unfinished)
        if step.left == 1 and not step.unfinished and (new_fields := self._replies.integer()) is not None:
            step.left, step.new_fields = 0, new_fields
        for position, text in self._replies.errors:
            if is_passing(text):
                raise passing_error(text)
            if text != NOTHING_BUILT:
                raise refused_request(step.items[-1], position, text, self._form)
        return step.left == 0 and not step.unfinished

    def _transaction(self, transaction: Transaction) -> bool:
        replies, read = self._replies, transaction.read
        if transaction.scripted:
            return self._script(transaction)
        if not read.opened:
            if not replies.skip(1):
                return False
            if replies.errors:
                text = replies.errors[0][1]
                raise passing_error(text) if is_passing(text) else LinkError(f"the target refuses MULTI: {text}")
            read.opened = True
            replies.clear_errors()
        while read.queued < transaction.commands:
            left = transaction.commands - read.queued
            if read.refused:
                left = min(left, MIXED)
            got = replies.skip_same(QUEUED, left) or replies.skip(1)
            read.queued += got
            for _, text in replies.errors:
                if is_passing(text):
                    raise passing_error(text)
                read.refused.append((read.queued - 1, text))
            replies.clear_errors()
            if not got:
                return False
        if read.refused and self._void(transaction):
            self._leave_out(transaction)
        if transaction.checkpoint is None:
            return False
        return self._results(transaction)

    def _script(self, transaction: Transaction) -> bool:
        """Read the one reply of a transaction that went as a script."""
        new_fields = self._replies.integer()
        if new_fields is None:
            return False
        transaction.read.new_fields = max(0, new_fields)
        text = self._replies.errors[0][1] if self._replies.errors else ""
        if text.startswith(FAILED):
            self._fail(transaction, failures(text))
        elif text:
            if text.startswith("NOPERM"):
                self._window.out_of_memory(scripts=False)
                raise script_error(text)
            if is_passing(text):
                raise passing_error(text)
            raise LinkError(f"the target refuses a script of the worker's: {text}", kind="refused")
        return True

    def _results(self, transaction: Transaction) -> bool:
        replies, read = self._replies, transaction.read
        if read.results < 0:
            replies.clear_errors()
            header = replies.array_header()
            if header is None:
                return False
            if header != transaction.commands:
                text = replies.errors[0][1] if replies.errors else f"{header} results"
                if is_passing(text):
                    raise passing_error(text)
                raise LinkError(f"the target did not execute a transaction: {text}", kind="aborted")
            read.results = header
            replies.clear_errors()
        while read.results:
            left = read.results - 1  # before the HSET of the checkpoint
            if left:
                got = replies.skip_same(OK, left) or replies.skip(min(left, MAX_ERRORS))
            elif (new_fields := replies.integer()) is not None:
                got, read.new_fields = 1, new_fields
            else:
                got = 0
            if replies.errors:
                self._reject_results(transaction, transaction.commands - read.results)
            read.results -= got
            replies.clear_errors()
            if not got:
                return False
        return True

    def _void(self, transaction: Transaction) -> bool:
        """Whether there is no more to learn from a transaction with refused commands.

        A transaction too large to keep comes from the source again: it is sent to its end, to find all such commands.
        """
        read = transaction.read
        text = read.refused[-1][1]
        return not transaction.unfinished or len(read.refused) >= MANY or PROTOCOL_ERROR in text

    def _leave_out(self, transaction: Transaction) -> None:
        """Have the commands that the target did not queue left out, and raise: the transaction is void.

        All of them at once: each time costs a new connection.
        """
        refused = transaction.read.refused
        locator = CommandLocator(transaction.layout)
        first = ""
        for number, text in refused:
            sent, index, arguments = locator.command(number)
            part = sent.part
            if part is None or sent.item is None:
                raise LinkError(f"the target refuses the worker's own request: {text}", kind="refused")
            label = part.label or (arguments[0], self._table.first_key(arguments))
            if sent.joined:
                label = (b"MSET", None)
            first = first or rejection_of(label, text).summary
            if sent.joined:
                self._window.stop_joining()  # what it has against the commands is said of each of them then
                raise PlannedReconnectError(f"the target rejects {first}")
            self._window.left_out.add(sent.first + index, text)
        raise PlannedReconnectError(
            f"the target rejects {first} before it is executed ({counted(len(refused), 'command')} in all)"
        )

    def _reject_results(self, transaction: Transaction, read: int) -> None:
        """Note the commands that failed inside EXEC; `read` results came before those at hand."""
        self._fail(transaction, [(read + position, text) for position, text in self._replies.errors])

    def _fail(self, transaction: Transaction, failed: list[tuple[int, str]]) -> None:
        found = transaction.failures
        if found.locator is None:
            found.locator = CommandLocator(transaction.layout)
        for number, text in failed:
            sent, _, arguments = found.locator.command(number)
            if is_passing(text):
                found.passing = text
            labelled = sent.part is not None and sent.part.label is not None
            if sent.part is None or (sent.item is None and not labelled and not is_passing(text)):
                if not is_passing(text) or number != transaction.commands - 1:
                    raise UnfaithfulError(
                        f"the target refuses the worker's own request inside a transaction: {text}",
                        hint="is something else writing the worker's records on the target?",
                        kind="records",
                    )
                found.unwritten = True
            else:
                self._fail_one(transaction, sent, sent.part, arguments, text)

    def _fail_one(
        self, transaction: Transaction, sent: Sent, part: CommandRun, arguments: list[bytes], text: str
    ) -> None:
        found = transaction.failures
        rejection = describe(arguments, text, self._table) if part.label is None else rejection_of(part.label, text)
        if is_passing(text):
            keys = transaction.moved_keys(self._keys(sent, part, arguments), sent)
            count = part.commands if sent.joined and not keys else 1
            found.missed += [Missed(keys, rejection if sent.item is not None else None)] * count
        elif sent.joined:
            found.rejections += [rejection] * part.commands
        elif arguments and sent.item is not None:
            database = transaction.moved(part.database, behind=sent)
            keys = transaction.moved_keys(self._keys(sent, part, arguments), sent)
            found.failed.append(
                Failed(database, arguments, rejection, sent.item, keys, missing=text.startswith(MISSING))
            )
        else:
            found.rejections.append(rejection)

    def _keys(self, sent: Sent, part: CommandRun, arguments: list[bytes]) -> dict[int, set[bytes]]:
        """Return the keys of a command that failed, by database."""
        if part.label is not None:
            name, key = part.label
            return {part.database: {key}} if key is not None and self._table.has_one_key(name) else {}
        if not sent.joined:
            return changed_keys(part.database, arguments, self._table)
        return {part.database: {words[1] for words in commands(whole(part.data, part.prefix))}}
