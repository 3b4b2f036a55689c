"""Commands of the stream that are not sent, since the target does not take them: kept across connections.

A batch too large to hold comes from the source again after a failure, and a command that the target refused would
be refused again. The same bytes from the same checkpoint make the same commands in the same order, so that a
command is known by its number.
"""

from __future__ import annotations

from typing import Final

from shaker.errors import UnfaithfulError

# So many between two checkpoints are no accident, and each one takes memory.
MAX_LEFT_OUT: Final = 100_000


class LeftOut:
    """Numbers of commands that are left out, at most `limit`, each with the error that says why."""

    def __init__(self, limit: int = MAX_LEFT_OUT) -> None:
        self._limit = limit
        self._errors: dict[int, str] = {}
        self.added = 0  # how often one was

    def __bool__(self) -> bool:
        return bool(self._errors)

    def add(self, number: int, error: str) -> None:
        """Have a command left out from now on; raises UnfaithfulError when they are too many."""
        self.added += number not in self._errors
        self._errors[number] = error
        if len(self._errors) > self._limit:
            raise UnfaithfulError(
                f"the target rejects more than {self._limit} commands in a row, the last one with: "
                f"{error.split(chr(39))[0][:120]}",
                hint="is the target older than the source, or without a module that the source has?",
                kind="rejected_command",
            )

    def get(self, number: int) -> str | None:
        """Return why a command is left out, None when it is not."""
        return self._errors.get(number)

    def between(self, first: int, behind: int) -> list[int]:
        """Return the numbers from `first` to `behind`, exclusive, in order."""
        if not self._errors:
            return []
        if behind - first <= len(self._errors):
            return [number for number in range(first, behind) if number in self._errors]
        return sorted(number for number in self._errors if first <= number < behind)

    def keep(self, first: int, behind: int, *, shift: int = 0) -> None:
        """Forget all numbers but those from `first` to `behind`, exclusive, and lower these by `shift`."""
        if self._errors:
            self._errors = {
                number - shift: error for number, error in self._errors.items() if first <= number < behind
            }
