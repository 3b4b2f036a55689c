"""The number of keys and fields that the target has expired by itself, compared over time.

Nothing else shows whether a key that the source still has is gone, or was rebuilt, on the target: the commands sent to
it say when a key should expire, not whether it did.
"""

from __future__ import annotations

from typing import NamedTuple

from shaker.model.server_info import STEADY_COUNTERS, ServerInfo


class ExpiredKeys(NamedTuple):
    """Counts of one run of a server: expired keys, expired fields of hashes, and counters that show a RESETSTAT."""

    run_id: str
    keys: int
    fields: int
    steady: tuple[int, ...]

    @classmethod
    def of(cls, info: ServerInfo) -> ExpiredKeys | None:
        """Return what an INFO of all sections says; None where it does not."""
        found = info.expired
        if not info.run_id or found is None:
            return None
        return cls(info.run_id, found.keys, found.fields, found.steady)

    @classmethod
    def parse(cls, text: str) -> ExpiredKeys | None:
        """Return what `text` made of it; None for any other text."""
        run_id, *numbers = text.split(" ")
        if len(numbers) != 2 + len(STEADY_COUNTERS) or not all(number.isdigit() for number in numbers):
            return None
        keys, fields, *steady = map(int, numbers)
        return cls(run_id, keys, fields, tuple(steady))

    @property
    def text(self) -> str:
        """One line for the checkpoint."""
        return " ".join(map(str, (self.run_id, self.keys, self.fields, *self.steady)))


def expired_nothing(before: ExpiredKeys | None, after: ExpiredKeys | None) -> bool:
    """Whether the target certainly expired nothing between the two; False where either is unknown."""
    return (
        before is not None
        and after is not None
        and before[:3] == after[:3]
        and all(one <= other for one, other in zip(before.steady, after.steady, strict=True))
    )
