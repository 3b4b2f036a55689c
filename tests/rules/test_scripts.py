"""Scripts of the stream are kept for a target that has lost them, newest first to stay."""

from __future__ import annotations

from shaker.codec.resp.replies import encode
from shaker.rules.scripts import Scripts, bodies


def test_scripts_are_found_in_eval_and_script_load() -> None:
    """In any case of letters, in order; EVALSHA and SCRIPT FLUSH give none."""
    run = b"".join(
        encode(*command)
        for command in (
            ("EVAL", "return 1", 0),
            ("evalsha", "a" * 40, 0),
            ("Script", "load", "return 2"),
            ("SCRIPT", "FLUSH"),
            ("SET", "EVAL", "return 3"),
            ("eval", "return 4", 1, "k"),
        )
    )

    assert bodies(run) == [b"return 1", b"return 2", b"return 4"]


def test_the_oldest_scripts_go_beyond_the_limit() -> None:
    """One that comes again counts once; one larger than the limit is not kept."""
    scripts = Scripts(limit=10)
    for body in (b"aaaa", b"bbbb", b"aaaa", b"cccc", b"d" * 11):
        scripts.add(body)

    assert scripts.all() == [b"bbbb", b"cccc"]
