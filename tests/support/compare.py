"""Every difference between two servers that stand still, by the product's own verification (`--static`).

Its judge is tests/support/oracle.py, which shares no code with the product; tests/bed/test_compare.py holds both to the
same differences.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

import anyio

from shaker.jobs.verify_static import compare_static
from shaker.jobs.verify_suspects import DELAYS
from shaker.jobs.verify_walk import Selection
from shaker.settings.schema import Settings
from shaker.watch.verification import Findings
from tests.support.oracle import Place
from tests.support.servers import Server

# Milliseconds by which an expiry may lie later on the target: `expiry.margin_seconds`, and four times what a lag that
# lasts can be on a busy machine.
LATER: Final = 6000
SHOWN: Final = 20


def found_between(
    source: Server, target: Server, *, later: int = LATER, delays: Sequence[float] = DELAYS
) -> Findings:
    """Return the findings of a whole pass. Callable from any thread, one with an event loop included."""
    settings = Settings(
        source=_endpoint(source),  # type: ignore[arg-type]
        target=_endpoint(target),  # type: ignore[arg-type]
        expiry={"margin_seconds": later / 1000},  # type: ignore[arg-type]
    )
    outcome: list[Findings | BaseException] = []

    def run() -> None:
        try:
            outcome.append(anyio.run(lambda: compare_static(settings, Selection(), delays=delays)))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def every_difference(
    source: Server, target: Server, *, later: int = LATER, delays: Sequence[float] = DELAYS
) -> dict[Place, str]:
    """Return how each place differs, without a limit; `delays` as of `compare_static`."""
    findings = found_between(source, target, later=later, delays=delays)
    found = {Place(*place): f"{each.kind}, {each.detail}" for place, each in sorted(findings.differences.items())}
    assert not findings.more, "more differences than a pass keeps"
    return found | {Place(*place): why for place, why in findings.too_busy.items()}


def differences(
    source: Server, target: Server, *, later: int = LATER, delays: Sequence[float] = DELAYS
) -> list[str]:
    """Return the differences between two servers that stand still, at most SHOWN; [] if equal."""
    found = every_difference(source, target, later=later, delays=delays)
    lines = [f"{place}{what}" for place, what in found.items()]
    return lines[:SHOWN] + ([f"{len(lines) - SHOWN} differences more"] if len(lines) > SHOWN else [])


def _endpoint(server: Server) -> dict[str, Any]:
    """Return the settings of one side. Passwords of tests hold characters that a URL would need quoted."""
    known = server.client().connection_pool.connection_kwargs
    given = {name: known[name] for name in ("username", "password") if known.get(name)}
    return {"url": f"redis://127.0.0.1:{server.port}", **given}
