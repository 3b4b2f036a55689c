"""Print one line for each module of shaker: its path and the first line of its docstring.

`.venv/bin/python docs/list_modules.py`, or with a package's name: `… docs/list_modules.py apply`.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent


def modules(under: str = "") -> Iterator[str]:
    """Yield the lines of the modules in one package, or in all of them."""
    for path in sorted((ROOT / "shaker" / under).rglob("*.py")):
        contract = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n")[0]
        yield f"{path.relative_to(ROOT)}: {contract}"


if __name__ == "__main__":
    sys.stdout.write("".join(f"{line}\n" for line in modules(*sys.argv[1:])))
