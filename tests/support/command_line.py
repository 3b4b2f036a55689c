"""The program run as a process of its own, as its user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


URLS = {"SHAKER_SOURCE__URL": "redis://127.0.0.1:6379", "SHAKER_TARGET__URL": "redis://127.0.0.1:6380"}


def shaker(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program as a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHAKER_")}
    return subprocess.run(
        [sys.executable, "-m", "shaker", *arguments],
        env=kept | variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
