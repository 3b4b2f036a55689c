"""Texts that errors have in common: a hint for every kind, numbers with their nouns, quotes that hide nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import shaker
from shaker import errors
from shaker.errors import HINTS, KINDS, ServerBusyError, UnfaithfulError, counted, quoted

ROOT = Path(shaker.__file__).parent


def raised() -> Iterator[tuple[str, str, bool]]:
    """Each place that makes an error: where it is, the error's kind, whether it gives a hint."""
    for path in ROOT.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            cls = getattr(errors, call.func.id, None)
            if not (isinstance(cls, type) and issubclass(cls, errors.ShakerError)):
                continue
            words = {word.arg: word.value for word in call.keywords}
            kind = words.get("kind")
            if kind is None or isinstance(kind, ast.Constant):
                place = f"{path.relative_to(ROOT)}:{call.lineno}"
                yield place, str(kind.value) if kind is not None else cls.kind, "hint" in words


def test_every_error_has_a_hint() -> None:
    """From the place that raises it, or from the table of kinds."""
    counted_kinds = {kind for kinds in KINDS.values() for kind in kinds}
    bare = [place for place, kind, hinted in raised() if kind in counted_kinds and not hinted and kind not in HINTS]

    assert bare == []


def test_a_hint_is_one_piece() -> None:
    """The page cuts a reason at its last semicolon: what is the matter, and what to do."""
    texts = list(HINTS.values())
    for path in ROOT.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            for word in call.keywords if isinstance(call, ast.Call) else ():
                if word.arg == "hint":
                    texts += [
                        each.value
                        for each in ast.walk(word.value)
                        if isinstance(each, ast.Constant) and isinstance(each.value, str)
                    ]

    assert [text for text in texts if "; " in text] == []


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


# Exceptions that only a bug raises: their text is for programmers.
BUGS = {"LifecycleError", "ValueError"}


def test_no_text_for_people_is_a_repr() -> None:
    """Only programmers read Python's notation of bytes and strings."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        tree = ast.parse(path.read_text())
        raised = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise)]
        bugs = [call for call in raised if isinstance(call, ast.Call) and getattr(call.func, "id", "") in BUGS]
        allowed = {id(node) for bug in bugs for node in ast.walk(bug)}
        found += [
            f"{path.relative_to(ROOT)}:{node.lineno}"
            for node in ast.walk(tree)
            if isinstance(node, ast.FormattedValue) and node.conversion == ord("r") and id(node) not in allowed
        ]

    assert [place for place in found if not place.startswith("commands/demo")] == []
