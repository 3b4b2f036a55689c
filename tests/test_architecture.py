"""The rooms of the code: imports go one way, what must stay pure does, tests mirror rooms."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import shaker

ROOT = Path(shaker.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

# Rooms and modules of the top level, from the ground up: each may import what stands before it, and nothing else.
ORDER = (
    "shaker",  # __init__: the version
    "errors",
    "build",
    "bytesize",
    "text",
    "model",
    "settings",
    "watch",
    "codec",
    "rules",
    "psync",
    "apply",
    "net",
    "compare",
    "flow",
    "checks",
    "readers",
    "writers",
    "jobs",
    "run",
    "commands",
    "cli",
    "__main__",
)
# Where the order allows more than is meant: what these rooms may import at all.
ONLY = {
    "model": {"errors"},
    "settings": {"errors", "bytesize"},
    "watch": {"errors", "bytesize", "text", "model", "settings"},
    "codec": {"errors", "model"},
    "rules": {"errors", "model", "codec"},
    "psync": {"errors", "model", "codec", "rules"},
    "apply": {"errors", "model", "codec", "rules"},
    "net": {"errors", "model", "settings", "watch", "codec"},
    "compare": {"errors", "model", "codec", "rules"},
}
# Rooms that stand side by side: none of them knows another.
BESIDE = ("readers", "writers", "jobs")
# Rooms that decide and do not act, and what that keeps out of them.
PURE = ("model", "codec", "rules", "psync", "apply")
IMPURE = {
    *("anyio", "asyncio", "concurrent", "datetime", "io", "logging", "multiprocessing", "os", "pathlib", "queue"),
    *("random", "redis", "sched", "select", "selectors", "signal", "socket", "ssl", "structlog", "subprocess"),
    *("tempfile", "threading", "time", "trio", "uvloop"),
}
MAX_TEST_LINES = 500
# What makes a function decide something.
DECISIONS = (
    *(ast.If, ast.IfExp, ast.BoolOp, ast.Compare, ast.Match, ast.For, ast.While, ast.comprehension),
    *(ast.Try, ast.Raise, ast.With, ast.Await, ast.AsyncFor, ast.AsyncWith),
)
# Folders of tests that are about the whole and not about a room.
WHOLE = {
    "bed",
    "deploy",
    "image",
    "bench",
    "e2e",
    "faults",
    "fuzz",
    "page",
    "security",
    "sentinel",
    "soak",
    "suite",
    "support",
}


def room(path: Path) -> str:
    """The room or top-level module that a file belongs to."""
    first = path.relative_to(ROOT).parts[0]
    return "shaker" if first == "__init__.py" else first.removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Dotted names of all that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides what it means"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def imported_rooms(path: Path) -> set[str]:
    """The rooms of shaker that a file imports, its own left out."""
    found = set()
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "shaker":
            is_room = len(parts) > 1 and ((ROOT / parts[1]).is_dir() or (ROOT / f"{parts[1]}.py").exists())
            found.add(parts[1] if is_room else "shaker")
    return found - {room(path)}


def name(path: Path) -> str:
    """A file's name in messages."""
    return str(path.relative_to(ROOT.parent))


def test_order_is_whole() -> None:
    """Every room has its place; a new one needs one."""
    assert set(ORDER) == {room(path) for path in MODULES}
    assert len(set(ORDER)) == len(ORDER)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_go_down(path: Path) -> None:
    """Nothing imports what stands above it."""
    here = ORDER.index(room(path))
    assert {other for other in imported_rooms(path) if ORDER.index(other) >= here} == set()


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) in ONLY], ids=name)
def test_rooms_know_only_what_they_may(path: Path) -> None:
    """A room imports only what is meant for it."""
    assert imported_rooms(path) - ONLY[room(path)] == set()


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) in BESIDE], ids=name)
def test_rooms_side_by_side_do_not_know_each_other(path: Path) -> None:
    """Readers, writers and jobs meet in a flow only."""
    assert imported_rooms(path) & set(BESIDE) == set()


@pytest.mark.parametrize("path", [path for path in MODULES if room(path) in PURE], ids=name)
def test_pure_rooms_do_nothing(path: Path) -> None:
    """No clock, no socket, no log, no waiting in the rooms that decide."""
    assert {found.split(".")[0] for found in imports(path)} & IMPURE == set()
    kinds = {type(node) for node in ast.walk(ast.parse(path.read_text()))}
    assert kinds & {ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith} == set()
    calls = {node.func.id for node in ast.walk(ast.parse(path.read_text())) if _calls_a_name(node)}  # type: ignore[attr-defined]
    assert calls & {"open", "print", "input", "__import__", "eval", "exec"} == set()


def _calls_a_name(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)


def test_no_cycles() -> None:
    """Within a room, too, modules import one another one way only."""
    graph = {}
    for path in MODULES:
        module = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
        graph[module] = {found.rpartition(".")[0] for found in imports(path) if found.startswith("shaker.")} - {
            module
        }
    list(TopologicalSorter(graph).static_order())  # raises CycleError


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_are_named_for_what_they_hold(path: Path) -> None:
    """No catch-all, no private module, no file of a room that only passes names on; each says what it is for."""
    assert path.stem not in ("utils", "util", "helpers", "common", "misc")
    assert not path.stem.startswith("_") or path.stem in ("__init__", "__main__")
    assert ast.get_docstring(ast.parse(path.read_text()))
    if path.stem == "__init__":
        assert imports(path) == set()


def test_tests_mirror_the_rooms() -> None:
    """Each room has a folder of tests of its name with tests in it, and each folder is a room's or the whole's."""
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    folders = {path.name for path in TESTS.iterdir() if any(path.glob("*.py"))}
    assert folders - WHOLE == rooms
    assert {found.relative_to(TESTS).parts[0] for found in TESTS.rglob("test_*.py")} >= rooms


def decides(path: Path) -> bool:
    """Whether a module has behaviour: a function that branches, compares, loops, raises or waits.

    Without one it is nouns: records, constants, interfaces, properties that read one field.
    """
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return any(isinstance(node, DECISIONS) for function in functions for node in ast.walk(function))


def test_each_module_with_behaviour_has_its_test_file() -> None:
    """`shaker/room/module.py` is tested by `tests/room/test_module.py`; nouns are tested through their users."""
    wanted = {
        path.relative_to(ROOT).with_name(f"test_{path.stem.strip('_')}.py")
        for path in MODULES
        if path.stem != "__init__" and decides(path)
    }
    assert sorted(str(path) for path in wanted if not (TESTS / path).exists()) == []


def test_each_test_file_of_a_room_is_named_for_its_module() -> None:
    """`test_module.py`, or `test_module_aspect.py` where one file would be too long."""
    rooms = {path.name for path in ROOT.iterdir() if (path / "__init__.py").exists()}
    modules = {path.relative_to(ROOT).with_suffix("") for path in MODULES}
    strays = []
    for path in (found for room_ in rooms for found in (TESTS / room_).rglob("test_*.py")):
        words = path.stem.removeprefix("test_").split("_")
        names = ("_".join(words[:count]) for count in range(1, len(words) + 1))
        if not any(path.relative_to(TESTS).with_name(each) in modules for each in names):
            strays.append(str(path.relative_to(TESTS)))
    assert strays == []


def test_files_of_tests_are_small() -> None:
    """A file of tests that grows beyond this is about two things."""
    sizes = {str(path.relative_to(TESTS)): len(path.read_text().splitlines()) for path in TESTS.rglob("*.py")}
    assert {name_: size for name_, size in sizes.items() if size > MAX_TEST_LINES} == {}


@pytest.mark.parametrize("path", sorted(TESTS.rglob("test_*.py")), ids=lambda path: path.stem)
def test_files_of_tests_say_what_they_are_about(path: Path) -> None:
    """The docstring is one sentence, and there is at least one test, whose name says what must happen."""
    tree = ast.parse(path.read_text())
    names = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    ]
    assert ast.get_docstring(tree)
    assert names
    assert all(each.startswith("test_") and len(each) > len("test_") for each in names)
