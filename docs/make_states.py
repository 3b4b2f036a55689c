"""Writes the diagram of the replica handshake into docs/states.md from the table that the worker itself follows.

Run it after a change of TRANSITIONS: `.venv/bin/python docs/make_states.py`. A test compares page and table.
"""

from __future__ import annotations

from pathlib import Path

from shaker.psync.session import TRANSITIONS, ReplicaState

PAGE = Path(__file__).with_name("states.md")
BEGIN = "<!-- begin: made by docs/make_states.py -->\n"
END = "<!-- end -->\n"


def diagram() -> str:
    """Return the table TRANSITIONS as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {ReplicaState.NEW.value}"]
    for (state, happened), following in TRANSITIONS.items():
        # A colon begins the text of a transition, so that another one in it has to be an entity.
        text = happened.value.replace(":", "#58;").replace("<", "#lt;").replace(">", "#gt;")
        lines.append(f"    {state.value} --> {following.value}: {text}")
    return "\n".join([*lines, "```", ""])


def with_diagram(page: str) -> str:
    """Return the text of `page` with the diagram between its two marks made anew."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{PAGE.name} lacks the marks that the diagram stands between")
    return before + begin + diagram() + end + after


if __name__ == "__main__":
    PAGE.write_text(with_diagram(PAGE.read_text()))
