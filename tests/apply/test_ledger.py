"""The ledger says whether the checkpoint lacks something that the worker knows."""

from __future__ import annotations

import pytest

from shaker.apply.ledger import Ledger
from shaker.apply.records import Checkpoint
from shaker.flow.flow import Flow
from shaker.model.position import Phase
from shaker.model.rejection import Rejection
from shaker.settings.schema import Settings
from shaker.watch.status import Status

STREAMING = Checkpoint(
    phase=Phase.STREAM, replid="a" * 40, offset=500, confirmed=500, confirmed_at="500 0", source="source:6379"
)


def ledger_of(checkpoint: Checkpoint) -> Ledger:
    """Return the ledger of a connection that registered with a checkpoint."""
    settings = Settings(source={"url": "redis://s"}, target={"url": "redis://t"})  # type: ignore[arg-type]
    flow = Flow(Status(), settings, window_limit=1 << 20)
    return Ledger(checkpoint, flow.window, flow.expiries, flow.unconfirmed, lambda _: None)


def test_a_new_connection_knows_no_more_than_the_checkpoint() -> None:
    """Nothing has to be written before something happens."""
    ledger = ledger_of(STREAMING)

    assert (ledger.applied, ledger.tally.count) == (500, 0)
    assert not ledger.lags
    assert not ledger.behind
    assert not ledger.unpersisted


def test_an_offset_alone_is_unpersisted() -> None:
    """Commands without effect moved the offset: that may be written late."""
    ledger = ledger_of(STREAMING)
    ledger.applied = 514

    assert ledger.behind
    assert ledger.unpersisted


@pytest.mark.parametrize("moved", [0, 14])
@pytest.mark.parametrize("what", ["rejection", "expiries", "source", "keys to be copied", "replies read"])
def test_all_else_is_written_soon(what: str, moved: int) -> None:
    """Whatever else has to reach the checkpoint does not wait longer because the source has sent a PING, too."""
    ledger = ledger_of(STREAMING._replace(confirmed=400) if what == "replies read" else STREAMING)
    ledger.applied += moved
    if what == "rejection":
        ledger.tally.add([Rejection("LPUSH", "k", "WRONGTYPE")])
    elif what == "expiries":
        ledger.expiries.waiting = True
    elif what == "source":
        ledger.source = ("other:6379", "run", "")
    elif what == "keys to be copied":
        ledger.expiries.lacking[5] = {b"k"}

    assert ledger.behind
    assert not ledger.unpersisted


def test_a_checkpoint_in_a_snapshot_lacks_nothing() -> None:
    """Its own requests write it: there is no offset of the stream to record yet."""
    ledger = ledger_of(STREAMING._replace(phase=Phase.SNAPSHOT))
    ledger.applied = 600

    assert not ledger.behind
    assert not ledger.unpersisted
