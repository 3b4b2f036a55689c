"""Programs on a terminal of their own, as people run them."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from pathlib import Path

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
READ_SIZE = 65536


def on_a_terminal(
    command: list[str], *, directory: Path, environment: dict[str, str], seconds: float = 60.0
) -> tuple[int, str]:
    """Run a command on a new terminal; return its exit code and everything it wrote there."""
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        command, cwd=directory, env=environment, stdin=subprocess.DEVNULL, stdout=secondary, stderr=secondary
    )
    os.close(secondary)
    output = b""
    try:
        while chunk := os.read(primary, READ_SIZE):
            output += chunk
    except OSError:
        pass  # Linux reports the end of a pseudo terminal as an error
    finally:
        os.close(primary)
    return process.wait(timeout=seconds), output.decode(errors="replace")
