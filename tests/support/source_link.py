"""Ways to lose the link to the source; each is one loss, and leaves the link as it has to be for the next."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from tests.support.proxy import Proxy
from tests.support.servers import Server

# Source, proxy before it, and the worker's `source.timeout_seconds`.
Loss = Callable[[Server, Proxy, float], None]


def killed(source: Server, proxy: Proxy, timeout: float) -> None:
    """Have the source itself end its links to replicas."""
    source.client().client_kill_filter(_type="replica")


def reset(source: Server, proxy: Proxy, timeout: float) -> None:
    """Reset every connection to the source."""
    proxy.reset()


def black_hole(source: Server, proxy: Proxy, timeout: float) -> None:
    """Drop everything both ways, the connections left open, for longer than the worker waits."""
    proxy.set(black_hole=True)
    time.sleep(timeout + 0.5)
    # What was dropped is gone from the middle of the stream: no link goes on behind that.
    proxy.reset()
    proxy.set(black_hole=False)


def one_byte(source: Server, proxy: Proxy, timeout: float) -> None:
    """Reset, and from then on forward byte by byte, the next handshake too."""
    proxy.set(slice=1)
    proxy.reset()


LOSSES: Final[dict[str, Loss]] = {
    "killed": killed,
    "reset": reset,
    "black hole": black_hole,
    "one byte": one_byte,
}
