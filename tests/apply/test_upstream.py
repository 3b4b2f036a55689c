"""Where the source's data come from, by the records of other workers there."""

from __future__ import annotations

import pytest

from shaker.apply.upstream import MAX_ORIGINS, MAX_RECORDS, Upstream
from shaker.model.cutover import Turn

A, B, C, D = (letter * 40 for letter in "abcd")
KEY = "shaker:checkpoint:{}".format


def record(run_id: str = "", replid: str = "", **fields: str) -> dict[str, str]:
    """Return a checkpoint of the stream."""
    return {"source_run_id": run_id, "replid": replid, "phase": "stream", "offset": "1", **fields}


def test_the_target_is_found_by_each_of_its_ids() -> None:
    """Run id, replication id, and both of servers further up."""
    for found in (record(A, B), record(B, A), record(B, C, origins=f"{D} {A}")):
        upstream = Upstream()
        upstream.put(KEY("other"), found)
        assert upstream.circle_through({A, "e" * 40}, streams=True) == KEY("other")
        assert upstream.circle_through({"e" * 40}, streams=True) is None


def test_no_id_is_none() -> None:
    """Fields that are empty, zero or damaged name nobody."""
    upstream = Upstream()
    upstream.put(KEY("other"), record("", "0" * 40, origins="x  y"))
    assert upstream.circle_through({"", "0" * 40, "x"}, streams=True) is None
    assert upstream.origins == ""


def test_of_two_the_newer_one_gives_way() -> None:
    """A worker in the stream leaves it to one in its snapshot; one in its snapshot never does."""
    upstream = Upstream()
    upstream.put(KEY("other"), record(A, phase="snapshot"))
    assert upstream.circle_through({A}, streams=True) is None
    assert upstream.circle_through({A}, streams=False) == KEY("other")
    upstream.put(KEY("other"), {"phase": "stream"})
    assert upstream.circle_through({A}, streams=True) == KEY("other")


def test_an_address_counts_in_the_record_of_the_own_name_only() -> None:
    """The same address can be two servers, seen from two places; one of the same name is this replication's."""
    for own, address, found in (
        ("mine", "redis:6379", KEY("mine")),
        ("other", "redis:6379", None),
        ("mine", "", None),
    ):
        upstream = Upstream(KEY(own))
        upstream.put(KEY("mine"), record(B, source="redis:6379"))
        assert upstream.circle_through({A}, streams=True, address=address) == found


@pytest.mark.parametrize(
    ("key", "turned", "turn", "circle"),
    [
        ("mine", 0, 1, False),  # the direction before this one
        ("mine", 2, 1, False),  # one that was not taken
        ("mine", 1, 1, True),
        ("mine", 0, 0, True),
        ("mine", 0, 2, True),
        ("other", 0, 1, True),
    ],
)
def test_the_other_direction_of_the_own_replication_is_no_circle(
    key: str, turned: int, turn: int, circle: bool
) -> None:
    """Nor an origin: only the record of the own name, and only one turn away."""
    upstream = Upstream(KEY("mine"))
    upstream.put(KEY(key), record(A, source="redis:6379", turned=str(Turn(turned))))
    upstream.turn = turn
    assert (upstream.circle_through({A}, streams=True, address="redis:6379") is not None) is circle
    assert (upstream.origins == A) is circle


def test_origins_grow_along_a_chain() -> None:
    """Those before the source; a snapshot, which has all records, begins with none."""
    upstream = Upstream()
    upstream.inherit(f"{C} {D}")
    upstream.put(KEY("one"), record(A, B))
    assert upstream.origins.split() == [A, B, C, D]
    upstream.clear()
    assert upstream.origins == ""
    upstream.put(KEY("one"), record(A, B))
    assert upstream.origins.split() == [A, B]


def test_a_flood_of_records_is_bounded() -> None:
    """Whoever writes them."""
    upstream = Upstream()
    for number in range(2 * MAX_RECORDS):
        upstream.put(KEY(number), record(f"{number:040x}"))
    assert len(upstream.origins.split()) == MAX_ORIGINS
