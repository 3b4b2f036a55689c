"""Batches know what they take of the worker's memory."""

from __future__ import annotations

from shaker.model.batch import LEFT_OUT_BYTES, RUN_BYTES, CommandRun, held_bytes


def test_runs_and_left_out_commands_count_beside_the_bytes() -> None:
    """A stream of tiny commands may not take more memory than is counted."""
    runs = [CommandRun(0, b"x" * 100, 1), CommandRun(3, b"y" * 20, 2)]

    assert held_bytes([]) == 0
    assert held_bytes(runs) == 120 + 2 * RUN_BYTES
    assert held_bytes(runs, 3) == 120 + 2 * RUN_BYTES + 3 * LEFT_OUT_BYTES
