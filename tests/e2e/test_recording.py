"""A migration on a terminal, as a new user makes it: bars move, numbers add up, Ctrl-C is clean."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.e2e.recording import CTRL_C, FILE, HEIGHT, WIDTH, record
from tests.support.terminal import ESCAPES

RUN = "shaker run --mode migrate\r\n"
DRAWN = re.compile(r"snapshot +[━─]+ +(\d+) %.*?([\d,]+) of ([\d,]+) keys")


def screen(path: Path) -> str:
    """Everything that a recording shows, without colours."""
    header, *events = [json.loads(line) for line in path.read_text().splitlines()]
    assert (header["version"], header["width"], header["height"]) == (2, WIDTH, HEIGHT)
    times = [at for at, _, _ in events]
    assert times == sorted(times)
    return ESCAPES.sub("", "".join(text for _, kind, text in events if kind == "o"))


def number(text: str) -> int:
    """A number with commas."""
    return int(text.replace(",", ""))


def check_bars(text: str) -> None:
    """The bar of one run grows, and its share is that of its keys."""
    drawn = [(number(share), number(done), number(total)) for share, done, total in DRAWN.findall(text)]
    assert len(drawn) >= 4, text
    assert drawn == sorted(drawn)
    assert [each for each in drawn if abs(each[0] - 100 * each[1] / each[2]) > 1] == []


def check(shown: str) -> None:
    """What was recorded is a migration as the documents describe it."""
    assert "Traceback" not in shown
    preflight, interrupted, whole, refused = shown.split(RUN)
    assert re.search(r"^\d+ ok", preflight, re.MULTILINE)
    assert " failed" not in preflight.rpartition("\n\n")[2]

    check_bars(interrupted)
    assert "The run is not complete: run it again.\r\n$ " in interrupted
    assert "exit code 75\r\n" in interrupted

    check_bars(whole)
    copied = number(re.findall(r"Copied ([\d,]+) keys", whole)[0])
    assert copied >= number(DRAWN.findall(whole)[-1][1])
    equal = number(re.findall(r"equals the source up to offset (\d+)", whole)[0])
    assert equal >= number(re.findall(r"offset (\d+) of", whole)[-1])
    assert "A cutover is possible.\r\n" in whole
    end = number(re.findall(r"Cut over at offset (\d+)", whole)[0])
    assert end > equal
    assert number(re.findall(r"([\d,]+) keys were compared", whole)[0]) >= copied
    assert f"cut over at offset {end}" in refused
    assert "exit code 3\r\n" in refused


@pytest.mark.timeout(180)
def test_a_migration_as_a_new_user_makes_it(tmp_path: Path) -> None:
    """With a run that Ctrl-C ends, one under load, and a cutover."""
    file = tmp_path / "short.cast"
    found = record(tmp_path, keys=8000, keys_per_second=2000, file=file)
    check(screen(file))
    assert CTRL_C not in file.read_text()
    assert "Cut over at offset" in (tmp_path / "report.md").read_text()
    assert found["status"].startswith("shaker status\r\ndefault: streaming, ready; ")


def test_the_recording_of_the_documents() -> None:
    """It shows the same; after a change of what is printed: python -m tests.e2e.recording."""
    check(screen(FILE))
