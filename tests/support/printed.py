"""Texts that an operator can meet, read from the sources: errors, reasons, and log events of warning and above."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import Final, NamedTuple

VARIABLE: Final = "…"
# Texts with fewer letters than this are those of another error, with a place before or behind.
MIN_LETTERS: Final = 4
LOUD: Final = ("warning", "error", "exception", "critical")
# Errors that are no ShakerError and whose text an operator reads: which argument it is, and in which modules.
FURTHER_ERRORS: Final = {
    "ArgumentTypeError": (0, ""),
    "ControlError": (0, ""),
    "Failed": (1, ""),
    "ValueError": (0, r"^(bytesize|net/tls|settings/|watch/http/)"),
}
# Calls that pass a text on, and which argument it is: helpers that make an error, and collections of reasons.
CARRIERS: Final = {
    "_abort": 0,
    "_cannot_read": 0,
    "_corrupt": 0,
    "_lacked": 1,
    "_lost": 0,
    "_refused": 1,
    "_unknown": 0,
    "failed": 0,
    "fault": 1,
    "faults.append": 0,
    "out.append": 0,
    "reasons.append": 0,
    "refused.append": 0,
    "stderr.write": 0,
}
# Functions whose texts are reasons, whether they return or assign them.
SPEAKING: Final = {
    "_livez",
    "_paused",
    "_startupz",
    "_unfit",
    "_unknown",
    "_user_rules",
    "_why_not",
    "fault_text",
    "find_reader",
    "next_step",
    "reasons",
    "refused_fences",
    "refused_right",
    "rule_fault",
    "verdict",
}
# Tables of texts.
TABLES: Final = ("TYPES", "_REFUSED", "_REFUSED_REDIS", "_REFUSED_VALKEY")


class Printed(NamedTuple):
    """A text with `…` in place of each variable part, the kind of its error (empty: none, or decided at run time)."""

    text: str
    kind: str = ""


def forms(node: ast.expr) -> list[str]:
    """Return each text that an expression can be, with `…` in place of variable parts."""
    match node:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.JoinedStr(values=values):
            return ["".join(parts) for parts in product(*(_part(value) for value in values))]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return [before + after for before, after in product(forms(left), forms(right))]
        case ast.IfExp(body=body, orelse=orelse):
            return forms(body) + forms(orelse)
        case _:
            return [VARIABLE]


def _part(node: ast.expr) -> list[str]:
    return [str(node.value)] if isinstance(node, ast.Constant) else [VARIABLE]


def canonical(text: str) -> str:
    """Return a text as the page shows it: in one line, without backquotes and without a variable suffix of a word."""
    text = re.sub(r"\s+", " ", text.replace("`", "")).strip().removeprefix("shaker: ")
    text = re.sub(f"{VARIABLE}+", VARIABLE, text)
    return re.sub(rf"(?<=[\w)]){VARIABLE}$", "", text)


def texts(node: ast.expr, kind: str = "") -> Iterator[Printed]:
    """Yield the texts of an expression that have words of their own."""
    for form in forms(node):
        text = canonical(form)
        if len(re.findall("[A-Za-z]", text)) >= MIN_LETTERS:
            yield Printed(text, kind)


class Sources:
    """The syntax trees of all modules below `root`."""

    def __init__(self, root: Path) -> None:
        self._trees = {
            str(path.relative_to(root)): ast.parse(path.read_text()) for path in sorted(root.rglob("*.py"))
        }
        self._kinds = self._kinds_of_errors()

    @cache  # noqa: B019 - the trees do not change
    def printed(self) -> set[Printed]:
        """Return the texts of errors and reasons."""
        found: set[Printed] = set()
        for path, tree in self._trees.items():
            for node in ast.walk(tree):
                found |= set(self._of(path, node))
        return found

    def events(self) -> set[str]:
        """Return the names of log events of warning and above; of a level decided at run time, all of them."""
        found: set[str] = set()
        for tree in self._trees.values():
            levels = _levels(tree)
            for node in ast.walk(tree):
                found |= set(_events(node, levels))
        return found

    def reasons(self) -> set[str]:
        """Return the keys of reasons of /readyz, `…` in place of the side."""
        found: set[str] = set()
        for tree in self._trees.values():
            for node in ast.walk(tree):
                if isinstance(node, ast.Assign):
                    for target in node.targets:
                        if isinstance(target, ast.Subscript) and _last(target.value) == "reasons":
                            found |= {key for key in forms(target.slice) if key != VARIABLE}
        view = next(node for node in ast.walk(self._trees["flow/public_state.py"]) if _is_function(node, "reasons"))
        for node in ast.walk(view):
            if isinstance(node, ast.Return) and isinstance(node.value, ast.Dict):
                found |= {str(key.value) for key in node.value.keys if isinstance(key, ast.Constant)}
        return found

    def exit_codes(self) -> set[int]:
        """Return the values of all constants named EXIT_…."""
        return {
            node.value.value
            for tree in self._trees.values()
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, int)
            and str(_last(node.targets[0])).startswith("EXIT_")
        }

    def _kinds_of_errors(self) -> dict[str, str]:
        """Return the kind of each class that is a ShakerError, by name."""
        nodes = [node for tree in self._trees.values() for node in ast.walk(tree)]
        classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}
        kinds: dict[str, str] = {}

        def kind_of(name: str) -> str | None:
            if name not in classes or name in kinds:
                return kinds.get(name)
            bases = [kind_of(str(_last(base))) for base in classes[name].bases]
            inherited = next((kind for kind in bases if kind is not None), None)
            if name != "ShakerError" and inherited is None:
                return None
            assigned = [node for node in classes[name].body if isinstance(node, ast.Assign)]
            own = [
                str(node.value.value)
                for node in assigned
                if _last(node.targets[0]) == "kind" and isinstance(node.value, ast.Constant)
            ]
            kinds[name] = (own or [str(inherited)])[0]
            return kinds[name]

        for name in classes:
            kind_of(name)
        return kinds

    def _of(self, path: str, node: ast.AST) -> Iterator[Printed]:
        """Yield the texts that one node makes."""
        if isinstance(node, ast.Call):
            yield from self._of_call(path, node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name in SPEAKING:
            for value in _spoken(node):
                yield from texts(value)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Subscript) and _last(target.value) in ("reasons", "refused"):
                    yield from texts(node.value)
                yield from _table(target, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            yield from _table(node.target, node.value)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == "reason":
                    yield from texts(value)

    def _of_call(self, path: str, call: ast.Call) -> Iterator[Printed]:
        name = str(_last(call.func))
        owner = f"{_last(call.func.value)}.{name}" if isinstance(call.func, ast.Attribute) else name
        if name in self._kinds:
            yield from texts(call.args[0], self._kind(call, name)) if call.args else ()
        elif name in FURTHER_ERRORS and re.search(FURTHER_ERRORS[name][1], path):
            yield from texts(call.args[FURTHER_ERRORS[name][0]])
        elif owner in CARRIERS or name in CARRIERS:
            position = CARRIERS.get(owner, CARRIERS.get(name, 0))
            if len(call.args) > position:
                kind = self._kinds["CorruptError"] if name == "_corrupt" else ""
                if name == "_lost" and isinstance(call.args[1], ast.Constant):
                    kind = str(call.args[1].value)
                yield from texts(call.args[position], kind)
        elif isinstance(call.func, ast.Attribute) and name == "__init__" and call.args and path == "errors.py":
            yield from texts(call.args[0])

    def _kind(self, call: ast.Call, name: str) -> str:
        for keyword in call.keywords:
            if keyword.arg == "kind":
                return str(keyword.value.value) if isinstance(keyword.value, ast.Constant) else ""
        return self._kinds[name]


def _last(node: ast.expr) -> str | None:
    """Return a name, or the last part of a dotted one; `sys.stderr` is `stderr`."""
    return node.id if isinstance(node, ast.Name) else getattr(node, "attr", None)


def _is_function(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name


def _spoken(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[ast.expr]:
    """Yield the expressions of a function that hold its texts."""
    for node in ast.walk(function):
        match node:
            case ast.Return(value=ast.Dict(values=values)):
                yield from values
            case ast.Assign(value=ast.Call(func=ast.Attribute(attr="get"), args=[_, default])):
                yield default
            case ast.Return(value=ast.expr() as value) | ast.Assign(value=value) | ast.AugAssign(value=value):
                yield from _concatenated(value)
            case ast.Call(func=ast.Name(id="_answer"), args=[argument]):
                lists = [inner for inner in ast.walk(argument) if isinstance(inner, ast.List | ast.ListComp)]
                for each in lists:
                    yield from each.elts if isinstance(each, ast.List) else [each.elt]


def _table(target: ast.expr, value: ast.expr) -> Iterator[Printed]:
    if _last(target) in TABLES and isinstance(value, ast.Dict):
        for text in value.values:
            yield from texts(text)


def _concatenated(node: ast.expr) -> list[ast.expr]:
    """Return an expression without the variable text that is added to it."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and isinstance(node.right, ast.Call):
        return [node.left]
    return [node]


def _events(node: ast.AST, levels: set[str | None]) -> Iterator[str]:
    """Yield the events of a call that logs at warning and above, or at a level that is decided at run time."""
    if not isinstance(node, ast.Call) or not node.args:
        return
    name = _last(node.func)
    if isinstance(node.func, ast.Attribute) and name in LOUD:
        yield from forms(node.args[0])
    elif isinstance(node.func, ast.Attribute) and name == "log" and len(node.args) > 1:
        yield from forms(node.args[1])
    elif isinstance(node.func, ast.Name) and name in levels:
        yield from forms(node.args[0])


def _levels(tree: ast.Module) -> set[str | None]:
    """Return the names of variables that hold a method of a log, such as `level = log.info if … else log.warning`."""
    return {
        _last(node.targets[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.IfExp)
        and {_last(node.value.body), _last(node.value.orelse)} & set(LOUD)
    }
