"""Lines by a thread of their own: in order, never waited for, and counted where nobody takes them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from shaker.watch.output import Footer, LineWriter
from tests.support.servers import wait_until


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe as (reading, writing), closed in the end where a test has not."""
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


def writer(descriptor: int, backlog: int = 100_000) -> tuple[LineWriter, list[int]]:
    """A writer whose reports go into the list, and as lines to the file."""
    reports: list[int] = []

    def report(count: int) -> None:
        reports.append(count)
        lines.write(f"{count} dropped\n")

    lines = LineWriter(descriptor, report, backlog=backlog)
    return lines, reports


def read(descriptor: int, until: bytes) -> list[str]:
    """Read until the bytes `until` have come."""
    data = b""
    while until not in data:
        data += os.read(descriptor, 65536)
    return data.decode().splitlines()


def test_lines_come_out_in_order(pipe: tuple[int, int]) -> None:
    lines, _ = writer(pipe[1])

    for number in range(100):
        lines.write(f"{number}\n")

    assert read(pipe[0], b"99\n") == [str(number) for number in range(100)]
    assert lines.dropped == 0


def test_what_is_not_utf_8_costs_no_line(pipe: tuple[int, int]) -> None:
    lines, _ = writer(pipe[1])

    lines.write("\udcff\n")

    assert read(pipe[0], b"\n") == ["\\udcff"]


@pytest.mark.parametrize("blocking", [True, False])
def test_a_gap_is_reported_in_its_place(pipe: tuple[int, int], blocking: bool) -> None:
    """Nobody reads: writing returns at once. Then somebody does: the lines before the gap, its size, those after."""
    os.set_blocking(pipe[1], blocking)
    lines, reports = writer(pipe[1])
    line = "x" * 999 + "\n"

    while lines.dropped < 50:
        lines.write(line)
    got = read(pipe[0], b"50 dropped\n")
    lines.write("after\n")
    got += read(pipe[0], b"after\n")

    before = got.index("50 dropped")
    assert set(got[:before]) == {"x" * 999}
    assert got[before:] == ["50 dropped", "after"]
    assert (reports, lines.dropped) == ([50], 50)


def test_a_full_disk_is_counted() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        lines, reports = writer(full.fileno())

        for _ in range(10):
            lines.write("x\n")

        wait_until(lambda: lines.dropped == 10, "all lines to be counted")
        assert reports == []
        lines.close()


def test_a_reader_that_left_and_one_that_comes(tmp_path: Path) -> None:
    """The new reader gets whole lines: half of one that the old one left is ended first."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    old = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY)
    os.set_blocking(old, True)
    lines, _ = writer(writing, backlog=10_000_000)
    lines.write("x" * 1_000_000 + "\n")
    assert len(os.read(old, 1000)) == 1000

    os.close(old)
    wait_until(lambda: lines.dropped == 1, "the line to be counted")
    new = os.open(path, os.O_RDONLY)
    lines.write("whole\n")
    got = read(new, b"1 dropped\n")
    os.close(new)
    os.close(writing)

    assert got[-2:] == ["whole", "1 dropped"]


def test_the_last_lines_are_waited_for_and_not_for_long(pipe: tuple[int, int]) -> None:
    lines, _ = writer(pipe[1])
    for _ in range(90):
        lines.write("x" * 999 + "\n")

    begin = time.monotonic()
    lines.close(0.2)
    assert time.monotonic() - begin >= 0.2
    reading = threading.Thread(target=read, args=(pipe[0], b"last\n"))
    reading.start()
    lines.close(60)
    reading_ended = lines.dropped
    lines.write("too late\n")
    os.write(pipe[1], b"last\n")
    reading.join()

    assert reading_ended == 0
    assert lines.dropped == 1


def test_lines_go_above_the_drawn_one(pipe: tuple[int, int]) -> None:
    """What a terminal shows in the end: each line whole, the drawn one last."""
    lines, _ = writer(pipe[1])
    footer = Footer(lines)

    footer.draw("half")
    wait_until(lambda: not lines.waiting, "the line to be drawn")
    footer.draw("half")
    footer.write("an event\n")
    wait_until(lambda: not lines.waiting, "the event")
    footer.draw("whole")
    footer.end("the end\n")

    drawn = read(pipe[0], b"end\n")
    assert drawn == ["", "\x1b[Khalf", "\x1b[Kan event", "half", "\x1b[Kwhole", "\x1b[Kthe end"]


def test_a_terminal_that_takes_nothing_is_not_drawn_at(pipe: tuple[int, int]) -> None:
    lines, _ = writer(pipe[1])
    lines.write("x" * 90_000)
    footer = Footer(lines)

    for number in range(1000):
        footer.draw(str(number))

    assert lines.dropped == 0
    lines.close(0)
