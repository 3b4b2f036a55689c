"""Writes the diagrams of docs/states.md from the tables that the worker itself follows: handshake and flow.

Run it after a change of TRANSITIONS: `.venv/bin/python docs/make_states.py`. A test compares page and tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Final

from shaker.flow import lifecycle
from shaker.psync import session

PAGE = Path(__file__).with_name("states.md")
BEGIN = "<!-- begin: {}, made by docs/make_states.py -->\n"
END = "<!-- end -->\n"


def rows(table: Iterable[tuple[tuple[Enum, Enum], Enum]]) -> Iterator[str]:
    """Yield the lines of transitions; those between the same two states share one."""
    events: dict[tuple[Enum, Enum], list[str]] = {}
    for (state, happened), following in table:
        # A colon begins the text of a transition, so that another one in it has to be an entity.
        text = str(happened.value).replace(":", "#58;").replace("<", "#lt;").replace(">", "#gt;")
        events.setdefault((state, following), []).append(text)
    for (state, following), texts in events.items():
        yield f"    {state.value} --> {following.value}: {', '.join(texts)}"


def diagram(first: Enum, table: Iterable[tuple[tuple[Enum, Enum], Enum]]) -> str:
    """Return a table of transitions as a Mermaid state diagram."""
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}", *rows(table), "```", ""])


def region(first: Enum) -> str:
    """Return the diagram of one region of a flow's lifecycle."""
    return diagram(first, [row for row in lifecycle.TRANSITIONS.items() if type(row[1]) is type(first)])


DIAGRAMS: Final[Mapping[str, str]] = {
    "handshake": diagram(session.ReplicaState.NEW, session.TRANSITIONS.items()),
    **{lifecycle.ATTRIBUTES[kind]: region(first) for kind, first in lifecycle.INITIAL.items()},
}


def with_diagrams(page: str) -> str:
    """Return the text of `page` with each diagram between its two marks replaced."""
    for name, made in DIAGRAMS.items():
        before, begin, rest = page.partition(BEGIN.format(name))
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise ValueError(f"{PAGE.name} lacks the marks around the diagram {name!r}")
        page = before + begin + made + end + after
    return page


if __name__ == "__main__":
    PAGE.write_text(with_diagrams(PAGE.read_text()))
