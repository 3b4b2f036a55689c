"""A command that the target rejected, as logs, status and checkpoint report it."""

from __future__ import annotations

from typing import NamedTuple


class Rejection(NamedTuple):
    """A command that cannot be applied on the target. It never holds a value."""

    command: str
    key: str
    error: str

    @property
    def summary(self) -> str:
        """One line for the checkpoint."""
        return f"{self.command} {self.key}: {self.error}" if self.key else f"{self.command}: {self.error}"
