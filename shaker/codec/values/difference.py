"""Where two values first differ, for values small enough to be held."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, NamedTuple

from shaker.codec.values.elements import (
    NEVER,
    Consumer,
    Element,
    ExpiringFields,
    Fields,
    Group,
    Items,
    Libraries,
    Members,
    ModuleParts,
    Pending,
    Released,
    Scores,
    StreamEntries,
    StreamInfo,
    StringPart,
)
from shaker.errors import quoted


class Difference(NamedTuple):
    """A place in a value, such as `field 'name'`, and how the second value differs there from the first.

    `how` is missing, extra, value, score or expiry. Places name members, fields and ids; they hold no other value.
    """

    place: str
    how: str


NEWLINE: Final = b"\n"
SHOWN: Final = 128


def first_difference(one: Iterable[Element], other: Iterable[Element]) -> Difference | None:
    """Return the first place where two values of one kind differ, None for none; holds both whole.

    Does not look at what servers do not replicate (see `content.Digester`), nor at counters of streams.
    """
    mine, theirs = _places(one), _places(other)
    for place, values in mine.items():
        if place not in theirs:
            return Difference(place, "missing")
        for how, value in values.items():
            if theirs[place].get(how) != value:
                return Difference(place, how)
    for place in theirs:
        if place not in mine:
            return Difference(place, "extra")
    return None


def _places(elements: Iterable[Element]) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    index = 0
    group = consumer = ""
    whole: list[bytes] = []
    for element in elements:
        if isinstance(element, StringPart):
            whole.append(element.data)
        elif isinstance(element, Items):
            for value in element.values:
                found[f"element {index}"] = {"value": value}
                index += 1
        elif isinstance(element, Members):
            for member in element.values:
                found[f"member {_name(member)}"] = {}
        elif isinstance(element, Scores):
            for member, score in element.pairs:
                found[f"member {_name(member)}"] = {"score": score}
        elif isinstance(element, Fields):
            for at in range(0, len(element.flat), 2):
                found[f"field {_name(element.flat[at])}"] = {"value": element.flat[at + 1], "expiry": NEVER}
        elif isinstance(element, ExpiringFields):
            for field, value, expiry in element.fields:
                found[f"field {_name(field)}"] = {"value": value, "expiry": expiry}
        elif isinstance(element, StreamEntries):
            for entry in element.entries:
                found[f"entry {entry.id[0]}-{entry.id[1]}"] = {"value": entry.flat}
        elif isinstance(element, StreamInfo):
            found["last id"] = {"value": element.last}
        elif isinstance(element, Group):
            group = f"group {_name(element.name)}"
            found[group] = {"value": element.last}
        elif isinstance(element, Consumer):
            consumer = f"{group}, consumer {_name(element.name)}"
        elif isinstance(element, Pending | Released):
            holder = consumer if isinstance(element, Pending) else f"{group}, no consumer"
            for pending in element.entries:
                found[f"{holder}, pending {pending.id[0]}-{pending.id[1]}"] = {}
        elif isinstance(element, ModuleParts):
            for part in element.parts:
                found[f"part {index}"] = {"value": part}
                index += 1
        elif isinstance(element, Libraries):
            for code in element.codes:
                found[f"library {_name(code.split(NEWLINE, 1)[0])}"] = {"value": code}
    if whole:
        found["string"] = {"value": b"".join(whole)}
    return found


def _name(text: bytes) -> str:
    """Return how a member, field or name is shown: long ones by their beginning and a hash."""
    if len(text) <= SHOWN:
        return quoted(text)
    return f"{quoted(text, SHOWN)}... ({len(text)} bytes, {blake2b(text, digest_size=8).hexdigest()})"
