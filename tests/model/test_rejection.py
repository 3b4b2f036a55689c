"""A rejection is one line: command, key where there is one, error."""

from __future__ import annotations

from shaker.model.rejection import Rejection


def test_the_summary_names_command_key_and_error() -> None:
    """A command without a key is named without one."""
    assert Rejection("LPUSH", "list", "WRONGTYPE").summary == "LPUSH list: WRONGTYPE"
    assert Rejection("NOSUCH", "", "ERR unknown command").summary == "NOSUCH: ERR unknown command"
