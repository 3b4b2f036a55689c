"""Admits received bytes to the flow: no faster than the operator's rates, in pieces where there are any."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from shaker.flow.flow import Flow


class Admission:
    """Passes bytes on to `take`. `loading`: the next ones belong to a snapshot."""

    def __init__(self, flow: Flow, take: Callable[[bytes], Awaitable[None]], loading: Callable[[], bool]) -> None:
        self._intake = flow.intake
        self._take = take
        self._loading = loading

    async def admit(self, data: bytes) -> None:
        """Take `data`, and return once it may be followed by more."""
        rates = self._intake.rates
        if not rates.active:
            await self._take(data)
            return
        for piece in rates.pieces(data, snapshot=self._loading()):
            await self._intake.wait()
            loading = self._loading()
            await self._take(piece)
            rates.charge("snapshot_bytes" if loading else "stream_bytes", len(piece))
            await rates.pay()
