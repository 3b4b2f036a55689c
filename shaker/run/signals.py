"""Signals of the process, for the worker that runs now."""

from __future__ import annotations

import signal
from collections.abc import Callable

import anyio
from anyio.abc import TaskStatus

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


class Signals:
    """Passes each signal to `receiver`; one worker may follow another."""

    def __init__(self) -> None:
        self.receiver: Callable[[signal.Signals], None] = lambda _: None

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Receive until cancelled."""
        # nohup starts a command with SIGHUP ignored: it must stay so.
        listened = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
        try:
            with anyio.open_signal_receiver(*listened, signal.SIGUSR1) as received:
                task_status.started()
                async for number in received:
                    self.receiver(number)
        finally:
            # The receiver restores the default handlers: a signal during the last moments would replace the exit code.
            for number in (*STOPPING, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)
