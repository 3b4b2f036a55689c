"""The prose of the project, line by line, and the turns of phrase that have no place in it."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

# Phrase → the wording of the field. Where a phrase has a literal meaning too, the pattern leaves that out.
BANNED = {
    r"\banew\b": "again",
    r"\bin vain\b": "timed out",
    r"\bfor ever\b": "indefinitely",
    r"\b(?:tell|tells|told|telling)\b": "report, log, record, say",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\b(?:stand|stands|stood|standing)\b": "is at, is; is stalled for `stands still`",
    r"\b(?:put|puts|putting) off\b": "defer",
    r"\b(?:go|goes|going|went|gone) on\b": "continue, resume",
    r"\bany more\b": "no longer",
    r"\b(?:do|does|did) not turn\b": "missed its heartbeat",
    r"\bwhoever\b": "name the actor",
    r"\bwhatever\b": "name the thing",
    r"\bthe least\b": "the minimum",
    r"\bwhat (?:is|was|came|comes|stands|goes|has|cannot|nobody|somebody)\b": "name the thing",
    r"^(?-i:What|Who|How) [^?]*$": "start with the actor or the noun",
}
_BANNED = {phrase: re.compile(phrase, re.IGNORECASE) for phrase in BANNED}


def faults(path: Path) -> list[str]:
    """Banned phrases of a file, each with its line and the better wording."""
    return [
        f"{path.name}:{number}: {found[0][:40]!r} in {text[:100]!r}: {BANNED[phrase]}"
        for number, text in prose(path)
        for phrase, pattern in _BANNED.items()
        for found in [pattern.search(text)]
        if found is not None
    ]


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers and lines of a file that people read: of Python, comments, docstrings and messages."""
    if path.suffix == ".py":
        yield from _python(path.read_text())
    elif path.suffix == ".md":
        code = False
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = code != line.startswith("```")
            # Headings and cells may be phrases.
            if not code and not line.startswith("#"):
                yield number, re.sub(r"`[^`]*`", "``", line)
    else:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            yield number, re.sub(r"^\s*(?:#|//|--)\s*(?:--)?\s*", "", line).strip()


def _python(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for offset, line in enumerate(node.value.splitlines()):
                yield node.lineno + offset, re.sub(r"`[^`]*`", "``", line).strip()
