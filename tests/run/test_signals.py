"""Signals reach the worker that runs now, and none afterwards."""

from __future__ import annotations

import os
import signal

import anyio
import pytest

from shaker.run.signals import Signals

pytestmark = pytest.mark.anyio


async def test_one_receiver_follows_another() -> None:
    """Without a moment in which a signal would end the process; a SIGHUP that is ignored stays so."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    first: list[int] = []
    second: list[int] = []
    signals = Signals()
    async with anyio.create_task_group() as tasks:
        await tasks.start(signals.run)
        for received in (first, second):
            signals.receiver = received.append
            os.kill(os.getpid(), signal.SIGUSR1)
            os.kill(os.getpid(), signal.SIGHUP)
            with anyio.fail_after(5):
                while not received:  # noqa: ASYNC110 - a receiver is no event
                    await anyio.sleep(0.01)
        tasks.cancel_scope.cancel()
    assert (first, second) == ([signal.SIGUSR1], [signal.SIGUSR1])
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
