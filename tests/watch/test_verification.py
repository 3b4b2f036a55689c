"""Findings of the verification: reported, saved with the checkpoint, and forgotten when a key is found equal."""

from __future__ import annotations

import json

import pytest

from shaker.model.differences import Difference, Kind
from shaker.watch.verification import EXAMPLES, Findings, Pass, Verification, by_kind, examples, shown


def difference(key: bytes, kind: Kind = Kind.VALUE, database: int = 3) -> Difference:
    """A difference of one key."""
    return Difference(database, key, kind, "the values differ")


def findings(*differences: Difference) -> Findings:
    """Findings of a pass."""
    return Findings(Pass(began=100.0), {(each.database, each.key): each for each in differences})


def test_a_pass_counts_its_seconds() -> None:
    """So far, or up to its end; none before it began; a clock that was set back gives none."""
    assert Pass(began=100.0).seconds(130.0) == 30
    assert Pass(began=100.0, ended=110.0).seconds(130.0) == 10
    assert Pass().seconds(130.0) == 0
    assert Pass(began=100.0).seconds(90.0) == 0


def test_only_keys_that_were_all_found_equal_are_clean() -> None:
    """A difference, one that is only counted, and a key that could not be compared all count."""
    assert Findings().clean
    assert not findings(difference(b"k")).clean
    assert not Findings(more=1).clean
    assert not Findings(too_busy={(0, b"k"): "busy"}).clean
    assert Findings(repaired=3).clean


def test_a_report_names_kinds_and_examples() -> None:
    """As JSON, with no value of any key."""
    found = findings(difference(b"a"), difference(b"\xff\n", Kind.MISSING))
    found.counted.keys, found.counted.offset, found.too_busy = 7, 900, {(0, b"busy"): "why"}
    report = json.loads(json.dumps(found.report(101.5)))
    assert report["differences"] == {"missing": 1, "extra": 0, "type": 0, "value": 1, "expiry": 0, "function": 0}
    assert report["examples"][0] == {"database": 3, "key": "a", "kind": "value", "detail": "the values differ"}
    assert report["too_busy"] == ["busy"]
    assert (report["equal"], report["keys_compared"], report["offset"], report["seconds"]) == (False, 7, 900, 1.5)


def test_examples_are_bounded_and_printable() -> None:
    """Keys are any bytes; a terminal or log must not be steered by them."""
    many = [difference(b"%d" % number) for number in range(EXAMPLES + 5)]
    assert len(examples(many)) == EXAMPLES
    assert by_kind(many)["value"] == EXAMPLES + 5
    assert shown(b"\xffk\x1b[31m").isprintable()


def test_progress_is_saved_and_restored() -> None:
    """The position, the counts of the pass and the last whole pass."""
    saved, restored = Verification(), Verification()
    last = Findings(Pass(began=50.0, ended=60.0, offset=9, keys=8, bytes=7))
    saved.take(last, whole=True)
    saved.current = Findings(Pass(began=100.0, keys=5, bytes=6, passed=7))
    assert restored.restore(saved.saved("source:2:17")) == "source:2:17"
    assert (restored.passes, restored.last) == (1, last)
    assert restored.current.counted == Pass(began=100.0, keys=5, bytes=6, passed=7)


def test_before_the_first_whole_pass_there_is_no_last_one() -> None:
    """Nor after a restoration."""
    restored = Verification()
    assert restored.restore(Verification().saved("source:-1:0")) == "source:-1:0"
    assert (restored.passes, restored.last) == (0, None)


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "null", '["p"]', '["p",1,2,3,4,5,6,7,8,9,"x"]', '{"a": 1}'])
def test_damaged_progress_begins_again(text: str) -> None:
    """From the first key, with nothing taken over."""
    restored = Verification()
    assert restored.restore(text) == ""
    assert restored == Verification()


def test_differences_are_known_until_their_keys_are_found_equal() -> None:
    """A part of a pass adds and removes; a whole one replaces all."""
    verification = Verification()
    found = findings(difference(b"a"), difference(b"b"))
    verification.take(found, whole=False)
    assert set(verification.known) == {(3, b"a"), (3, b"b")}
    verification.take(findings(difference(b"c")), whole=False)
    assert set(verification.known) == {(3, b"a"), (3, b"b"), (3, b"c")}
    del found.differences[3, b"a"]
    found.equal_again.add((3, b"a"))
    verification.take(found, whole=False)
    assert set(verification.known) == {(3, b"b"), (3, b"c")}
    verification.take(findings(difference(b"d")), whole=True)
    assert set(verification.known) == {(3, b"d")}
    assert verification.passes == 1


def test_the_document_says_how_far_the_pass_is() -> None:
    """The walk gives its share and the time left: the target's keys are passed, and not compared again."""
    verification = Verification(enabled=True, running=True)
    verification.current = Findings(Pass(began=100.0, keys=20, total=50, passed=25, to_pass=100))
    document = verification.document(110.0)
    assert (document["eta_seconds"], document["share"]) == (30, 0.25)
    assert (document["keys_compared"], document["keys_total"]) == (20, 50)
    verification.running = False
    assert verification.document(110.0)["eta_seconds"] is None
    verification.current = Findings(Pass(began=100.0, keys=25))
    verification.running = True
    assert verification.document(110.0)["eta_seconds"] is None
    verification.current = Findings(Pass(began=100.0, keys=60, total=50, passed=130, to_pass=100))
    assert verification.document(110.0)["eta_seconds"] == 0


def test_the_document_names_the_last_pass_and_why_none_runs() -> None:
    """Nothing of a last pass before there is one."""
    verification = Verification(paused_because="the target is behind")
    document = verification.document(200.0)
    assert (document["last_pass_ended"], document["paused_because"]) == (None, "the target is behind")
    verification.take(Findings(Pass(began=100.0, ended=150.0, offset=9, keys=8)), whole=True)
    document = json.loads(json.dumps(verification.document(200.0)))
    assert (document["last_pass_seconds_ago"], document["last_pass_offset"], document["passes"]) == (50.0, 9, 1)
