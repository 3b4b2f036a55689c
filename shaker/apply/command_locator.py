"""Finds commands of a transaction by their number, to name those that failed."""

from __future__ import annotations

from collections.abc import Iterable

from shaker.apply.sent import Sent
from shaker.codec.resp.requests import command_end, nth_command, split, whole


class CommandLocator:
    """Finds commands of a transaction by their number, each at or behind the one before.

    One pass for any number of questions: a transaction can hold thousands of commands that are rejected.
    `layout` has the requests sent between MULTI and EXEC. A run with a label has no arguments; of a joined run,
    the first command is returned.
    """

    def __init__(self, layout: Iterable[Sent]) -> None:
        self._layout = iter(layout)
        self._sent = Sent(0)
        self._first = 0  # number of the present run's first command
        self._behind = 0  # number of the first command behind the run
        self._number = 0  # the command that begins at byte `_start` of the run
        self._start = 0

    def command(self, number: int) -> tuple[Sent, int, list[bytes]]:
        """Return a command's run, index in the run and arguments; no arguments for the worker's own requests."""
        while number >= self._behind:
            self._sent = next(self._layout)
            self._first = self._number = self._behind
            self._behind += self._sent.requests
            self._start = 0
        part = self._sent.part
        if part is None or part.label is not None:
            return self._sent, number - self._first, []
        if self._sent.joined:
            return self._sent, 0, nth_command(whole(part.data, part.prefix), 0)
        while self._number < number:
            self._start = command_end(part.data, self._start)
            self._number += 1
        end = command_end(part.data, self._start)
        return self._sent, number - self._first, split(part.data[self._start : end])
