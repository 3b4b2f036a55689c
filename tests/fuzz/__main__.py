"""A long run by atheris, which `pip install atheris` brings:

    python -m tests.fuzz.seeds corpus
    python -m tests.fuzz snapshot -max_total_time=3600 -max_len=8192 corpus/snapshot

What follows the target's name goes to libFuzzer. A finding is written to a file crash-…; run the target with that
file's name to see it again.
"""

from __future__ import annotations

import sys

import atheris  # type: ignore[import-not-found]


def main() -> None:
    """Fuzz the target named first."""
    with atheris.instrument_imports(include=["shaker"]):
        from tests.fuzz.targets import TARGETS
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"usage: python -m tests.fuzz {{{','.join(TARGETS)}}} [options of libFuzzer] [corpus]")
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
