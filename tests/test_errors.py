"""Texts that errors have in common: a hint for every kind, numbers with their nouns, quotes that hide nothing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import shaker
from shaker.errors import KINDS, LinkError, ServerBusyError, UnfaithfulError, counted, quoted

ROOT = Path(shaker.__file__).parent


@pytest.mark.parametrize("kind", sorted({kind for kinds in KINDS.values() for kind in kinds} - {"expiry"}))
def test_every_kind_of_error_has_a_hint(kind: str) -> None:
    """From a table, or from each place that raises it."""
    raised = [
        call
        for path in ROOT.rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and any(
            word.arg == "kind" and isinstance(word.value, ast.Constant) and word.value.value == kind
            for word in call.keywords
        )
    ]
    unhinted = [call for call in raised if all(word.arg != "hint" for word in call.keywords)]

    assert LinkError("x", kind=kind).hint or (raised and not unhinted) or kind in ("access", "fenced", "given_up", "max_deletions")


def test_the_hint_of_a_place_goes_before_that_of_the_kind() -> None:
    assert ServerBusyError("x", kind="oom").hint.startswith("raise the target's maxmemory")
    assert ServerBusyError("x", kind="oom", hint="y").hint == "y"
    assert UnfaithfulError("x").hint


def test_a_number_stands_with_its_noun() -> None:
    assert [counted(number, "key") for number in (0, 1, 2, 1000)] == ["0 keys", "1 key", "2 keys", "1,000 keys"]


def test_quotes_show_text_as_people_write_it() -> None:
    """No `b'...'`, nothing that a terminal obeys, no end of a long one."""
    assert quoted(b"user:1") == "'user:1'"
    assert quoted("näme") == "'näme'"
    assert quoted(b"\xff\x1b[2J\n") == "'\\xff\\x1b[2J\\x0a'"
    assert quoted(b"x" * 1000, 3) == "'xxx'"


def test_no_text_for_people_is_a_repr() -> None:
    """Python's own way to write bytes and strings is for those who write Python."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in ROOT.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FormattedValue) and node.conversion == ord("r") and path.name != "demo.py"
    ]

    assert [place for place in found if not place.startswith("link/reader.py")] == []
