"""Libraries, scripts and losses of a snapshot are kept in bounds; left-out keys are counted."""

from __future__ import annotations

import pytest

from shaker.errors import UnfaithfulError
from shaker.model.batch import SnapshotLibrary, SnapshotLoss, SnapshotScript
from shaker.model.entries import Entries
from shaker.readers.snapshot_extras import MAX_LOSSES, SCRIPT_BYTES, SnapshotExtras
from shaker.rules.scripts import Scripts
from shaker.watch.status import FlowStatus


def test_each_kind_is_kept_for_its_place_after_the_keys() -> None:
    """Libraries and scripts in order; data of modules as what cannot be carried."""
    extras = SnapshotExtras(FlowStatus(), 1000)
    for event in (SnapshotLibrary(b"one"), SnapshotScript(b"return 1"), SnapshotLoss("MODULE AUX", "graph")):
        extras.keep(event)
    known = Scripts()

    assert extras.libraries() == (b"one",)
    assert list(extras.scripts(known)) == [(b"return 1",)]
    assert known.all() == [b"return 1"]
    assert [loss.summary for loss in extras.losses] == [
        "MODULE AUX graph: no command carries module data outside of keys"
    ]


def test_scripts_go_in_groups_of_bounded_size() -> None:
    """No request of the target takes long."""
    extras = SnapshotExtras(FlowStatus(), 1 << 30)
    bodies = [bytes([number]) * (SCRIPT_BYTES // 2) for number in range(5)]
    for body in bodies:
        extras.keep(SnapshotScript(body))

    assert list(extras.scripts(Scripts())) == [tuple(bodies[:2]), tuple(bodies[2:4]), (bodies[4],)]


@pytest.mark.parametrize(
    ("event", "times"),
    [
        (SnapshotLibrary(b"x" * 400), 3),
        (SnapshotScript(b"x" * 400), 3),
        (SnapshotLoss("MODULE AUX", "x"), MAX_LOSSES + 1),
    ],
)
def test_more_than_the_limit_ends_the_replication(
    event: SnapshotLibrary | SnapshotScript | SnapshotLoss, times: int
) -> None:
    """The message names the setting."""
    extras = SnapshotExtras(FlowStatus(), 1000)
    for _ in range(times - 1):
        extras.keep(event)
    with pytest.raises(UnfaithfulError, match="SHAKER_MEMORY_LIMIT"):
        extras.keep(event)


def test_keys_left_out_are_counted() -> None:
    """Empty and expired ones apart."""
    status = FlowStatus()
    extras = SnapshotExtras(status, 1000)
    extras.left_out(Entries(0, [], [], [], [], empty=(b"a", b"b"), expired=5))
    extras.left_out(Entries(3, [], [], [], [], expired=2))

    assert (status.keys.empty_skipped, status.keys.expired_skipped) == (2, 7)
