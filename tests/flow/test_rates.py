"""Rates of the intake: a debt that is paid off before more is taken, and limits that change meanwhile."""

from __future__ import annotations

import time

import anyio
import pytest

from shaker.flow.rates import RATES, SMALLEST_PIECE, Rates

pytestmark = pytest.mark.anyio


def limited(**limits: int | None) -> Rates:
    """Rates with these limits."""
    rates = Rates(time.monotonic)
    rates.change(limits)
    return rates


async def test_without_limits_nothing_is_owed() -> None:
    rates = Rates(time.monotonic)
    assert not rates.active
    rates.charge("stream_bytes", 1 << 40)
    with anyio.fail_after(0.1):
        await rates.pay()
    assert rates.limits == dict.fromkeys(RATES)


async def test_a_debt_takes_its_time() -> None:
    rates = limited(stream_commands=100)
    began = time.monotonic()
    rates.charge("stream_commands", 20)
    rates.charge("stream_bytes", 1 << 40)
    await rates.pay()
    assert 0.15 < time.monotonic() - began < 1


async def test_a_debt_is_forgotten_with_its_limit() -> None:
    rates = limited(stream_bytes=1)
    rates.charge("stream_bytes", 3600)
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(2):
            tasks.start_soon(rates.pay)
            await anyio.sleep(0.05)
            rates.change({"stream_bytes": None})
    assert not rates.active


async def test_time_without_debt_earns_nothing() -> None:
    """A rate is no average over the past: a pause is not made up for at full speed."""
    rates = limited(stream_bytes=1000)
    rates.charge("stream_bytes", 1)
    await anyio.sleep(0.2)
    began = time.monotonic()
    rates.charge("stream_bytes", 100)
    await rates.pay()
    assert time.monotonic() - began > 0.08


def test_pieces_are_the_bytes_in_order() -> None:
    data = bytes(range(256)) * 100
    for limits in ({"snapshot_bytes": 1}, {"snapshot_bytes": 100_000}, {"snapshot_keys": 1000}):
        pieces = list(limited(**limits).pieces(data, snapshot=True))
        assert b"".join(pieces) == data
        assert len(pieces) > 1
        assert all(len(piece) >= SMALLEST_PIECE for piece in pieces[:-1])
    assert list(limited(snapshot_bytes=1).pieces(data, snapshot=False)) == [data]
    assert list(limited(snapshot_bytes=1).pieces(b"", snapshot=True)) == []
