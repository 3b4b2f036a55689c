"""The commands that steer a worker: arguments, the token's origin, and the answer for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shaker.cli import main
from shaker.commands import steer
from shaker.commands.steer import lines, token_file

ANSWERS: list[tuple[str, dict[str, Any], list[str]]] = [
    ("resume", {"resumed": True, "deletions_allowed": True}, ["resumed; held deletions continue"]),
    ("ack", {"cleared": 2}, ["2 rejected commands cleared"]),
    ("abort", {"aborted": ["cutover", "verification"]}, ["aborted: cutover, verification"]),
    (
        "pause",
        {"overflows_in_seconds": 61.4, "overflow_reason": "repl-timeout 60"},
        ["paused; the source drops the connection in about 61 s: repl-timeout 60"],
    ),
    (
        "pause",
        {"overflows_in_seconds": None, "overflow_reason": None},
        ["paused; at its present write rate the source's buffer does not overflow"],
    ),
    (
        "rate",
        {"rates": {"snapshot_bytes": 1024, "stream_commands": 5000, "snapshot_keys": None}},
        ["snapshot_bytes   1 KiB/s", "stream_commands  5,000/s", "snapshot_keys    none"],
    ),
]


@pytest.mark.parametrize(("verb", "answer", "expected"), ANSWERS)
def test_an_answer_for_people(verb: str, answer: dict[str, Any], expected: list[str]) -> None:
    assert lines(verb, answer) == expected


def test_rates_become_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes with units, none for no limit, the setting's whole name too."""
    asked: list[Any] = []
    monkeypatch.setattr(steer, "ask", lambda *arguments: asked.append(arguments) or {"rates": {}})
    arguments = ["rate", "snapshot_bytes=10MiB", "rate.stream_commands=5000", "stream_bytes=none"]
    assert main([*arguments, "--url", "http://here:1", "--control.token-file", "token"]) == 0
    expected = {"snapshot_bytes": 10 * 1024 * 1024, "stream_commands": 5000, "stream_bytes": None}
    assert asked == [("http://here:1", Path("token"), "rate", expected)]


@pytest.mark.parametrize("argument", ["snapshot_bytes=-1", "stream_commands=0", "stream_commands=1k", "all=1", "x"])
def test_a_wrong_rate_is_named(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rate", argument, "--url", "http://here:1"]) == 2
    assert argument.partition("=")[0] in capsys.readouterr().err


def test_the_token_file_is_the_workers_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """From the flag, the environment, or the file of settings."""
    config = tmp_path / "config.toml"
    config.write_text('[control]\ntoken_file = "from-file"\n')
    monkeypatch.delenv("SHAKER_CONTROL__TOKEN_FILE", raising=False)
    given = {"token_file": None, "config": str(config)}
    assert token_file(given) == Path("from-file")
    assert token_file({"token_file": None, "config": None}) is None
    monkeypatch.setenv("SHAKER_CONTROL__TOKEN_FILE", "from-environment")
    assert token_file(given) == Path("from-environment")
    assert token_file({"token_file": "from-flag", "config": None}) == Path("from-flag")
