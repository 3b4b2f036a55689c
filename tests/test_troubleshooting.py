"""The page of troubleshooting has every text that the product can print, and none that it cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from shaker.errors import KINDS
from tests.support.printed import Printed, Sources, canonical
from tests.support.worker import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
# A kind that is counted and logged, and not the kind of an error.
COUNTED_ONLY = {"expiry"}
SOURCES = Sources(ROOT / "shaker")


def _rows(page: str, *header: str) -> Iterator[list[str]]:
    """Yield the cells of every row of the tables whose header begins with `header`."""
    for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE):
        rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table.splitlines()]
        if tuple(rows[0][: len(header)]) == header:
            yield from rows[2:]


def _spans(cell: str) -> list[str]:
    """Return the texts in backquotes."""
    return [span.replace("\\|", "|") for span in re.findall(r"`([^`]+)`", cell)]


def printed_on(page: str) -> set[str]:
    """Return the texts that a page explains: in its tables and in its lists."""
    tables = {text for row in _rows(page, "printed") for text in _spans(row[0])}
    lists = {line for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) for line in block.splitlines()}
    return tables | lists


def events_on(page: str) -> set[str]:
    """Return the log events that a page explains."""
    return {event for row in _rows(page, "event") for event in _spans(row[0])}


def lacking(page: str, sources: Sources) -> list[str]:
    """Return the texts and events of the sources that a page does not explain."""
    return sorted(
        ({each.text for each in sources.printed()} - printed_on(page)) | (sources.events() - events_on(page))
    )


def outdated(page: str, sources: Sources) -> list[str]:
    """Return the texts and events of a page that the sources do not have."""
    return sorted(
        (printed_on(page) - {each.text for each in sources.printed()}) | (events_on(page) - sources.events())
    )


def test_each_text_that_can_be_printed_is_explained() -> None:
    assert lacking(PAGE, SOURCES) == []


def test_each_explained_text_can_be_printed() -> None:
    assert outdated(PAGE, SOURCES) == []


def test_each_row_has_a_cause_and_a_cure() -> None:
    """Only the name of a reason and the kind of an error may be empty."""
    rows = [row for header in ("printed", "event", "code") for row in _rows(PAGE, header)]

    assert [row for row in rows if not (row[0] and row[-2] and row[-1])] == []


def test_each_error_has_its_kind() -> None:
    """Where the sources decide it; beside a text that is printed for several kinds stand all of them."""
    kinds = {text: set(_spans(row[1])) for row in _rows(PAGE, "printed", "kind") for text in _spans(row[0])}
    wrong = [
        each
        for each in SOURCES.printed()
        if each.kind not in ("", "corrupt") and each.text in kinds and each.kind not in kinds[each.text]
    ]

    assert wrong == []


def test_each_kind_is_named() -> None:
    """By which an operator finds errors in the metrics."""
    named = {kind for row in _rows(PAGE, "printed", "kind") for kind in _spans(row[1])}
    known = {kind for kinds in KINDS.values() for kind in kinds} - COUNTED_ONLY

    assert known - named - {"corrupt"} == set()  # the damaged data have a section of their own


def test_each_reason_is_named() -> None:
    """By the key that the sources give it."""
    assert {name for row in _rows(PAGE, "printed", "name") for name in _spans(row[1])} == SOURCES.reasons()


def test_the_exit_codes_are_those_of_the_program() -> None:
    assert {int(row[0]) for row in _rows(PAGE, "code")} == SOURCES.exit_codes()


MODULE = """
class ShakerError(Exception):
    kind = "internal"


class LostError(ShakerError):
    kind = "lost"


EXIT_LOST = 9


def fail(name, status, log, bad):
    log.warning("all is lost" if bad else "much is lost", name=name)
    status.reasons["lost"] = f"{name} is lost"
    raise LostError(f"the server {name!r} is lost after {bad:g} s: " "look for `it`", hint="look")
"""


@pytest.fixture
def sources(tmp_path: Path) -> Sources:
    """One module with each form of text."""
    (tmp_path / "flow").mkdir()
    (tmp_path / "lost.py").write_text(MODULE)
    (tmp_path / "flow" / "public_state.py").write_text(
        "def reasons():\n    return {'gone': 'it is gone for good'}\n"
    )
    return Sources(tmp_path)


def test_texts_are_found_in_every_form(sources: Sources) -> None:
    """With `…` in place of what varies."""
    assert sources.printed() == {
        Printed("the server … is lost after … s: look for it", "lost"),
        Printed("… is lost"),
        Printed("it is gone for good"),
    }
    assert sources.events() == {"all is lost", "much is lost"}
    assert sources.reasons() == {"lost", "gone"}
    assert sources.exit_codes() == {9}


def test_a_missing_text_and_an_outdated_one_are_noticed(sources: Sources) -> None:
    """The page has one text of the module, and one of an earlier version."""
    page = "| printed | cause | cure |\n| --- | --- | --- |\n| `… is lost`, `… was mislaid` | a | b |\n"

    assert lacking(page, sources) == [
        "all is lost",
        "it is gone for good",
        "much is lost",
        "the server … is lost after … s: look for it",
    ]
    assert outdated(page, sources) == ["… was mislaid"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("two\n  lines", "two lines"),
        ("see `that`", "see that"),
        ("lost……", "lost"),
        ("lost: ……", "lost: …"),
        ("shaker: lost\n", "lost"),
    ],
)
def test_a_text_has_one_form(text: str, shown: str) -> None:
    assert canonical(text) == shown
