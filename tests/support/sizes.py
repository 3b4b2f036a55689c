"""Sizes of the code: lines, attributes, arguments, cycles. `python -m tests.support.sizes [FOLDER]` prints a table.

FOLDER is a package, of this version or of another one; by default the one that is installed.
"""

from __future__ import annotations

import ast
import statistics
import sys
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import shaker

ROOT = Path(shaker.__file__).parent


class Size(NamedTuple):
    """The size of something, and its name: `model/batch.py`, `model/batch.py Batch`, …."""

    size: int
    name: str


class Sizes(NamedTuple):
    """What a package consists of."""

    modules: list[Size]  # lines
    attributes: list[Size]  # of each class: fields, and what its methods assign to self
    methods: list[Size]  # of each class
    functions: list[Size]  # lines
    arguments: list[Size]  # of each function, `self` among them


def measure(root: Path = ROOT) -> Sizes:
    """Return the sizes of all modules, classes and functions in a package."""
    sizes = Sizes([], [], [], [], [])
    for path in sorted(root.rglob("*.py")):
        text, module = path.read_text(), path.relative_to(root).as_posix()
        sizes.modules.append(Size(len(text.splitlines()), module))
        for node, name in _definitions(ast.parse(text)):
            where = f"{module} {name}"
            if isinstance(node, ast.ClassDef):
                sizes.attributes.append(Size(len(attributes(node)), where))
                sizes.methods.append(Size(sum(map(_is_function, node.body)), where))
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                sizes.functions.append(Size((node.end_lineno or 0) - node.lineno + 1, where))
                given = node.args
                sizes.arguments.append(
                    Size(len(given.posonlyargs) + len(given.args) + len(given.kwonlyargs), where)
                )
    return sizes


def attributes(node: ast.ClassDef) -> set[str]:
    """Return the names of a class's own attributes: annotated fields, and every `self.name` that it assigns."""
    fields = {
        statement.target.id
        for statement in node.body
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and not ast.unparse(statement.annotation).startswith(("ClassVar", "Final"))
    }
    assigned = {
        found.attr
        for found in ast.walk(node)
        if isinstance(found, ast.Attribute)
        and isinstance(found.ctx, ast.Store)
        and isinstance(found.value, ast.Name)
        and found.value.id == "self"
    }
    return fields | assigned


def attributes_of_text(text: str) -> set[str]:
    """Return the attributes of the first class in a text."""
    return next(attributes(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ClassDef))


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)


def _definitions(node: ast.AST, prefix: str = "") -> Iterator[tuple[ast.AST, str]]:
    """Yield the classes and functions inside a node with their qualified names."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}{child.name}"
            yield child, name
            yield from _definitions(child, f"{name}.")
        else:
            yield from _definitions(child, prefix)


def module_graph(root: Path) -> dict[str, set[str]]:
    """Return the modules of a package, dotted and without its own name, with the modules that each imports."""
    paths = {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix("__init__").rstrip("."): path
        for path in root.rglob("*.py")
    }
    graph: dict[str, set[str]] = {}
    for module, path in paths.items():
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == root.name:
                base = (node.module or "").partition(".")[2]
                for alias in node.names:
                    longer = f"{base}.{alias.name}".removeprefix(".")
                    found.add(longer if longer in paths else base)
            elif isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[2] for alias in node.names if alias.name.startswith(root.name)}
        graph[module] = (found & set(paths)) - {module}
    return graph


def in_cycles(graph: dict[str, set[str]]) -> set[str]:
    """Return the nodes from which a path leads back to them."""

    def reachable(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for following in graph.get(waiting.pop(), set()) - seen:
                seen.add(following)
                waiting.append(following)
        return seen

    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError:
        return {node for node in graph if node in reachable(node)}
    return set()


def rooms(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the graph of the top-level packages and modules."""
    out: dict[str, set[str]] = {}
    for module, imported in graph.items():
        room = module.split(".")[0]
        out.setdefault(room, set()).update({other.split(".")[0] for other in imported} - {room})
    return out


def table(root: Path) -> Iterable[str]:
    """Return the lines of the table of a package."""
    sizes, graph = measure(root), module_graph(root)
    lines = [module.size for module in sizes.modules]

    def largest(found: list[Size]) -> str:
        return "{} ({})".format(*max(found))

    yield f"modules: {len(lines)}, {sum(lines)} lines"
    yield f"median module: {statistics.median(lines):g} lines"
    yield f"largest module: {largest(sizes.modules)} lines"
    yield f"most attributes: {largest(sizes.attributes)}"
    yield f"most methods: {largest(sizes.methods)}"
    yield f"longest function: {largest(sizes.functions)} lines"
    yield f"most arguments: {largest(sizes.arguments)}"
    yield f"modules above 350 lines: {sum(size > 350 for size in lines)}"
    yield f"classes above 15 attributes: {sum(size > 15 for size, _ in sizes.attributes)}"
    yield f"functions above 60 lines: {sum(size > 60 for size, _ in sizes.functions)}"
    yield f"modules in cycles of imports: {len(in_cycles(graph))}, packages: {len(in_cycles(rooms(graph)))}"


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in table(Path(*sys.argv[1:]) if sys.argv[1:] else ROOT)))
