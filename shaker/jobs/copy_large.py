"""Copies a large value from the source in pieces, each read and written at one barrier, while the stream runs.

The pieces are built by commands under a temporary key, which gets its real name at the last barrier. Between the
barriers the stream is watched for commands on the key: one that comes voids the copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from enum import StrEnum

import anyio

from shaker.codec.resp.replies import encode
from shaker.codec.values.commands import Survey, ValueCommands
from shaker.codec.values.elements import NEVER, Element, ExpiringFields, StringStart
from shaker.errors import UnfaithfulError, UnsupportedError
from shaker.jobs.barrier import Barriers
from shaker.jobs.value_pieces import READS, Replies, Value
from shaker.jobs.verify_large import TRIES, TRY_AGAIN_SECONDS, Watch
from shaker.model.batch import CommandRun
from shaker.net.client import Client, Request
from shaker.net.reply_types import blob, number
from shaker.rules.built_values import lacking, renamed
from shaker.rules.target_form import TargetForm


class Copied(StrEnum):
    """The outcome for one key."""

    WHOLE = "whole"
    BUSY = "busy"  # it changed during each attempt
    OPAQUE = "opaque"  # commands that the target takes cannot make it


class LargeCopier:
    """Copies one key after the other. `asking` is the command that asks the source for an expiry.

    `max_bulk` is the target's limit for a string and for an argument, in bytes. `margin` returns the milliseconds by
    which expiries lie later on the target.
    """

    def __init__(
        self,
        barriers: Barriers,
        source: Client,
        watch: Callable[[bytes], AbstractContextManager[Watch]],
        *,
        form: TargetForm,
        max_bulk: int,
        temporary: str,
        asking: str,
        fields_expire: bool,
        margin: Callable[[], int],
        heartbeat: Callable[[], None],
    ) -> None:
        self._barriers = barriers
        self._source = source
        self._watch = watch
        self._form = form
        self._max_bulk = max_bulk
        self._temporary = temporary.encode()
        self._asking = asking
        self._fields_expire = fields_expire
        self._margin = margin
        self._heartbeat = heartbeat

    async def copy(self, database: int, key: bytes, size: int, done: CommandRun) -> Copied:
        """Copy a key of `size` bytes; `done` is applied with its last piece, or where the source lacks it.

        Raises LinkError, UnfaithfulError of the kind `unsupported` where the target cannot hold the value.
        """
        outcome = Copied.BUSY
        for attempt in range(TRIES):
            if attempt:
                await anyio.sleep(TRY_AGAIN_SECONDS)
            with self._watch(key) as watch:
                try:
                    outcome = await self._attempt(database, Value(key, size, self._fields_expire), watch, done)
                except UnsupportedError as error:
                    raise lacking(key, error.lacking) from error
            if outcome is not Copied.BUSY:
                break
        if outcome is not Copied.WHOLE:
            await self._write(database, [encode("UNLINK", self._temporary)])
        return outcome

    async def _attempt(self, database: int, value: Value, watch: Watch, done: CommandRun) -> Copied:
        async with self._barriers.at(self._source, [("SELECT", database), ("TYPE", value.key)]) as held:
            kind = blob(held.replies[1])
            if kind == b"none":
                if held.replica:  # it hides an expired key before its primary deletes or renews it
                    return Copied.BUSY
                held.apply(CommandRun(database, encode("UNLINK", value.key), 1), done)
                return Copied.WHOLE
            held.apply(CommandRun(database, encode("UNLINK", self._temporary), 1))
        if kind not in READS:
            return Copied.OPAQUE
        kind_of, read = READS[kind]
        maker = ValueCommands(self._temporary, Survey(kind_of, None), self._form.able)
        elements: list[Element] = []
        reading = read(value, elements)
        requests = next(reading)
        try:
            while True:
                async with self._barriers.at(self._source, [("SELECT", database), *requests]) as held:
                    if watch.touched:
                        return Copied.BUSY
                    ended = False
                    try:
                        requests = reading.send(Replies(held.replies[1:], held.source_ms))
                    except StopIteration:
                        ended = True
                    made = [each for element in elements for each in maker.add(self._later(element))]
                    made += maker.finish() if ended else []
                    if self._too_large(elements, made):
                        return Copied.OPAQUE
                    elements.clear()
                    held.apply(CommandRun(database, b"".join(made), len(made)))
                self._heartbeat()
                if ended:
                    return await self._publish(database, value.key, watch, done)
        except UnsupportedError:
            raise
        except UnfaithfulError:  # a stream whose pending entries are deleted
            return Copied.OPAQUE

    def _too_large(self, elements: list[Element], made: list[bytes]) -> bool:
        """Whether the target does not take the string that begins here, or one of the requests."""
        begins = any(isinstance(each, StringStart) and each.size > self._max_bulk for each in elements)
        return begins or any(len(each) > self._max_bulk for each in made)

    def _later(self, element: Element) -> Element:
        """Give expiries of fields their margin."""
        if not isinstance(element, ExpiringFields):
            return element
        margin = self._margin()
        return ExpiringFields(
            [(name, value, at if at == NEVER else at + margin) for name, value, at in element.fields]
        )

    async def _publish(self, database: int, key: bytes, watch: Watch, done: CommandRun) -> Copied:
        asked: list[Request] = [("SELECT", database), (self._asking, key), ("TYPE", key)]
        async with self._barriers.at(self._source, asked) as held:
            if watch.touched or held.replies[2] == b"none":
                return Copied.BUSY
            at, expiry = number(held.replies[1]), 0
            if at >= 0:
                expiry = at + self._margin() + (held.source_ms if self._asking == "PTTL" else 0)
            requests = renamed(self._temporary, key, expiry)
            held.apply(CommandRun(database, b"".join(requests), len(requests)), done)
        return Copied.WHOLE

    async def _write(self, database: int, requests: Iterable[bytes]) -> None:
        async with self._barriers.at(self._source, []) as held:
            held.apply(*(CommandRun(database, request, 1) for request in requests))
