"""A flood of rejected commands does not flood the log, and each is counted there."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from shaker.model.rejection import Rejection
from shaker.writers.rejection_log import INTERVAL_SECONDS, SINGLE_LINES, RejectionLog


class Clock:
    """Time that passes when a test says so, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told(clock: Clock) -> RejectionLog:
    return RejectionLog(clock)


def reject(told: RejectionLog, count: int) -> list[dict[str, Any]]:
    """Reject so many commands and return the lines of the log."""
    with capture_logs() as lines:
        for number in range(count):
            told.rejected(Rejection("LPUSH", f"key:{number}", "WRONGTYPE"))
    return [dict(line) for line in lines]


def turn(told: RejectionLog, **how: bool) -> list[dict[str, Any]]:
    """Let the log take a turn and return its lines."""
    with capture_logs() as lines:
        told.report(**how)
    return [dict(line) for line in lines]


def test_a_few_are_told_one_by_one(told: RejectionLog) -> None:
    """With command, key and error."""
    (line,) = reject(told, 1)
    assert (line["event"], line["log_level"]) == ("command rejected", "error")
    assert (line["command"], line["key"], line["error"]) == ("LPUSH", "key:0", "WRONGTYPE")


def test_of_many_the_rest_is_counted(told: RejectionLog, clock: Clock) -> None:
    """One line for each interval has their number, and the last of them."""
    assert len(reject(told, 1000)) == SINGLE_LINES
    assert turn(told) == []
    clock.now += INTERVAL_SECONDS
    (line,) = turn(told)
    assert (line["event"], line["count"], line["key"]) == ("commands rejected", 1000 - SINGLE_LINES, "key:999")
    assert reject(told, 500) == []
    clock.now += INTERVAL_SECONDS
    assert [line["count"] for line in turn(told)] == [500]


def test_after_a_quiet_time_they_are_told_one_by_one_again(told: RejectionLog, clock: Clock) -> None:
    reject(told, 100)
    clock.now += INTERVAL_SECONDS
    assert len(turn(told)) == 1
    clock.now += INTERVAL_SECONDS
    assert turn(told) == []
    assert [line["event"] for line in reject(told, 2)] == ["command rejected"] * 2


def test_the_end_leaves_nothing_untold(told: RejectionLog) -> None:
    reject(told, 100)
    assert [line["count"] for line in turn(told, ended=True)] == [100 - SINGLE_LINES]
    assert turn(told, ended=True) == []
