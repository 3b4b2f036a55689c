"""Faults of settings: one line each, which names the setting and the fix and never shows the value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from shaker.bytesize import exact_size
from shaker.settings.names import SETTINGS, is_size
from shaker.settings.passwords import environment_name

# Samples for settings without a default.
EXAMPLES = {"source.url": "redis://127.0.0.1:6379", "target.url": "redis://127.0.0.1:6380"}
# Pydantic's faults of bounds, by the name of the bound: the beginning of the fault's type, and our words for it.
LIMITS = {
    "ge": ("greater_than_equal", "at least"),
    "gt": ("greater_than", "more than"),
    "le": ("less_than_equal", "at most"),
    "lt": ("less_than", "less than"),
}
TYPES = {
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "finite_number": "must be a number, and not infinite",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of fewer digits",
    "int_type": "must be a whole number",
    "model_type": "must be a section with settings of its own",
    "path_type": "must be a path, in quotes",
    "string_too_short": "must not be empty",
    "string_type": "must be text, in quotes",
}


def fault_line(setting: str, origin: str, kind: str, message: str, context: Mapping[str, Any]) -> str:
    """Return the line for a value of `setting` from `origin`; `kind`, `message` and `context` are pydantic's."""
    what = fault_text(setting, kind, message, context)
    # The variable is part of the line already.
    came_from = f", from {origin}" if origin and not origin.startswith("environment ") else ""
    line = f"{setting} ({environment_name(setting)}{came_from}): {what}"
    info = SETTINGS.get(setting)
    if info is None or not info.description or kind == "missing":
        return line
    return f"{line}; meaning: {info.description}"


def fault_text(setting: str, kind: str, message: str, context: Mapping[str, Any]) -> str:
    """Return the fault of a value in words, without the value."""
    if kind == "missing":
        example = EXAMPLES.get(setting)
        return "is required" + (f", for example {example}" if example else "")
    for name, text in LIMITS.items():
        if name in context and kind.startswith(text[0]):
            return f"must be {text[1]} {_limit(setting, context[name])}"
    if kind == "literal_error":
        return f"must be {context['expected'].replace(chr(39), '')}"
    if kind == "string_pattern_mismatch":
        return "holds a character that is not allowed, is empty, or is too long"
    if kind in TYPES:
        return TYPES[kind]
    text_of_ours = message.removeprefix("Value error, ")
    return text_of_ours[:1].lower() + text_of_ours[1:]


def _limit(setting: str, limit: float) -> str:
    if setting in SETTINGS and is_size(setting):
        return exact_size(int(limit))
    number = str(int(limit)) if limit == int(limit) else str(limit)
    return f"{number} second{'' if limit == 1 else 's'}" if setting.endswith("_seconds") else number


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return `; did you mean …?` with the closest of the `known` names, or where to find them all."""
    by_lower_case = {each.lower(): each for each in known}
    close = get_close_matches(name.lower(), by_lower_case, n=1, cutoff=0.75)
    if not close:
        return "; `shaker run --help` lists all settings"
    return f"; did you mean {by_lower_case[close[0]]}?"
